import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from toy_bench import DELAYS, SEEDS, Bench, Walkers, job

from act_eval.encoding import encode_line
from act_eval.errors import LaunchError, RenderError
from act_eval.evaluation.worker import Job, cut_blocks
from act_eval.launch import Block, Build, Local, Progress, worker_pool
from act_eval.launch.local import _Waiting  # pyright: ignore[reportPrivateUsage]
from act_eval.results.records import merge, read_shard
from act_eval.results.steps import load
from act_eval.types import EpisodeRecord


@dataclass(frozen=True)
class Fail:
    """Raises in every worker."""

    def __call__(self) -> Bench:
        raise RenderError("no OpenGL here")


@dataclass(frozen=True)
class Vanish:
    """Dies without a word, as a process does that the system ends for its memory."""

    def __call__(self) -> Bench:
        os._exit(3)


@dataclass(frozen=True)
class OneSlow:
    """Builds workers, the first of which takes 0.1 s a step."""

    mark: Path

    def __call__(self) -> Bench:
        try:
            self.mark.touch(exist_ok=False)
        except FileExistsError:
            return Bench(1)
        return Bench(1, pause_s=0.1)


@dataclass(frozen=True)
class Crowd:
    """Builds workers and notes how many are being built at once; the second one dies meanwhile."""

    folder: Path

    def __call__(self) -> Bench:
        place = self.folder / f"building_{os.getpid()}"
        place.touch()
        (self.folder / f"beside_{os.getpid()}").write_text(str(len(list(self.folder.glob("building_*")))))
        time.sleep(0.2)
        place.unlink()
        if len(list(self.folder.glob("beside_*"))) == 2:
            os._exit(3)
        return Bench(3)


def run_blocks(work: Job, blocks: list[Block], shards: list[Path], progress: Progress, build: Build | None = None):
    with worker_pool(build or Walkers(work.batch), len(shards)) as team:
        assert team.facts == "walks"
        team.run(work, blocks, shards, progress)


def ignore(condition: str, news: EpisodeRecord | int) -> None:
    pass


def run(folder: Path, workers: int, batch: int) -> dict[str, str]:
    """Run everything; return the merged lines of each condition."""
    folder.mkdir()
    work = job(folder, batch)
    shards = [folder / f"{number}.jsonl" for number in range(workers)]
    run_blocks(work, cut_blocks(work, {}, workers), shards, ignore)
    return merged(shards)


def merged(shards: Sequence[Path]) -> dict[str, str]:
    lines = [line for path in shards if path.exists() for line in read_shard(path)]
    return {
        condition: "".join(encode_line(line.record) for line in merge(lines, condition, SEEDS)) for condition in DELAYS
    }


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("launch") / "reference"
    return folder, run(folder, workers=1, batch=3)


@pytest.mark.parametrize(("workers", "batch"), [(1, 1), (1, 16), (2, 2), (3, 5)])
def test_records_steps_and_videos_do_not_depend_on_workers_or_batch(
    tmp_path: Path, reference: tuple[Path, dict[str, str]], workers: int, batch: int
):
    expected_folder, expected = reference
    assert run(tmp_path / "run", workers, batch) == expected
    compared = 0
    for path in expected_folder.glob("d*/*/*"):
        assert (tmp_path / "run" / path.relative_to(expected_folder)).read_bytes() == path.read_bytes()
        compared += 1
    assert compared >= 2 * len(SEEDS)


def test_the_runs_differ_where_they_should(reference: tuple[Path, dict[str, str]]):
    folder, lines = reference
    assert lines["d0"] != lines["d2"]
    outcomes = {outcome for text in lines.values() for outcome in ("success", "missed") if outcome in text}
    assert outcomes == {"success", "missed"}
    videos = [path.name for path in folder.glob("*/videos/*")]
    assert videos
    assert all("missed" in name for name in videos)


def test_the_terminal_state_is_kept(reference: tuple[Path, dict[str, str]]):
    steps = load(reference[0] / "d0" / "steps" / "0000.npz")
    assert steps.state[-1, 4] == steps.steps
    assert steps.state[-1, 4] == steps.state[-2, 4] + 1


def test_blocks_cover_what_is_left_and_shrink_towards_the_end(tmp_path: Path):
    blocks = cut_blocks(job(tmp_path), {"d0": {0, 1, 2, 3}, "d2": set(range(11))}, workers=2)
    assert blocks == [Block("d0", (4, 5, 6, 7)), Block("d0", (8, 9, 10))]
    sizes = [
        (block.condition, len(block.episodes)) for block in cut_blocks(job(tmp_path, batch=1), {"d0": {3}}, workers=2)
    ]
    assert sizes == [("d0", 5), ("d0", 5), ("d2", 3), ("d2", 4), ("d2", 4)]
    assert cut_blocks(job(tmp_path), {"d0": set(range(11)), "d2": set(range(11))}, workers=2) == []
    whole = cut_blocks(job(tmp_path, batch=50), {}, workers=1)
    assert whole == [Block(condition, tuple(range(11))) for condition in DELAYS]


