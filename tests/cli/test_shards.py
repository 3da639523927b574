"""`evaluate --shard` and `merge` as they are typed."""

from pathlib import Path

import pytest

from act_eval.cli import main

EXPERT = ["evaluate", "--policy", "expert", "--env", "pick", "--seeds", "3,17,99", "--video", "none", "--workers", "1"]


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(list(map(str, words)))
    said = capsys.readouterr()
    return code, said.out, said.err


def test_parts_that_ran_apart_are_merged_to_the_bytes_of_the_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, *EXPERT, "--out", tmp_path / "whole")[0] == 0
    a, b = tmp_path / "a", tmp_path / "b"
    code, out, _ = run(capsys, *EXPERT, "--shard", "1/2", "--out", a)
    assert code == 0
    assert f"shard   1/2 is finished: 2 episodes, {a}/shards/1-of-2.jsonl" in out
    assert f"When all 2 are finished: act-eval merge {a}, or act-eval merge RUN... --out OUT" in out
    assert "95% Wilson" not in out
    assert run(capsys, "merge", a)[::2] == (1, "error: condition expert: 1 of 3 episodes are missing: 1\n")
    assert run(capsys, *EXPERT, "--shard", "2/2", "--out", b)[0] == 0
    assert run(capsys, "merge", a, b)[::2] == (
        2,
        f"error: --out is needed: the shards are in 2 folders ({a}, {b}, …)\n",
    )
    code, out, _ = run(capsys, "merge", a, b, "--out", tmp_path / "together")
    assert code == 0
    assert "3/3 = 1.00, 95% Wilson" in out
    for name in ("episodes.jsonl", "metrics.jsonl", "steps/0001.npz", "steps/0002.npz"):
        whole = tmp_path / "whole" / "expert" / name
        assert (tmp_path / "together" / "expert" / name).read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--shard", "4/3"], "shard 4/3: there are shards 1/3 to 3/3"),
        (["--shard", "1/4"], "--shard 1/4: 3 episodes make at most 3 shards"),
        (["--shard", "half"], "--shard is 'half'; it must be NUMBER/COUNT, as in 2/8"),
        (["--shard", "1/2", "--launcher", "slurm"], "--launcher slurm splits the run into --workers shards itself"),
        (["--launcher-options", "timeout_min=3"], "--launcher-options is for --launcher slurm"),
        (
            ["--launcher", "slurm", "--launcher-options", "timeout"],
            "--launcher-options takes NAME=VALUE, as in timeout_min=60; got 'timeout'",
        ),
        (["--launcher", "slurm"], "--launcher slurm needs --out, a folder that every node sees"),
        (["--gpus-per-worker", "1"], "--gpus-per-worker is for --launcher ray"),
        (["--call-timeout-s", "0"], "--call-timeout-s is 0.0; it must be above 0 and below 1000000"),
    ],
)
def test_what_does_not_go_together_is_refused(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = run(capsys, *EXPERT, *words)
    assert (code, said.startswith("error: ")) == (2, True)
    assert text in said


def test_nothing_to_merge_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(capsys, "merge")[::2] == (
        2,
        "error: nothing to merge; name run folders, or shards as in RUN/shards/2-of-8.jsonl\n",
    )
    assert run(capsys, "merge", tmp_path / "x")[::2] == (2, f"error: {tmp_path / 'x'} does not exist\n")
