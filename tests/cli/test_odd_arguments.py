"""Odd paths and pipes: an exit code as documented and one sentence, before any work; never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_runs import make_run, outcomes

from act_eval.cli import main

NOWHERE = [
    ["report", "RUN"],
    ["render", "RUN"],
    ["export", "RUN"],
    ["merge", "RUN"],
    ["baseline", "RUN", "b.json", "--reason", "new"],
    ["compare", "RUN", "RUN"],
    ["publish", "act", "--checkpoint", "RUN"],
    ["train", "--resume", "RUN"],
    ["evaluate", "--policy", "./RUN", "--episodes", "1"],
    ["evaluate", "--policy", "expert", "--env", "pick", "--env-file", "RUN"],
    ["probe", "--policy", "./RUN"],
    ["serve", "--policy", "./RUN"],
]


@pytest.mark.parametrize("words", NOWHERE, ids=lambda words: words[0])
def test_a_path_that_does_not_exist_is_a_usage_error(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["probe", "--policy", "act", "--json", "."], "--json . is a folder; name a file in it"),
        (["probe", "--policy", "act", "--json", "file/x.json"], "--json file/x.json is below file, which is a file"),
        (["baseline", "run", ".", "--reason", "new"], "the baseline file . is a folder; name a file in it"),
        (["compare", "run", "run", "--json", "."], "cannot write .: Is a directory"),
        (["publish", "../x", "--checkpoint", "run"], "NAME is '../x'; it is letters, digits and underscores"),
        (["report", "file"], "file is a file; name a run folder of evaluate"),
    ],
)
def test_a_target_that_cannot_be_written_is_named(
    words: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    make_run(tmp_path / "run", {"d0": outcomes(2, 1)})
    assert main(words) == 2
    assert text in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--condition", "d9"], "--episodes and --condition select what rerun receives"),
        (["--episodes", "sucess"], "--episodes and --condition select what rerun receives"),
    ],
)
def test_a_selection_that_no_export_takes_is_refused(
    flags: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", {"d0": outcomes(2, 1)})
    assert main(["export", str(run), "--to", "csv", *flags]) == 2
    assert text in capsys.readouterr().err
    assert not (run / "episodes.csv").exists()


@pytest.mark.parametrize("words", [["--help"], ["evaluate", "--help"], ["completion", "bash"]], ids=" ".join)
@pytest.mark.parametrize("buffered", [True, False])
def test_a_pipe_that_is_closed_early_ends_a_command_without_a_word(words: list[str], buffered: bool) -> None:
    env = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    command = [sys.executable, "-m", "act_eval", *words]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, env=env, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")