def test_episodes_are_handed_out_one_by_one_and_of_the_last_condition_in_equal_shares():
    waiting = _Waiting([Block("d0", (4, 5)), Block("d0", (6,)), Block("d2", (0, 1, 2))], workers=2)
    assert (len(waiting), waiting.condition()) == (6, "d0")
    assert [waiting.episode("d0", running) for running in range(4)] == [4, 5, 6, None]
    assert waiting.condition() == "d2"
    assert [waiting.episode("d2", running) for running in range(3)] == [0, 1, None], "the third is the other worker's"
    assert waiting.episode("d2", 0) == 2
    assert waiting.condition() is None
    assert not waiting


def test_a_fast_worker_runs_more_episodes(tmp_path: Path):
    work = replace(job(tmp_path, batch=1), video="none")
    shards = [tmp_path / f"{number}.jsonl" for number in range(2)]
    run_blocks(work, cut_blocks(work, {}, 2), shards, ignore, OneSlow(tmp_path / "slow"))
    counts = sorted(len(list(read_shard(path))) for path in shards)
    assert sum(counts) == 2 * len(SEEDS)
    assert 1 <= counts[0] <= 4


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_worker_is_estimated_with_its_words(tmp_path: Path, workers: int):
    work = job(tmp_path)
    shards = [tmp_path / f"{number}.jsonl" for number in range(workers)]
    with pytest.raises(RenderError, match=r"^no OpenGL here$"):
        run_blocks(work, cut_blocks(work, {}, workers), shards, ignore, Fail())
    assert multiprocessing.active_children() == []


def test_workers_that_vanish_are_named_and_nothing_waits_for_them(tmp_path: Path):
    work = job(tmp_path)
    with pytest.raises(LaunchError, match=r"worker 0 ended with exit code 3, before its first episode"):
        run_blocks(work, cut_blocks(work, {}, 2), [tmp_path / "0.jsonl", tmp_path / "1.jsonl"], ignore, Vanish())


def test_no_more_workers_build_at_once_than_there_are_cores_and_one_that_dies_meanwhile_holds_up_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Local, "cores", lambda _: 1)
    work = job(tmp_path)
    shards = [tmp_path / f"{number}.jsonl" for number in range(4)]
    with pytest.raises(LaunchError, match=r"worker 1 ended with exit code 3\. Finished episodes"):
        run_blocks(work, cut_blocks(work, {}, 4), shards, ignore, Crowd(tmp_path))
    assert [path.read_text() for path in tmp_path.glob("beside_*")] == ["1"] * 4
    assert sum(path.exists() for path in shards) == 3


def test_a_killed_worker_costs_what_it_was_running_and_the_rest_ends_as_if_undisturbed(
    tmp_path: Path, reference: tuple[Path, dict[str, str]]
):
    work = job(tmp_path)
    killed: list[int] = []
    shards = [tmp_path / f"{number}.jsonl" for number in range(3)]

    def kill_one(condition: str, news: EpisodeRecord | int) -> None:
        if not killed and not isinstance(news, int):
            # A worker that has begun: one killed while it starts costs nothing.
            begun = next(worker for worker in range(2) if shards[worker].exists() and shards[worker].stat().st_size)
            started = sorted(multiprocessing.active_children(), key=lambda process: int(process.name.split("-")[-1]))
            victim = started[begun].pid
            assert victim is not None
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

    with pytest.raises(LaunchError, match=r"worker \d was killed by signal 9 during episodes \[.*repeat the command"):
        run_blocks(work, cut_blocks(work, {}, 2), shards[:2], kill_one)
    done: dict[str, set[int]] = {condition: set() for condition in DELAYS}
    for shard in shards[:2]:
        for line in read_shard(shard):
            done[line.condition].add(line.record.episode)
    left = cut_blocks(work, done, 1)
    assert 1 <= sum(len(block.episodes) for block in left) <= 4
    run_blocks(work, left, shards[2:], ignore)
    assert merged(shards) == reference[1]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_leaves_whole_lines_and_no_process(tmp_path: Path, workers: int):
    class Stop(Exception):
        pass

    def stop(condition: str, news: EpisodeRecord | int) -> None:
        if not isinstance(news, int):
            raise Stop

    work = replace(job(tmp_path), video="none")
    shards = [tmp_path / f"{number}.jsonl" for number in range(workers)]
    with pytest.raises(Stop):
        run_blocks(work, cut_blocks(work, {}, workers), shards, stop)
    assert multiprocessing.active_children() == []
    lines = [line for path in shards if path.exists() for line in read_shard(path)]
    assert 1 <= len(lines) < 22
