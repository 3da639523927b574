"""`evaluate --launcher slurm` as it is typed, and what is seen of jobs while they run."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from toy_bench import SEEDS, Walkers, job, manifest

from act_eval.cli import main
from act_eval.errors import RunFolderError
from act_eval.evaluation import jobs
from act_eval.evaluation.jobs import NewLines
from act_eval.evaluation.worker import cut_blocks
from act_eval.launch import worker_pool
from act_eval.results import Shard, open_run

# submitit's debug executor leaves its log files open.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

EXPERT = ["evaluate", "--policy", "expert", "--env", "pick", "--seeds", "3,17,99", "--video", "none"]
DEBUG = ["--launcher", "slurm", "--launcher-options", "cluster=debug"]
FIRST, SECOND = Shard(1, 2), Shard(2, 2)


@pytest.fixture(autouse=True)
def jobs_find_these_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))


def run(out: Path, shard: Shard, only: int | None = None) -> None:
    """Run a toy's part; only the first few episodes of its first condition if told so."""
    work = job(out)
    with worker_pool(Walkers(work.batch), 1) as team, open_run(out, manifest(), shard=shard) as folder:
        if blocks := cut_blocks(work, folder.done(), 1):
            begun = blocks if only is None else [replace(blocks[0], episodes=blocks[0].episodes[:only])]
            team.run(work, begun, folder.new_shards(1), lambda condition, record: None)
        if only is None:
            folder.finish_shard()


def delay_estimator(news: NewLines) -> list[tuple[str, int]]:
    return [(line.condition, line.record.episode) for _, line in news.read()]


def test_jobs_leave_what_one_process_leaves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert main([*EXPERT, "--workers", "1", "--out", str(whole)]) == 0
    assert main([*EXPERT, "--shard", "2/2", "--out", str(out)]) == 0
    capsys.readouterr()
    assert main([*EXPERT, *DEBUG, "--workers", "3", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"1 of 2 shards are left to run, one job each: {out}/jobs" in said
    assert "3/3 = 1.00, 95% Wilson" in said
    for name in ("episodes.jsonl", "metrics.jsonl", "steps/0001.npz", "steps/0002.npz"):
        assert (out / "expert" / name).read_bytes() == (whole / "expert" / name).read_bytes()
    assert not (out / "jobs").exists()
    assert main([*EXPERT, *DEBUG, "--workers", "3", "--out", str(out)]) == 0
    assert "0 of 3 shards are left to run" in capsys.readouterr().out
    before = (out / "expert" / "episodes.jsonl").read_bytes()
    for other in (["--seeds", "3,17,98"], ["--env", "confuser_pick"]):
        assert main([*EXPERT, *other, *DEBUG, "--workers", "3", "--out", str(out)]) != 0
        assert f"{out} holds another run (existing against requested):" in capsys.readouterr().err
    assert (out / "expert" / "episodes.jsonl").read_bytes() == before


def test_a_gpu_is_looked_for_where_the_jobs_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [
        "--policy",
        "act",
        "--device",
        "cuda:99",
        *DEBUG,
        "--launcher-options",
        "cluster=nowhere",
        "--workers",
        "1",
    ]
    assert main([EXPERT[0], *flags, "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == "error: --launcher slurm: AutoExecutor doesn't know any executor named nowhere\n"


def test_every_episode_is_news_once(tmp_path: Path) -> None:
    run(tmp_path, FIRST, only=3)
    news = NewLines([tmp_path])
    assert delay_estimator(news) == []
    run(tmp_path, FIRST, only=3)
    second = delay_estimator(news)
    assert delay_estimator(news) == []
    run(tmp_path, SECOND)
    third = delay_estimator(news)
    run(tmp_path, FIRST)
    every = [("d0", 0), ("d0", 2), ("d0", 4), *second, *third, *delay_estimator(news)]
    assert len(second) == 3
    assert sorted(every) == [(condition, episode) for condition in ("d0", "d2") for episode in range(len(SEEDS))]


def test_a_part_may_finish_while_its_lines_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    news = NewLines([tmp_path])
    run(tmp_path, FIRST, only=3)
    reading = jobs.read_shard

    def finished_first(path: Path):
        monkeypatch.undo()
        run(tmp_path, FIRST)
        assert not path.exists()
        yield from reading(path)

    monkeypatch.setattr(jobs, "read_shard", finished_first)
    assert delay_estimator(news) == []
    assert len(delay_estimator(news)) == len(FIRST.episodes(len(SEEDS))) * 2


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    run(tmp_path, FIRST)
    shard = tmp_path / "shards" / "1-of-2.jsonl"
    news = NewLines([tmp_path])
    shard.write_text("{}\n")
    with pytest.raises(
        RunFolderError, match=r"1-of-2.jsonl, line 1 is damaged: condition is missing; .* If another version started"
    ):
        delay_estimator(news)
