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
    overlays = _overlays(env, what.steps, views)
    panel = Panel(layout, _words(env, what), what.steps)
    blank = panel.blank()
    frame = blank.copy()
    places = [layout.large_view, layout.small_view(0), layout.small_view(1)]
    for number, state in enumerate(states):
        for image, overlay, place in zip(_rendered(env, state, views), overlays, places, strict=False):
            if overlay is not None:
                overlay.draw(image, number)
            frame[place] = image
        panel.draw(frame, blank, number)
        if number == len(states) - 1:
            panel.draw_outcome(frame[layout.large_view])
        yield frame
    for _ in range(HOLD_FRAMES):
        yield frame


def _views(env: Any, layout: Layout) -> list[tuple[str, int, int]]:
    cameras: Sequence[str] = getattr(env, "video_cameras", CAMERAS)
    sizes = [layout.view, (layout.side, layout.side), (layout.side, layout.side)]
    return [(camera, *size) for camera, size in zip(cameras, sizes, strict=False)]


def _rendered(env: Any, state: NDArray[np.float64], views: list[tuple[str, int, int]]) -> list[ImageArray]:
    if hasattr(env, "render_views"):
        return env.render_views(state, views)
    return [env.render_state(state, *view) for view in views]


def _overlays(env: Any, steps: EpisodeSteps, views: list[tuple[str, int, int]]) -> list[Overlay | None]:
    if not hasattr(env, "project"):
        return [None] * len(views)
    paths = paths_of(env, steps)
    drawn: list[Overlay | None] = [Overlay(env, steps, *view, paths) for view in views[:_OVERLAID]]
    return drawn + [None] * (len(views) - len(drawn))


def _words(env: Any, what: Film) -> Words:
    gripper = None
    if what.steps.joints.size and hasattr(env, "motion"):
        gripper = env.motion(what.steps.state[:1]).gripper_joint
    stage = env.stage() if hasattr(env, "stage") else None
    return Words(title=what.title, record=what.record, control_s=what.control_s, stage=stage, gripper=gripper)
