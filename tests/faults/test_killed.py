"""Runs whose processes are killed at random moments: resumed, they end as if nothing had happened.

Every episode has a video, so that processes are killed while one is encoded, too. The moments are counted in finished
episodes, so that they lie within the run on any machine.
"""

import random
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from disturbed import PATIENCE_S, Process, content, kill, toy_run, undisturbed_content
from toy_run import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc")

EPISODES = 8
STARTS_S = 2.0
"""About as long as a run takes to start."""
EPISODE_S = 0.2
"""About as long as an episode takes."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return undisturbed_content(tmp_path_factory.mktemp("faults") / "undisturbed", EPISODES, video="all")


def wait_for_lines(out: Path, count: int, process: Process) -> None:
    """Wait until so many episodes have finished, or the process has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while not process.has_ended and not (out / "d0" / "episodes.jsonl").exists():
        with suppress(FileNotFoundError):  # merged meanwhile
            if sum(path.read_bytes().count(b"\n") for path in out.glob("shards/*.jsonl")) >= count:
                return
        assert time.monotonic() < deadline, f"{out} never had {count} episodes"
        time.sleep(0.005)


def disturb(out: Path, victim: str, moment: random.Random) -> Process:
    """Start a run and kill its parent, a worker, or the server that forks workers, at a random moment."""
    process = toy_run(out, episodes=EPISODES, video="all")
    if moment.random() < 0.9:
        wait_for_lines(out, moment.randrange(2 * EPISODES), process)
        time.sleep(moment.uniform(0, EPISODE_S))
    else:
        time.sleep(moment.uniform(0, STARTS_S))
    victims = {"worker": process.workers, "server": process.servers}.get(victim, list)()
    kill(moment.choice(victims) if victims else process.parent)
    return process


def check(out: Path, victim: str, seed: int, undisturbed: dict[str, bytes]) -> bool:
    """Disturb a run once, resume it, and compare; return whether it had to be resumed."""
    code, said = disturb(out, victim, random.Random(seed)).end()
    assert "Traceback" not in said, said
    assert code in (0, 1, -9)
    if code == 1 and victim != "server":
        assert "was killed by signal 9" in said
        # Killed while it was still building its bench, a worker had nothing that could be kept.
        assert "Finished episodes are kept: repeat the command" in said or "before its first episode" in said
    run(out, workers=1, episodes=EPISODES, pause_s=0, video="all")
    assert content(out) == undisturbed
    assert list((out / "shards").iterdir()) == []
    return code != 0


@pytest.mark.parametrize("victim", ["parent", "worker", "server"])
def test_a_killed_run_is_resumed_to_the_same_bytes(tmp_path: Path, undisturbed: dict[str, bytes], victim: str) -> None:
    check(tmp_path / "run", victim, 2, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["parent", "worker"])
@pytest.mark.parametrize("ten", range(5))
def test_a_hundred_killed_runs_are_resumed_to_the_same_bytes(
    tmp_path: Path, undisturbed: dict[str, bytes], victim: str, ten: int
) -> None:
    resumed = [check(tmp_path / str(seed), victim, seed, undisturbed) for seed in range(10 * ten, 10 * ten + 10)]
    print(f"\n{sum(resumed)} of 10 runs whose {victim} was killed had to be resumed")
    assert sum(resumed) >= 5
