"""What is drawn over a view: the predicted chunk, the committed prefix, rings around the blocks, the told place.

Everything is where the environment's own forward kinematics and camera put it. An environment that lacks the hooks
for a mark has videos without that mark.

Legend: `T` control steps · `N` requests · `C` chunk length · `M` blocks.
"""

from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from act_eval.steps import EpisodeSteps
from act_eval.types import FloatArray, ImageArray, Stage
from act_eval.video.ink import CHUNK, COMMITTED, CONFUSER, SHADE, TARGET, TOLD, Board, Colour, Mark

Points = NDArray[np.float64]

_CORNERS = 24
_RING = 0.85  # radius of a ring in edges of a block
_CROSS = 0.011  # half an arm of the cross at the told place [m]
_UNIT = 240  # height of a view in which lines are as wide as given here [px]


class Projecting(Protocol):
    """The optional hooks of an environment that overlays need."""

    def gripper_position(self, command: FloatArray) -> Points: ...

    def project(self, points: Points, camera: str, height: int, width: int) -> Points: ...

    def stage(self) -> Stage: ...


class Overlay:
    """The marks of one episode on one view.

    Args:
        env: Asked for the hooks of `Projecting`.
        steps: The episode.
        camera: A fixed one.
        height: Of the view [px].
        width: Of the view [px].
        paths: Where the episode's predictions and commands lead.
    """

    def __init__(
        self, env: Any, steps: EpisodeSteps, camera: str, height: int, width: int, paths: "Paths | None"
    ) -> None:
        self._board, self._unit = Board(height, width), max(0.7, height / _UNIT)
        self._steps = steps
        project = getattr(env, "project", None)
        self._project = None if project is None else lambda points: project(points, camera, height, width)
        self._stage: Stage | None = env.stage() if hasattr(env, "stage") else None
        self._chunks = self._commands = None
        if paths is not None and self._project is not None:
            self._chunks, self._commands = self._project(paths.chunks), self._project(paths.commands)
        # An episode has few chunks and few places at which blocks lie still.
        self._chunk_marks = lru_cache(maxsize=64)(self._make_chunk)
        self._prefix_marks = lru_cache(maxsize=64)(self._make_prefix)
        self._ring = lru_cache(maxsize=64)(self._make_ring)
        self._cross = lru_cache(maxsize=64)(self._make_cross)

    def draw(self, image: ImageArray, state: int) -> None:
        """Draw the marks of a state, 0 … T, into its view."""
        for mark in self._marks(state):
            mark.onto(image)

    def _marks(self, state: int) -> list[Mark]:
        marks: list[Mark] = []
        if self._project is not None and self._stage is not None:
            marks += self._rings(state)
        step = min(state, self._steps.steps - 1)
        if step < 0 or not len(self._steps.sent):
            return marks
        marks += self._told(step)
        chunk = int(self._steps.chunk[step])
        if self._chunks is not None and 0 <= chunk < len(self._chunks):
            marks += self._chunk_marks(chunk)
            marks += self._prefix_marks(self._latest(step))
            marks += self._head(chunk, step)
        return marks

    def _latest(self, step: int) -> int:
        """Return the request that went out last."""
        return int(np.searchsorted(self._steps.sent, step, side="right")) - 1

    def _make_chunk(self, chunk: int) -> list[Mark]:
        assert self._chunks is not None
        points = self._chunks[chunk]
        return [
            self._board.lines(points, SHADE, 4 * self._unit, 0.45),
            self._board.lines(points, CHUNK, 2 * self._unit),
            self._board.dots(points, CHUNK, 1.6 * self._unit),
            self._board.dots(points, TOLD, 0.7 * self._unit, 0.9),
        ]

    def _make_prefix(self, request: int) -> list[Mark]:
        """Draw the commands from a request's observation to the first step that its answer was told to act."""
        assert self._commands is not None
        first = int(self._steps.observation_step[request])
        told = int(self._steps.told[request])
        if told <= 0:
            return []
        points = self._commands[first : first + told]
        return [
            self._board.lines(points, SHADE, 5 * self._unit, 0.45),
            self._board.lines(points, COMMITTED, 3 * self._unit),
            self._board.dots(points, COMMITTED, 2.1 * self._unit),
        ]

    def _head(self, chunk: int, step: int) -> list[Mark]:
        """Draw where the present command leads."""
        assert self._commands is not None
        point = self._commands[step : step + 1]
        return [
            self._board.dots(point, SHADE, 4.4 * self._unit, 0.7),
            self._board.dots(point, TOLD, 3.2 * self._unit),
            self._board.dots(point, CHUNK, 2.0 * self._unit),
        ]

    def _rings(self, state: int) -> list[Mark]:
        if state >= len(self._steps.blocks_xyz):
            return []
        target = int(self._steps.target[state])
        places = np.round(self._steps.blocks_xyz[state].astype(np.float64), 3)
        return [
            mark
            for block, place in enumerate(places.tolist())
            for mark in self._ring(tuple(place), TARGET if block == target else CONFUSER)
        ]

    def _make_ring(self, place: tuple[float, float, float], ink: Colour) -> list[Mark]:
        assert self._project is not None
        assert self._stage is not None
        angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
        radius, low = _RING * self._stage.block_side, place[2] - self._stage.block_side / 2
        circle = np.array(place[:2]) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        points = self._project(np.column_stack([circle, np.full(_CORNERS, low)]))
        return [
            self._board.lines(points, SHADE, 3.4 * self._unit, 0.4, closed=True),
            self._board.lines(points, ink, 1.8 * self._unit, closed=True),
        ]

    def _told(self, step: int) -> list[Mark]:
        """Draw a cross on the table at the coordinates that the present chunk's request was given."""
        coordinates = told_coordinates(self._steps, step)
        if self._project is None or coordinates is None or len(coordinates) != 2:
            return []
        return self._cross(*coordinates)

    def _make_cross(self, x: float, y: float) -> list[Mark]:
        assert self._project is not None
        arms = [((x - _CROSS, y), (x + _CROSS, y)), ((x, y - _CROSS), (x, y + _CROSS))]
        ends = [self._project(np.column_stack([np.array(arm), np.zeros(2)])) for arm in arms]
        shade = [self._board.lines(points, SHADE, 3.6 * self._unit, 0.6) for points in ends]
        return [*shade, *(self._board.lines(points, TOLD, 1.6 * self._unit) for points in ends)]


class Paths:
    """Where an episode's predictions and commands put the gripper.

    Args:
        env: Asked for `gripper_position`.
        steps: The episode.
    """

    def __init__(self, env: Projecting, steps: EpisodeSteps) -> None:
        self.chunks: Points = env.gripper_position(steps.predicted)
        """(N, C, 3) [m]"""
        self.commands: Points = env.gripper_position(steps.command)
        """(T, 3) [m]"""


def paths_of(env: Any, steps: EpisodeSteps) -> Paths | None:
    """Return where predictions lead; None without predictions, or where the environment does not say."""
    has_hooks = hasattr(env, "gripper_position") and hasattr(env, "project")
    return Paths(env, steps) if has_hooks and steps.steps and steps.predicted.size else None


def told_coordinates(steps: EpisodeSteps, step: int) -> tuple[float, ...] | None:
    """Return the coordinates that the chunk of a step was told, of the request before where the arm holds."""
    if not steps.coordinates.size:
        return None
    chunk = int(steps.chunk[step])
    if chunk < 0:
        chunk = max(0, int(np.searchsorted(steps.sent, step, side="right")) - 1)
    return tuple(steps.coordinates[min(chunk, len(steps.coordinates) - 1)].tolist())
