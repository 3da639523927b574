"""The scheduling of a thousand workers of uneven speed that get lost on the way, on a simulated cluster and clock."""

import heapq
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from toy_bench import job

from act_eval.errors import LaunchError
from act_eval.evaluation.worker import cut_blocks
from act_eval.launch import Block, Ray
from act_eval.results.records import ShardLine
from act_eval.types import EpisodeRecord, Timing

pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own warnings are not ours to mend

WAIT_S, MESSAGE_S = 5e-6, 2e-4
"""What the process that starts the run pays per worker that it waits for, and per message [s]."""


@dataclass
class Cluster:
    """Ray's calls as `act_eval.launch.ray` makes them; an actor has a speed and dies at a time."""

    lifetime_s: float
    deadly: int = -1
    """Episode that ends the worker that runs it."""
    now: float = 0.0
    born: int = 0
    waited: int = 0
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def remote(self, **_: Any) -> Any:
        return lambda _kind: SimpleNamespace(remote=lambda _build: Actor(self))

    def wait(self, pending: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        self.waited += 1
        self.now += WAIT_S * len(pending)
        if timeout:
            self.now = max(self.now, min(one.at for one in pending))
        ready = heapq.nsmallest(num_returns, (one for one in pending if one.at <= self.now), key=lambda one: one.at)
        return ready, []

    def get(self, ref: Any) -> Any:
        self.now += MESSAGE_S
        if isinstance(ref.value, Exception):
            raise ref.value
        return ref.value


@dataclass(eq=False)
class Ref:
    at: float
    value: Any


class Actor:
    def __init__(self, cluster: Cluster) -> None:
        from act_eval.launch.ray import _WorkerReady  # pyright: ignore[reportPrivateUsage]

        self.cluster = cluster
        self.speed = cluster.rng.lognormal(0, 0.5)  # episodes a second
        self.dies = cluster.now + 5 + cluster.rng.exponential(cluster.lifetime_s)
        cluster.born += 1
        ready = Ref(cluster.now + 5, _WorkerReady("walks", {"cpu": "one"}, "node"))
        self.begin = SimpleNamespace(remote=lambda _first: ready)
        self.run = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda _job, block: Stream(self, block)))


class Stream:
    """The episodes of a block, one after the other, until the worker dies."""

    def __init__(self, actor: Actor, block: Block) -> None:
        self._actor, self._block, self._next = actor, block, 0
        self._began = actor.cluster.now

    @property
    def at(self) -> float:
        end = self._began + (self._next + (self._next < len(self._block.episodes))) / self._actor.speed
        return min(end, max(self._began, self._actor.dies))

    def __next__(self) -> Ref:
        from ray.exceptions import RayActorError

        from act_eval.launch.ray import _Episode  # pyright: ignore[reportPrivateUsage]

        at = self.at
        episode = self._block.episodes[self._next] if self._next < len(self._block.episodes) else None
        if at >= self._actor.dies or episode == self._actor.cluster.deadly:
            return Ref(at, RayActorError())
        if episode is None:
            raise StopIteration
        self._next += 1
        return Ref(at, _Episode(line_of(self._block.condition, episode), {}))


def line_of(condition: str, episode: int) -> ShardLine:
    record = EpisodeRecord(episode=episode, seed=episode, outcome="success", steps=1)
    return ShardLine(condition=condition, record=record, timing=Timing(episode=episode, wall_s=0.0))


def run(cluster: Cluster, folder: Path, monkeypatch: pytest.MonkeyPatch, episodes: int, workers: int) -> Counter[Any]:
    import act_eval.launch.ray as actors

    seen: Counter[Any] = Counter()
    lines: list[ShardLine] = []
    for name in ("wait", "get", "remote"):
        monkeypatch.setattr(actors.ray, name, getattr(cluster, name))
    monkeypatch.setattr(actors, "ShardWriter", lambda _path: nullcontext(SimpleNamespace(write=lines.append)))
    work = replace(job(folder), seeds=tuple(range(episodes)), batch=2)
    pool = actors._ActorPool(lambda: None, workers, Ray())  # pyright: ignore[reportPrivateUsage]
    pool.begin()
    blocks = cut_blocks(work, {}, workers)
    pool.run(work, blocks, [folder / "shard"], lambda condition, record: seen.update([(condition, record.episode)]))
    assert len(lines) == seen.total()
    return seen


def test_every_episode_runs_once_and_the_workers_are_kept_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workers, episodes = 1000, 10_000
    cluster = Cluster(lifetime_s=100.0)
    seen = run(cluster, tmp_path, monkeypatch, episodes, workers)
    assert set(seen.values()) == {1}
    assert len(seen) == 2 * episodes
    assert cluster.born > workers + 100  # lost ones were replaced
    mean_speed = float(np.exp(0.5**2 / 2))
    ideal_s = 5 + 2 * episodes / (workers * mean_speed)
    assert cluster.now < 1.5 * ideal_s  # without a second runner for what slow workers have not begun: 3.1 times
    # The process that starts the run keeps up: it handles what is ready together.
    assert cluster.waited < episodes


def test_blocks_that_outlive_their_workers_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a long block is lost many times before it begins; that says nothing about its episodes."""
    seen = run(Cluster(lifetime_s=100.0), tmp_path, monkeypatch, episodes=2000, workers=4)
    assert set(seen.values()) == {1}
    assert len(seen) == 4000


def test_an_episode_that_ends_its_workers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LaunchError, match=r"3 Ray workers were lost during episodes \[1234, .* of d0"):
        run(Cluster(lifetime_s=1e9, deadly=1234), tmp_path, monkeypatch, episodes=4000, workers=10)
