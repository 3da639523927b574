"""Studies: their files name commands that exist, and each command is run once."""

import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from made_runs import make_run, outcomes

from act_eval.cli import COMMANDS, command_module, guarded, train
from act_eval.cli.parsing import parse
from act_eval.envs.registration import env_id
from study import HERE, Flags, cells_of, study

FILES = sorted(HERE.glob("*.toml"))
STUDY = """
[words]
measure = "evaluate --env {env} --seed 7 --out {out}/run"
env = "pick"

[[cells]]
name = "{arm}_seed{seed}"
each.arm = ["a", "b"]
each.seed = [0, 1]
commands.train = "train --dataset {study}/data/{arm} --seed {seed} --out {out}/train"
commands.evaluate = "{measure} --policy {out}/train"
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(STUDY)
    return Path("mine.toml")


def run(tmp_path: Path, *words: str, codes: Mapping[str, int] = MappingProxyType({})) -> int:
    """Run a study with a stand-in for the command line, which notes its words and ends with the code of its command."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nprint(*sys.argv[1:], file=open('calls', 'a'))\nprint('about to end')\n"
        f"sys.exit({dict(codes)}.get(sys.argv[1], 0))\n"
    )
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


@pytest.mark.usefixtures("mine")
def test_commands_are_filled_in_and_run_once(tmp_path: Path) -> None:
    assert run(tmp_path, "mine.toml", "--cells", "b") == 0
    assert run(tmp_path, "mine.toml") == 0
    calls = Path("calls").read_text().splitlines()
    out = "outputs/study/mine/b_seed0"
    assert calls[0] == f"train --dataset outputs/study/mine/data/b --seed 0 --out {out}/train"
    assert calls[1] == f"evaluate --env pick --seed 7 --out {out}/run --policy {out}/train"
    assert [shlex.split(call)[0] for call in calls] == ["train", "evaluate"] * 4


@pytest.mark.usefixtures("mine")
def test_the_table_shows_the_finished_evaluations_of_each_training_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "mine.toml", "--cells", "a") == 0
    for seed, successes in ((0, 9), (1, 4)):
        folder = tmp_path / f"outputs/study/mine/a_seed{seed}/run"
        results = {"naive_d0": outcomes(10, 2), "naive_d4": outcomes(successes, 12 - successes)}
        make_run(folder, results | {"naive_d8": outcomes(successes, 12 - successes - seed, invalid=seed)})
    capsys.readouterr()
    assert run(tmp_path, "mine.toml", "--table") == 0
    lines = [line.strip("│").split("│") for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in line] for line in lines] == [
        ["a", "evaluate", "naive_d0", "10, 10 of 12"],
        ["a", "evaluate", "naive_d4", "9, 4 of 12"],
        ["a", "evaluate", "naive_d8", "9/12, 4/11"],
    ]


@pytest.mark.usefixtures("mine")
def test_a_failed_stage_names_its_command_and_its_words_and_is_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "mine.toml", codes={"train": 1}) == 1
    error, out = capsys.readouterr().err, "outputs/study/mine/a_seed0"
    assert "act-eval train --dataset outputs/study/mine/data/a" in error
    assert f"failed with exit code 1: about to end; {out}/train.log" in error
    Path(f"{out}/train/checkpoints/last").mkdir(parents=True)
    assert run(tmp_path, "mine.toml", "--cells", "a_seed0") == 0
    assert Path("calls").read_text().splitlines()[1] == f"train --resume {out}/train"


@pytest.mark.usefixtures("mine")
def test_an_interrupted_stage_ends_the_study_and_is_begun_again(tmp_path: Path) -> None:
    assert run(tmp_path, "mine.toml", codes={"evaluate": 130}) == 130
    assert run(tmp_path, "mine.toml", "--cells", "a_seed0") == 0
    assert [call.split()[0] for call in Path("calls").read_text().splitlines()] == ["train", "evaluate", "evaluate"]


@pytest.mark.usefixtures("mine")
def test_no_new_stage_begins_when_time_is_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "mine.toml", "--minutes", "0") == 130
    assert not Path("calls").exists()
    assert "time is up; the same command continues" in capsys.readouterr().out


def test_a_probe_that_finds_an_ignored_input_is_no_failure(tmp_path: Path, mine: Path) -> None:
    mine.write_text(STUDY + 'commands.probe = "probe --policy {out}/train --json {out}/probe.json --out {out}"\n')
    assert run(tmp_path, "mine.toml", codes={"probe": 3}) == 0


def test_a_finished_command_that_has_changed_is_refused(
    tmp_path: Path, mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "mine.toml", "--cells", "a_seed0") == 0
    mine.write_text(STUDY.replace("--seed 7", "--seed 8"))
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
        (STUDY, "unknown cell 'c'; there are: a_seed0, a_seed1, b_seed0, b_seed1"),
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
