"""Actors on real Ray clusters: one node, two nodes, and nodes that are lost on the way."""

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from toy_bench import DELAYS, SEEDS, Bench, Walkers, job, manifest

from act_eval.errors import LaunchError, RenderError
from act_eval.evaluation.worker import cut_blocks
from act_eval.launch import Build, Progress, Ray, worker_pool
from act_eval.results import open_run

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings are not ours to mend


@dataclass(frozen=True)
class Fail:
    def __call__(self) -> Bench:
        raise RenderError("no OpenGL here")


@dataclass(frozen=True)
class Deadly:
    """Its process dies in the fourth step of an episode."""

    slots: int

    def __call__(self) -> Bench:
        bench = Walkers(self.slots)()
        for env in bench.envs:
            step = env.step

            def deadly(action: Any, step: Any = step, env: Any = env) -> Any:
                if env.steps == 3 and env.np_random_seed == SEEDS[4]:
                    os.kill(os.getpid(), signal.SIGKILL)  # os._exit would be that episode's fault
                return step(action)

            env.step = deadly
        return bench


@dataclass(frozen=True)
class Strange:
    """Says that it runs on a machine of its own kind, wherever it is."""

    def __call__(self) -> Bench:
        import act_eval.launch.ray as actors

        actors.machine = lambda: {"cpu": f"model {os.getpid()}"}
        return Bench(2)


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    yield
    ray.shutdown()


@pytest.fixture
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def ignore(condition: str, record: object) -> None:
    pass


def run(out: Path, workers: int, build: Build | None = None, progress: Progress = ignore, place: Any = None) -> None:
    work = job(out)
    with (
        worker_pool(build or Walkers(work.batch), workers, place or Ray()) as team,
        open_run(out, manifest()) as folder,
    ):
        assert team.facts == "walks"
        if blocks := cut_blocks(work, folder.done(), workers):
            team.run(work, blocks, folder.new_shards(workers), progress)
        folder.finish()


def content(out: Path) -> dict[str, bytes]:
    names = [p for p in out.glob("*/*") if p.name in ("episodes.jsonl", "metrics.jsonl")] + list(out.glob("d*/*/*"))
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in names}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    from act_eval.launch import Local

    out = tmp_path_factory.mktemp("ray") / "whole"
    run(out, 1, place=Local())
    found = content(out)
    assert len(found) > 2 * len(SEEDS)
    return found


@pytest.mark.parametrize("workers", [1, 3])
def test_a_new_cluster_leaves_what_one_process_leaves(tmp_path: Path, whole: dict[str, bytes], workers: int) -> None:
    seen = []
    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    try:
        run(tmp_path / "run", workers, progress=lambda condition, record: seen.append((condition, record.episode)))
    finally:
        ray.shutdown()
    assert content(tmp_path / "run") == whole
    assert sorted(seen) == [(condition, episode) for condition in DELAYS for episode in range(len(SEEDS))]


def test_two_nodes_leave_what_one_process_leaves(tmp_path: Path, whole: dict[str, bytes], cluster: Any) -> None:
    run(tmp_path / "run", 2)
    assert content(tmp_path / "run") == whole


def test_what_a_lost_node_had_not_handed_over_is_run_elsewhere(
    tmp_path: Path, whole: dict[str, bytes], cluster: Any
) -> None:
    seen: list[tuple[str, int]] = []

    def lose_a_node(condition: str, record: Any) -> None:
        seen.append((condition, record.episode))
        if len(seen) == 3:
            (lost,) = [node for node in cluster.list_all_nodes() if node is not cluster.head_node]
            cluster.remove_node(lost, allow_graceful=False)

    run(tmp_path / "run", 2, Walkers(3, pause_s=0.1), lose_a_node)
    assert content(tmp_path / "run") == whole
    assert sorted(seen) == [(condition, episode) for condition in DELAYS for episode in range(len(SEEDS))]


def test_an_episode_that_ends_every_worker_is_named(tmp_path: Path, cluster: Any) -> None:
    with pytest.raises(
        LaunchError, match=r"3 Ray workers were lost during episodes \[.*4.*\] of d0 .*repeat the command"
    ):
        run(tmp_path / "run", 2, Deadly(3))


def test_an_error_of_a_worker_is_estimated_with_its_words(tmp_path: Path, cluster: Any) -> None:
    with pytest.raises(RenderError, match=r"^no OpenGL here$"):
        run(tmp_path / "run", 2, Fail())


def test_workers_on_machines_of_another_kind_are_refused(tmp_path: Path, cluster: Any) -> None:
    with pytest.raises(LaunchError, match=r"runs on another kind of machine than the first(.|\n)*machine.cpu: model"):
        run(tmp_path / "run", 2, Strange())


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1"])
def test_a_cluster_that_cannot_be_reached_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(LaunchError, match=rf"^cannot reach the Ray cluster at RAY_ADDRESS={re.escape(address)}: "):
        run(tmp_path / "run", 1)
