"""Marks over a view: predicted chunk, committed prefix, rings around the blocks, goal input.

Positions come from the environment's own forward kinematics and cameras. An environment without the hooks for a mark
gets videos without that mark.

Legend: `T` control steps · `N` requests · `C` chunk length · `M` blocks.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from act_eval.types import ImageArray, IntArray
from act_eval.types.env_hooks import EnvHooks, GripperPositionHook
from act_eval.types.steps import EpisodeSteps
from act_eval.video.drawing import (
    CHUNK,
    COMMITTED,
    CONFUSER,
    GOAL,
    SHADE,
    TARGET,
    Board,
    Colour,
    Dots,
    Line,
    Mark,
    Points,
)

_CORNERS = 24
_RING = 0.85  # radius of a ring in edges of a block
_CROSS = 0.011  # half the width of the cross at the goal input [m]
_UNIT = 240  # height of a view in which lines are as wide as given here [px]


class Overlay:
    """The marks of one episode on one view.

    Args:
        hooks: The environment's hooks; `project` is required.
        steps: The episode.
        camera: A fixed one.
        board: The part of a frame with its view.
        paths: Gripper positions of predictions and commands.
    """

    def __init__(self, hooks: EnvHooks, steps: EpisodeSteps, camera: str, board: Board, paths: "Paths | None") -> None:
        self._board, self._unit = board, max(0.7, board.height / _UNIT)
        self._steps = steps
        project = hooks.project
        assert project is not None
        self._project = lambda points: project(points, camera, board.height, board.width)
        self._stage = None if hooks.stage is None else hooks.stage()
        self._chunks = self._commands = None
        if paths is not None:
            self._chunks, self._commands = self._project(paths.chunks), self._project(paths.commands)
        has_blocks = self._stage is not None and steps.blocks_xyz.size > 0
        self._rings = self._place_rings(steps.blocks_xyz.astype(np.float64)) if has_blocks else None
        self._latest = (np.searchsorted(steps.sent, np.arange(steps.steps), side="right") - 1).tolist()
        # An episode has few chunks.
        self._chunk = lru_cache(maxsize=64)(self._make_chunk)
        self._prefix = lru_cache(maxsize=64)(self._make_prefix)
        self._ring = lru_cache(maxsize=256)(self._make_ring)
        self._cross = lru_cache(maxsize=64)(self._make_cross)
        self._head = self._make_head()

    @property
    def legend(self) -> tuple[str, ...]:
        """Names of the marks that the episode has."""
        blocks = self._steps.blocks_xyz.shape[1] if self._rings is not None else 0
        has_goal = self._steps.goal_input.ndim == 2 and self._steps.goal_input.shape[1] == 2
        return (
            *(("chunk", "committed") if self._chunks is not None else ()),
            *("target", "confuser")[:blocks],
            *(("+ goal input",) if has_goal else ()),
        )

    def draw(self, frame: ImageArray, state: int) -> None:
        """Draw the marks of a state, 0 … T, into a frame."""
        if self._rings is not None and state < len(self._rings.seen):
            self._draw_rings(frame, self._rings, state)
        step = min(state, self._steps.steps - 1)
        if step < 0 or not len(self._steps.sent):
            return
        goal_input = goal_of_chunk(self._steps, step)
        if goal_input is not None and len(goal_input) == 2:
            self._board.draw(frame, self._cross(*goal_input))
        chunk = int(self._steps.chunk[step])
        if self._chunks is not None and 0 <= chunk < len(self._chunks):
            self._board.draw(frame, self._chunk(chunk))
            self._board.draw(frame, self._prefix(self._latest[step]))
            self._draw_head(frame, step)

    def _draw_head(self, frame: ImageArray, step: int) -> None:
        """Draw the gripper position of the present command."""
        assert self._commands is not None
        x, y = self._commands[step]
        if 0 <= x < self._board.width and 0 <= y < self._board.height:
            self._board.draw(frame, self._head, round(x), round(y))

    def _draw_rings(self, frame: ImageArray, rings: "_Rings", state: int) -> None:
        target = int(self._steps.target[state])
        blocks = zip(rings.shape[state], rings.moved[state], rings.seen[state], strict=True)
        for block, (shape, (right, down), seen) in enumerate(blocks):
            if seen:
                ink = TARGET if block == target else CONFUSER
                self._board.draw(frame, self._ring(shape, ink), right, down)

    def _place_rings(self, places: Points) -> "_Rings":
        """Return the rings around blocks at places (S, M, 3)."""
        assert self._stage is not None
        # Rings of close positions look the same.
        close, shape = np.unique(places.round(2).reshape(-1, 3), axis=0, return_inverse=True)
        shape: IntArray = shape.reshape(places.shape[:-1])
        angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
        circle = np.stack([np.cos(angles), np.sin(angles), np.zeros(_CORNERS)], axis=1)
        around = self._on_the_ground(close)[:, None] + _RING * self._stage.block_side * circle
        feet, drawn_at = self._project(self._on_the_ground(places)), self._project(self._on_the_ground(close))
        moved: Points = np.round(feet - drawn_at[shape])
        seen = np.isfinite(moved.sum(axis=-1))
        pixels: IntArray = np.where(seen[..., None], moved, 0).astype(np.int64)
        return _Rings(self._project(around), shape.tolist(), pixels.tolist(), seen.tolist())

    def _on_the_ground(self, places: Points) -> Points:
        """Return the points (..., 3) below blocks at places (..., 3)."""
        side = 0.0 if self._stage is None else self._stage.block_side
        return places - np.array([0, 0, side / 2])

    def _make_chunk(self, chunk: int) -> Mark:
        assert self._chunks is not None
        points, unit = self._chunks[chunk], self._unit
        return self._board.mark(
            Line(points, SHADE, 4 * unit, 0.45),
            Line(points, CHUNK, 2.4 * unit),
            Dots(points, GOAL, 0.8 * unit, 0.9),
        )

    def _make_prefix(self, request: int) -> Mark:
        """Draw the commands from a request's observation to its answer."""
        assert self._commands is not None
        first, last = int(self._steps.observation_step[request]), int(self._steps.ready[request])
        points, unit = self._commands[first:last], self._unit
        return self._board.mark(
            Line(points, SHADE, 5 * unit, 0.45), Line(points, COMMITTED, 3 * unit), Dots(points, COMMITTED, 2 * unit)
        )

    def _make_head(self) -> Mark:
        origin, unit = np.zeros((1, 2)), self._unit
        return self._board.mark(
            Dots(origin, SHADE, 4.4 * unit, 0.7), Dots(origin, GOAL, 3.2 * unit), Dots(origin, CHUNK, 2 * unit)
        )

    def _make_ring(self, shape: int, ink: Colour) -> Mark:
        assert self._rings is not None
        points, unit = self._rings.points[shape], self._unit
        return self._board.mark(
            Line(points, SHADE, 3.4 * unit, 0.4, closed=True), Line(points, ink, 1.8 * unit, closed=True)
        )

    def _make_cross(self, x: float, y: float) -> Mark:
        """Draw a cross on the table at the goal input."""
        bars = [((x - _CROSS, y, 0), (x + _CROSS, y, 0)), ((x, y - _CROSS, 0), (x, y + _CROSS, 0))]
        ends = [self._project(np.array(bar)) for bar in bars]
        return self._board.mark(
            *(Line(points, SHADE, 3.6 * self._unit, 0.6) for points in ends),
            *(Line(points, GOAL, 1.6 * self._unit) for points in ends),
        )


