"""Runs whose processes are killed at random moments: resumed, they end as if nothing had happened.

Every episode has a video, so that processes are killed while one is encoded, too.
"""

import random
import sys
import time
from pathlib import Path

import pytest
from disturbed import Process, content, kill, toy_run, undisturbed_content, wait_for
from toy_run import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc")


LASTS_S = 2.0
"""About as long as the run takes from its first file on, on a busy machine."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return undisturbed_content(tmp_path_factory.mktemp("faults") / "undisturbed", video="all")


def disturb(out: Path, moment: random.Random) -> tuple[Process, str]:
    """Start a run and kill one of its processes at a random moment; return it with who was killed."""
    process = toy_run(out, video="all")
    if moment.random() < 0.9:  # else while it starts
        wait_for(out / "manifest.json", process)
    time.sleep(moment.uniform(0, LASTS_S))
    victim = moment.choice(["parent", "worker", "worker"])
    workers = process.workers()
    if victim == "worker" and workers:
        kill(moment.choice(workers))
        return process, "worker"
    kill(process.parent)
    return process, "parent"


def check(out: Path, seed: int, undisturbed: dict[str, bytes]) -> tuple[str, bool]:
    """Disturb a run once, resume it, and compare; return who was killed and whether the run had to be resumed."""
    process, victim = disturb(out, random.Random(seed))
    code, said = process.end()
    assert "Traceback" not in said, said
    assert code in (0, 1, -9)
    if victim == "worker" and code == 1:
        assert "was killed by signal 9" in said
        assert "Finished episodes are kept: repeat the command" in said
    run(out, workers=1, episodes=8, pause_s=0, video="all")
    assert content(out) == undisturbed
    assert list((out / "shards").iterdir()) == []
    return victim, code != 0


def test_a_killed_run_is_resumed_to_the_same_bytes(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    seen = {check(tmp_path / str(seed), seed, undisturbed)[0] for seed in (2, 4)}
    assert seen == {"parent", "worker"}


@pytest.mark.slow
def test_a_hundred_killed_runs_are_resumed_to_the_same_bytes(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    seen = [check(tmp_path / str(seed), seed, undisturbed) for seed in range(100)]
    for victim in ("parent", "worker"):
        assert sum(resumed for who, resumed in seen if who == victim) >= 10
