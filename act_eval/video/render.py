"""Rendering an episode's video from its log."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from act_eval.types import EpisodeRecord, ImageArray
from act_eval.types.env_hooks import EnvHooks, hooks_of
from act_eval.types.steps import EpisodeSteps
from act_eval.video.drawing import Board
from act_eval.video.files import BATCH, Encoder
from act_eval.video.layout import SMALL, Layout
from act_eval.video.overlay import Overlay, paths_of
from act_eval.video.panel import EpisodeFacts, Panel

HOLD_S = 0.5
"""Duration of the last state, with the outcome [s]."""

CAMERAS = ("review", "overhead", "wrist")
"""The large view and the two small ones, unless the environment has `video_cameras`."""
_OVERLAID = 2  # the wrist camera moves with the arm


@dataclass(frozen=True, kw_only=True)
class VideoJob:
    """One episode to render."""

    title: str
    """Environment, policy and condition."""
    record: EpisodeRecord
    steps: EpisodeSteps
    control_s: float
    """Δt [s]."""


def film(path: Path, env: object, what: VideoJob, layout: Layout, encoder: Encoder) -> Future[None] | None:
    """Render an episode from its logged states and queue it for encoding.

    Args:
        path: The video.
        env: Environment of the episode; it needs the hook `render_state`, other hooks are optional.
        what: The episode.
        layout: Size of the video.
        encoder: Encodes in the background.

    Returns:
        Done when the video is complete, raising the encoding error if any; None if no state can be rendered.
    """
    # Non-finite physics states cannot be rendered: the video ends before them.
    states = what.steps.state[np.isfinite(what.steps.state).all(axis=1)]
    if not states.size:
        return None
    path.parent.mkdir(exist_ok=True)
    return encoder.write(path, episode_frames(states, env, what, layout), round(1 / what.control_s))


def episode_frames(states: NDArray[np.float64], env: object, what: VideoJob, layout: Layout) -> Iterator[ImageArray]:
    """Yield the frames of an episode; they do not change afterwards, and the last one is yielded repeatedly.

    Args:
        states: (n, S) states to show, from the first on; n is T + 1 unless the simulation failed.
        env: As for `film`.
        what: The episode.
        layout: Size of the frames.
    """
    hooks = hooks_of(env)
    views = _views(hooks, what.steps, layout)
    overlay = views[0].overlay if views else None
    panel = Panel(layout, _facts(hooks, what, () if overlay is None else overlay.legend), what.steps)
    blank, last = panel.blank(), len(states) - 1
    frame = blank
    for first in range(0, len(states), BATCH):
        numbers = range(first, min(first + BATCH, len(states)))
        due = [views if number in (0, last) else _due(views, layout, number) for number in numbers]
        frames = np.repeat(blank[None], len(numbers), axis=0)
        for number, seen, drawn in zip(numbers, due, frames, strict=True):
            _render(hooks, states[number], seen, drawn)
        for number, seen, drawn in zip(numbers, due, frames, strict=True):
            for view in views:
                if view not in seen:
                    drawn[view.rows, view.columns] = frame[view.rows, view.columns]
                elif view.overlay is not None:
                    view.overlay.draw(drawn, number)
            panel.draw(drawn, number)
            frame = drawn
            if number == last:
                panel.draw_outcome(frame[layout.large_view])
            yield frame
    for _ in range(round(HOLD_S / what.control_s)):
        yield frame


@dataclass(frozen=True, eq=False)
class _View:
    """A camera, its place in the frame and its overlay."""

    camera: str
    rows: slice
    columns: slice
    overlay: Overlay | None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width [px]."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


def _views(hooks: EnvHooks, steps: EpisodeSteps, layout: Layout) -> list[_View]:
    cameras = hooks.video_cameras or CAMERAS
    places = [layout.large_view]
    places += [layout.small_view(0), layout.small_view(1)] if layout.small_views else []
    paths = paths_of(hooks, steps)
    views: list[_View] = []
    for number, (camera, (rows, columns)) in enumerate(zip(cameras, places, strict=False)):
        board = Board(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start, layout.width)
        drawn = number < _OVERLAID and hooks.project is not None
        views.append(_View(camera, rows, columns, Overlay(hooks, steps, camera, board, paths) if drawn else None))
    return views


def _due(views: Sequence[_View], layout: Layout, number: int) -> Sequence[_View]:
    """Return the views that are rendered again for a frame.

    At the size of recordings the small views take turns, at half of the frame rate: rendering is most of the cost.
    """
    small = views[1:]
    return views if layout.height > SMALL or len(small) < 2 else [views[0], small[number % len(small)]]


def _render(hooks: EnvHooks, state: NDArray[np.float64], views: Sequence[_View], frame: ImageArray) -> None:
    """Render views of a state into a frame."""
    places = [frame[view.rows, view.columns] for view in views]
    if hooks.render_views is not None:
        hooks.render_views(state, [(view.camera, *view.size) for view in views], places)
        return
    assert hooks.render_state is not None
    for view, place in zip(views, places, strict=True):
        place[:] = hooks.render_state(state, view.camera, *view.size)


def _facts(hooks: EnvHooks, what: VideoJob, legend: tuple[str, ...]) -> EpisodeFacts:
    gripper = None
    if what.steps.joints.size and hooks.motion is not None:
        gripper = hooks.motion(what.steps.state[:1]).gripper_joint
    stage = None if hooks.stage is None else hooks.stage()
    return EpisodeFacts(
        title=what.title, record=what.record, control_s=what.control_s, stage=stage, gripper=gripper, legend=legend
    )
