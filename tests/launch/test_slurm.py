"""Array jobs on this machine: submitit's local executor runs them as processes, its debug executor in this one."""

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from toy_bench import SEEDS, Walkers, job, manifest

from act_eval.errors import ActEvalError, LaunchError, RenderError, UsageError
from act_eval.evaluation.worker import cut_blocks
from act_eval.launch import worker_pool
from act_eval.launch.slurm import run_array
from act_eval.results import Shard, merge_runs, open_run, parse_sources

# submitit's debug executor leaves its log files open.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

LOCAL = {"cluster": "local", "timeout_min": 10}
DEBUG = {"cluster": "debug"}
SHARDS = [Shard(number, 3) for number in (1, 2, 3)]


@dataclass(frozen=True)
class RunPart:
    """Runs a part of the toys; `dies` of its jobs are killed at their first episode."""

    out: Path
    dies: int = 0

    def __call__(self, shard: Shard) -> ActEvalError | None:
        work = job(self.out)
        mark = self.out.parent / f"{shard.name}.deaths"
        with worker_pool(Walkers(work.batch), 1) as team, open_run(self.out, manifest(), shard=shard) as folder:
            deaths = len(mark.read_text()) if mark.exists() else 0

            def progress(condition: str, news: object) -> None:
                if not isinstance(news, int) and shard.number == 2 and deaths < self.dies:
                    mark.write_text("x" * (deaths + 1))
                    os.kill(os.getpid(), signal.SIGKILL)

            if blocks := cut_blocks(work, folder.done(), 1):
                team.run(work, blocks, folder.new_shards(1), progress)
            folder.finish_shard()
        return None


def refuse(shard: Shard) -> ActEvalError | None:
    return RenderError("no OpenGL on this node") if shard.number == 2 else None


def run(out: Path, task: Callable[[Shard], ActEvalError | None], options: dict) -> int:
    watched = []
    run_array(task, SHARDS, out / "jobs", options, lambda: watched.append(1))
    return len(watched)


def content(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.glob("d*/episodes.jsonl")}


@pytest.fixture(autouse=True)
def jobs_find_these_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("slurm") / "whole"
    work = job(out)
    with worker_pool(Walkers(work.batch), 1) as team, open_run(out, manifest()) as folder:
        team.run(work, cut_blocks(work, {}, 1), folder.new_shards(1), lambda condition, record: None)
        folder.finish()
    return content(out)


def test_jobs_leave_what_one_process_leaves(tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "run"
    out.mkdir()
    assert run(out, RunPart(out), DEBUG) >= 1
    merge_runs(parse_sources([out]), out)
    assert content(out) == whole
    assert len(json.loads((out / "d0" / "episodes.jsonl").read_text().splitlines()[0])) > 3
    assert len(SEEDS) == len((out / "d2" / "episodes.jsonl").read_text().splitlines())


@pytest.mark.slow
def test_a_job_that_dies_is_submitted_again_and_goes_on(tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "run"
    out.mkdir()
    run(out, RunPart(out, dies=2), LOCAL)
    assert (tmp_path / "2-of-3.deaths").read_text() == "xx"
    merge_runs(parse_sources([out]), out)
    assert content(out) == whole


@pytest.mark.slow
def test_a_job_that_dies_again_and_again_is_named_with_its_log(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    with pytest.raises(LaunchError, match=r"the job of shard 2/3 died 3 times; the last time: .*log: .*_log\.err"):
        run(out, RunPart(out, dies=9), LOCAL)
    assert (out / "shards" / "1-of-3.jsonl").is_file()


def test_an_error_of_a_job_is_estimated_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match=r"^no OpenGL on this node$"):
        run(tmp_path, refuse, DEBUG)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"cluster": "cray"}, LaunchError, "doesn't know any executor named cray"),
        ({"cluster": "slurm"}, LaunchError, 'Could not detect "srun", are you indeed on a slurm cluster?'),
        ({**LOCAL, "timeout_minutes": 3}, UsageError, "--launcher-options: .*timeout_minutes"),
        ({**LOCAL, "timeout_min": "soon"}, UsageError, "--launcher-options: .*timeout_min"),
    ],
)
def test_what_submitit_does_not_take_is_named(
    tmp_path: Path, options: dict, error: type[ActEvalError], text: str
) -> None:
    with pytest.raises(error, match=text):
        run(tmp_path, refuse, options)
