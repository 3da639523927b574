"""Seeds and random streams of a run.

The episode seed determines everything random in an episode. Each purpose has its own range of seeds: collecting,
selecting (a checkpoint, a hyper-parameter) and evaluating never share a seed, so no evaluation seed occurs in the
training data. Seeds below 2**40 are free for users.
"""

from enum import IntEnum
from zlib import crc32

import numpy as np

from act_eval.errors import UsageError

_BITS = 40  # bits per purpose; purpose * 2**40 + draw stays below 2**53, exact in JSON and JavaScript


class Purpose(IntEnum):
    """Purpose of episodes; each has its own range of seeds."""

    USER = 0
    COLLECT = 1
    SELECT = 2
    EVALUATE = 3
    PROBE = 4
    HELD_OUT = 5


class Stream(IntEnum):
    """Independent random streams within one episode."""

    LAYOUT = 0
    ACTION_NOISE = 1
    DELAY = 2
    POLICY = 3
    EXPERT = 4
    PREFIX = 5
    RECOVERY = 6
    CLICK = 7
    LABELS = 8
    PERTURBATION = 9


def episode_seeds(purpose: Purpose, run_seed: int, count: int, first: int = 0) -> list[int]:
    """Return the seeds of episodes `first … first + count - 1` of a run.

    Each seed depends only on (purpose, run_seed, episode number), so a longer run starts with the seeds of a shorter
    one.

    Raises:
        UsageError: if `run_seed`, `count` or `first` is negative.
    """
    for name, value in (("seed", run_seed), ("number of episodes", count), ("first episode", first)):
        if value < 0:
            raise UsageError(f"{name} is {value}; it must be at least 0")
    return [_episode_seed(purpose, run_seed, episode) for episode in range(first, first + count)]


def _episode_seed(purpose: Purpose, run_seed: int, episode: int) -> int:
    entropy = np.random.SeedSequence(run_seed, spawn_key=(int(purpose), episode))
    draw = int(entropy.generate_state(1, np.uint64)[0]) & ((1 << _BITS) - 1)
    return (int(purpose) << _BITS) + draw


def stream(episode_seed: int, name: Stream) -> np.random.Generator:
    """Return the generator of one stream of an episode."""
    return np.random.default_rng(np.random.SeedSequence(episode_seed, spawn_key=(int(name),)))


def perturbation_stream(episode_seed: int, axis: str) -> np.random.Generator:
    """Return the generator of one axis of perturbation in an episode; the same at every severity."""
    key = (int(Stream.PERTURBATION), crc32(axis.encode()))
    return np.random.default_rng(np.random.SeedSequence(episode_seed, spawn_key=key))
