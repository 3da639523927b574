"""Fixtures that several rooms use."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from act_eval.datasets import (
    DatasetWriter,
    Demonstrations,
    Episode,
    Feature,
    ImageStorage,
    Shown,
    demonstration_features,
)
from act_eval.datasets.episode import episode_table
from act_eval.datasets.images import write_video
from act_eval.datasets.statistics import pixel_histogram
from act_eval.scenes.backend import usual_backend

# Benchmarks and experiments are no part of the package; their tests import them as their scripts do.
sys.path += [str(Path(__file__).parents[1] / place) for place in ("scripts", "scripts/experiments")]

JOINTS = ("pan", "lift", "elbow", "flex", "roll", "gripper")
MakeDemos = Callable[..., tuple[Demonstrations, list[Episode]]]

# dm_control chooses how it renders when it is first imported, whichever test that is, and would look for a window.
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    os.environ.setdefault("MUJOCO_GL", usual_backend())

# A shell starts background jobs deaf to ctrl-C, and so are their children; tests that press it need to be heard.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine may take seconds over an example that usually takes none: time says nothing about correctness. The same
# examples in every run: what they find concerns the change at hand. HYPOTHESIS_PROFILE=searching draws new ones.
settings.register_profile("patient", parent=settings(), deadline=None, derandomize=True)
settings.register_profile("searching", parent=settings(), deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "patient"))


@pytest.fixture(scope="session")
def make_demos() -> MakeDemos:
    """Write a small data set: root, lengths, storage, size → (data set, what was written)."""
    return _write


def _write(
    root: Path, lengths: Sequence[int] = (7, 4, 9), storage: ImageStorage = "image", size: int = 8
) -> tuple[Demonstrations, list[Episode]]:
    cameras = {"overhead": (size, size), "wrist": (size, size + 2)}
    shown = Shown(state=JOINTS, environment_state=("target_x", "target_y"), action=JOINTS, cameras=cameras)
    features = demonstration_features(shown, storage)
    writer = DatasetWriter(root, features, fps=20, task="pick it", robot="so101")
    episodes = [_episode(number, length, features) for number, length in enumerate(lengths)]
    for number, episode in enumerate(episodes):
        videos = {}
        for key, frames in episode.frames.items():
            if storage == "video":
                videos[key] = root.parent / f"{root.name}-{number}-{key}.mp4"
                write_video(videos[key], frames, 20)
        pixels = {key: pixel_histogram(frames) for key, frames in episode.frames.items()}
        writer.add(episode_table(episode, features, 20), seed=episode.seed, pixels=pixels, videos=videos)
    writer.finish({})
    return Demonstrations(root), episodes


def _episode(number: int, length: int, features: dict[str, Feature]) -> Episode:
    """Every entry tells its episode and frame: action = 100 · episode + frame + joint / 10, state = action + 0.5."""
    rng = np.random.default_rng(number)
    frame = np.arange(length)
    action = (100 * number + frame[:, None] + np.arange(6) / 10).astype(np.float32)
    vectors = {
        "action": action,
        "observation.state": action + np.float32(0.5),
        "observation.environment_state": rng.normal(size=(length, 2)).astype(np.float32),
        "next.success": frame >= length - 2,
        "next.done": frame == length - 1,
    }
    frames = {}
    for key, feature in features.items():
        if feature.is_camera:  # flat brightness names the frame, which H.264 keeps; a little texture on PNG
            level = (20 + 40 * number + 8 * frame)[:, None, None, None]
            texture = rng.integers(0, 4, (length, *feature.shape)) if feature.dtype == "image" else 0
            frames[key] = np.broadcast_to(level + texture, (length, *feature.shape)).astype(np.uint8)
    return Episode(5000 + number, vectors, frames)
