"""From an episode's log to its video."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act_eval.steps import EpisodeSteps
from act_eval.types import EpisodeRecord, ImageArray
from act_eval.video.files import FPS, write_video
from act_eval.video.ink import Board
from act_eval.video.layout import Layout
from act_eval.video.overlay import Overlay, paths_of
from act_eval.video.panel import Panel, Words

HOLD_FRAMES = FPS // 2
"""Frames for which the last state is held, with the outcome."""

CAMERAS = ("review", "overhead", "wrist")
"""The large view and the two small ones, where the environment does not say otherwise by `video_cameras`."""
_OVERLAID = 2  # the wrist camera moves with the arm


@dataclass(frozen=True, kw_only=True)
class Film:
    """What is filmed."""

    title: str
    """What runs: environment, policy, arm."""
    record: EpisodeRecord
    steps: EpisodeSteps
    control_s: float
    """Δt [s]."""


def film(path: Path, env: Any, what: Film, layout: Layout) -> bool:
    """Film an episode from its logged states.

    Args:
        path: The video.
        env: Of the kind that the episode ran in; it has `render_state`, and other hooks are used where it has them.
        what: The episode.
        layout: Size of the video.

    Returns:
        Whether there was anything to show.
    """
    # Broken physics leaves states that no renderer can draw: the video shows what came before, if anything did.
    states = what.steps.state[np.isfinite(what.steps.state).all(axis=1)]
    if not states.size:
        return False
    path.parent.mkdir(exist_ok=True)
    write_video(path, episode_frames(states, env, what, layout), round(1 / what.control_s))
    return True


def episode_frames(states: NDArray[np.float64], env: Any, what: Film, layout: Layout) -> Iterator[ImageArray]:
    """Yield the frames of an episode; each is overwritten by the next.

    Args:
        states: (n, S) states to show, from the first on; n is T + 1 but for episodes that broke.
        env: As `film` takes it.
        what: The episode.
        layout: Size of the frames.
    """
    views = _views(env, layout)
    overlays = _overlays(env, what.steps, views, layout)
    panel = Panel(layout, _words(env, what), what.steps, has_marks=bool(overlays))
    blank = panel.blank()
    frame = blank.copy()
    for number, state in enumerate(states):
        _show(env, state, views, frame)
        for overlay in overlays:
            overlay.draw(frame, number)
        panel.draw(frame, blank, number)
        if number == len(states) - 1:
            panel.draw_outcome(frame[layout.large_view])
        yield frame
    for _ in range(HOLD_FRAMES):
        yield frame


@dataclass(frozen=True)
class _View:
    """A camera and its place in the frame."""

    camera: str
    rows: slice
    columns: slice

    @property
    def size(self) -> tuple[int, int]:
        """Height and width [px]."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


def _views(env: Any, layout: Layout) -> list[_View]:
    cameras: Sequence[str] = getattr(env, "video_cameras", CAMERAS)
    places = [layout.large_view]
    places += [layout.small_view(0), layout.small_view(1)] if layout.small_views else []
    return [_View(camera, *place) for camera, place in zip(cameras, places, strict=False)]


def _show(env: Any, state: NDArray[np.float64], views: Sequence[_View], frame: ImageArray) -> None:
    """Draw the views of a state into a frame."""
    places = [frame[view.rows, view.columns] for view in views]
    if hasattr(env, "render_views"):
        env.render_views(state, [(view.camera, *view.size) for view in views], places)
        return
    for view, place in zip(views, places, strict=True):
        place[:] = env.render_state(state, view.camera, *view.size)


def _overlays(env: Any, steps: EpisodeSteps, views: Sequence[_View], layout: Layout) -> list[Overlay]:
    if not hasattr(env, "project"):
        return []
    paths = paths_of(env, steps)
    boards = [Board(view.rows.start, view.columns.start, *view.size, layout.width) for view in views]
    return [
        Overlay(env, steps, view.camera, board, paths)
        for view, board in zip(views[:_OVERLAID], boards[:_OVERLAID], strict=True)
    ]


def _words(env: Any, what: Film) -> Words:
    gripper = None
    if what.steps.joints.size and hasattr(env, "motion"):
        gripper = env.motion(what.steps.state[:1]).gripper_joint
    stage = env.stage() if hasattr(env, "stage") else None
    return Words(title=what.title, record=what.record, control_s=what.control_s, stage=stage, gripper=gripper)