@dataclass(frozen=True)
class _Rings:
    """Rings on the ground around blocks: few shapes, which are moved by some pixels."""

    points: Points
    """(U, 24, 2) corners of each shape [px]."""
    shape: list[list[int]]
    """Of each state and block."""
    moved: list[list[tuple[int, int]]]
    """To the right and down [px]."""
    seen: list[list[bool]]
    """Whether the block is in front of the camera."""


class Paths:
    """Gripper positions of an episode's predictions and commands.

    Args:
        gripper_position: The environment's hook.
        steps: The episode.
    """

    def __init__(self, gripper_position: GripperPositionHook, steps: EpisodeSteps) -> None:
        self.chunks: Points = gripper_position(steps.predicted)
        """(N, C, 3) [m]"""
        self.commands: Points = gripper_position(steps.command)
        """(T, 3) [m]"""


def paths_of(hooks: EnvHooks, steps: EpisodeSteps) -> Paths | None:
    """Return the gripper positions; None without predictions or without the hooks."""
    if hooks.gripper_position is None or hooks.project is None or not (steps.steps and steps.predicted.size):
        return None
    return Paths(hooks.gripper_position, steps)


def goal_of_chunk(steps: EpisodeSteps, step: int) -> tuple[float, ...] | None:
    """Return the goal input of a step's chunk; during a hold action that of the latest request."""
    if not steps.goal_input.size:
        return None
    chunk = int(steps.chunk[step])
    if chunk < 0:
        chunk = max(0, int(np.searchsorted(steps.sent, step, side="right")) - 1)
    return tuple(steps.goal_input[min(chunk, len(steps.goal_input) - 1)].tolist())
