"""Studies: their files name commands that exist, and each command is run once."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from act_eval.cli import COMMANDS, command_module, guarded, train
from act_eval.cli.parsing import parse
from act_eval.envs.registration import env_id
from study import HERE, Flags, cells_of, study

FILES = sorted(path for path in HERE.glob("*.toml") if path.name != "mode_collapse.toml")
STUDY = """
[words]
measure = "evaluate --env {env} --seed 7"
env = "pick"

[[cells]]
name = "{arm}_{seed}"
each.arm = ["a", "b"]
each.seed = [0, 1]
commands.train = "train --dataset {study}/data/{arm} --seed {seed} --out {out}/train"
commands.evaluate = "{measure} --policy {out}/train"
"""


def run(tmp_path: Path, *words: str) -> int:
    program = tmp_path / "program.py"
    program.write_text("import sys\nprint(*sys.argv[1:], file=open('calls', 'a'))\nsys.exit('stop' in sys.argv)\n")
    return guarded(lambda: study(parse(Flags, words, "study.py"), (sys.executable, str(program))))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_command_of_a_study_is_one_that_act_eval_takes(file: Path) -> None:
    for stages in cells_of(file).values():
        for command, *words in stages.values():
            assert command in COMMANDS
            for name in filter(re.compile(r"\w*pick-v\d|\w+_swap-v\d").fullmatch, words):
                assert env_id(name).endswith(name[-3:])
            if command == "train":
                train.parse(["act_rtc" if "/checkpoints/" in word else word for word in words])  # which comes first
            else:
                parse(command_module(command).Flags, words, command)


def test_commands_are_filled_in_and_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(STUDY)
    assert run(tmp_path, "mine.toml", "--cells", "b") == 0
    assert run(tmp_path, "mine.toml") == 0
    calls = Path("calls").read_text().splitlines()
    assert calls[0] == "train --dataset outputs/study/mine/data/b --seed 0 --out outputs/study/mine/b_0/train"
    assert calls[1] == "evaluate --env pick --seed 7 --policy outputs/study/mine/b_0/train"
    assert [shlex.split(call)[0] for call in calls] == ["train", "evaluate"] * 4


def test_a_finished_command_that_has_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(STUDY)
    assert run(tmp_path, "mine.toml", "--cells", "a_0") == 0
    Path("mine.toml").write_text(STUDY.replace("--seed 7", "--seed 8"))
    assert run(tmp_path, "mine.toml", "--list") == 0
    assert run(tmp_path, "mine.toml") == 1
    error = capsys.readouterr().err
    assert "evaluate was run as act-eval evaluate --env pick --seed 7" in error
    assert "it is now act-eval evaluate --env pick --seed 8" in error


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[cells]", "is no study: TOMLDecodeError"),
        ("[[cells]]\nname = 'x'", "is no study: KeyError: 'commands'"),
        ("[[cells]]\nname = 'x'\ncommands.train = '{nothing}'", "is no study: KeyError: 'nothing'"),
        ("[words]\na = '{b}'\nb = '{a}'\n[[cells]]\nname = 'x'\ncommands.train = '{a}'", "contains itself"),
        (STUDY, "unknown cell 'c'; there are: a_0, a_1, b_0, b_1"),
    ],
)
def test_a_wrong_file_or_cell_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(text)
    assert run(tmp_path, "mine.toml", "--cells", "c") == 2
    assert said in capsys.readouterr().err
    assert run(tmp_path, "missing.toml") == 2
