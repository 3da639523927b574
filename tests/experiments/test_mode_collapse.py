"""The study: its cells, that it goes on where it stood, and that its report says what the files say."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tyro
from made_runs import make_run, outcomes, suite
from safetensors.numpy import save_file

import mode_collapse
from act_eval.cli import evaluate, guarded, probe, train
from act_eval.cli.parsing import parse
from act_eval.errors import UnknownName
from collapse_cells import BASELINE, Budget, cells, chosen, commands
from collapse_report import CONDITION, write_report

SMALL = ("--steps", "7", "--episodes", "5", "--other-episodes", "3", "--demonstrations", "4")
BUDGET = Budget(steps=7, episodes=5, other_episodes=3, demonstrations=4)
STAGES = ["collect", "train", "probe", "present", "absent", "exchanged"]

PROGRAM = """
import sys
from pathlib import Path
with Path({log!r}).open("a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
code = {codes}.get(sys.argv[1], 0)
print("about to", code)
sys.exit(code)
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in that notes how it was called; the folder that a study is written to is the working directory."""
    monkeypatch.chdir(tmp_path)
    stand_in = tmp_path / "program.py"
    ends(stand_in)
    return stand_in


def ends(program: Path, **codes: int) -> None:
    """Let commands end with these codes; a probe finds a dead input."""
    program.write_text(PROGRAM.format(log=str(program.with_name("calls")), codes={"probe": 3} | codes))


def called(program: Path) -> list[list[str]]:
    return [shlex.split(line) for line in program.with_name("calls").read_text().splitlines()]


def started(program: Path, *arguments: str) -> int:
    words = (sys.executable, str(program))
    return guarded(
        lambda: mode_collapse.study(parse(mode_collapse.Flags, [*SMALL, *arguments], "mode_collapse.py"), words)
    )


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The stand-ins leave nothing to report on."""
    if "program" in request.fixturenames:
        monkeypatch.setattr("mode_collapse.write_report", lambda folder, _budget: folder / "report.md")


def test_twelve_cells_carry_the_claims_and_are_compared_with_cells_that_exist() -> None:
    known = cells()
    claims = [cell for cell in known.values() if cell.claim]
    assert len(claims) == 12
    assert list(known.values())[:12] == claims
    assert {cell.question for cell in claims} == {1, 2, 3}
    assert all(cell.against is None or (cell.against in known and cell.against != cell.name) for cell in known.values())
    assert all(known[cell.against].claim for cell in claims if cell.against is not None)
    assert known[BASELINE].model == ()


@pytest.mark.parametrize("name", list(cells()))
def test_every_command_is_one_that_the_scripts_take(name: str) -> None:
    cell = cells()[name]
    stages = commands(cell, BUDGET, Path("outputs/study/x"))
    assert list(stages) == list(cell.stages)
    flags = train.parse(stages["train"][1:])
    assert (flags.train.steps, flags.train.seed) == (7, cell.seed)
    kind = name.partition("_seed")[0]
    assert flags.model.conditioning == {"cut": "unread"}.get(
        kind, kind.split("_")[0] if cell.question == 3 else "token"
    )
    assert flags.model.normalization_mapping["ENV"] == ("IDENTITY" if kind == "not_normalised" else "MEAN_STD")
    for condition in cell.conditions:
        asked = tyro.cli(evaluate.Flags, args=stages[condition][1:])
        assert asked.episodes == (5 if condition == "present" else 3)
        assert asked.environment.confusers == (0 if condition == "absent" else None)
        assert asked.environment.swap_blocks == (condition == "exchanged")
    assert tyro.cli(probe.Flags, args=stages["probe"][1:]).short


def test_an_unknown_cell_lists_what_exists() -> None:
    with pytest.raises(UnknownName, match=r"unknown cell 'gating'; there are: .*claim.*film_50"):
        chosen(("gating",))


def test_finished_stages_are_not_repeated(program: Path) -> None:
    assert started(program, "--cells", "cut") == 0
    first = called(program)
    assert [call[0] for call in first] == ["collect", "train", "probe", "evaluate", "evaluate", "evaluate"]
    state = json.loads(Path("outputs/study/collapse/cut/cell.json").read_text())
    assert list(state) == STAGES
    assert [shlex.split(entry["command"])[2:] for entry in state.values()] == [call[1:] for call in first]
    assert started(program, "--cells", "cut") == 0
    assert called(program) == first


def test_a_failed_stage_names_its_command_and_its_words_and_is_tried_again(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends(program, train=1)
    assert started(program, "--cells", "token_50") == 1
    error = capsys.readouterr().err
    assert "act-eval train --policy act" in error
    assert "failed with exit code 1: about to 1; outputs/study/collapse/token_50/train.log" in error
    ends(program)
    (Path("outputs/study/collapse/token_50/train/checkpoints/last")).mkdir(parents=True)  # a checkpoint stands there
    assert started(program, "--cells", "token_50") == 0
    calls = called(program)
    assert [call[0] for call in calls[:3]] == ["collect", "train", "train"]
    assert calls[2][1:] == ["--resume", "outputs/study/collapse/token_50/train"]


def test_an_interrupted_stage_ends_the_study_and_is_begun_again(program: Path) -> None:
    ends(program, evaluate=130)
    assert started(program, "--cells", "cut", "label_noise") == 130
    assert [call[0] for call in called(program)] == ["collect", "train", "probe", "evaluate"]
    ends(program)
    assert started(program, "--cells", "cut") == 0
    assert [call[0] for call in called(program)][4:] == ["evaluate"] * 3


def test_no_new_stage_begins_when_time_is_up(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert started(program, "--cells", "cut", "--minutes", "0") == 130
    assert not program.with_name("calls").exists()
    assert "time is up; the same command continues" in capsys.readouterr().out


def test_another_budget_needs_another_name(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert started(program, "--list") == 0
    assert started(program, "--list", "--steps", "9") == 1
    error = capsys.readouterr().err
    assert "was begun with another budget: steps is 7, asked for is 9" in error
    assert "--name" in error


def test_two_data_sets_differ_in_what_the_cells_ask_for() -> None:
    names = {cell.data.name: cell.data for cell in cells().values()}
    assert {cell.data for cell in cells().values()} == set(names.values())
    assert set(names) >= {"continuous_present", "one_absent", "two_present", "continuous_present_label_noise0.2"}


def finish(folder: Path, name: str, present: Sequence[str], goal_input: str) -> None:
    """Write what a finished cell leaves behind."""
    own, stages = folder / name, commands(cells()[name], BUDGET, folder)
    weights = own / "train" / "checkpoints" / "last" / "pretrained_model"
    weights.mkdir(parents=True)
    save_file({"a": np.zeros((100, 30)), "b": np.zeros(7000)}, weights / "model.safetensors")
    rows = [{"step": step, "l1_loss": 1.0 if step <= 100 else 0.25, "lr": 1e-4} for step in range(1, 201)]
    log = [*rows, {"step": 200, "validation": {"l1_loss": 0.375}}]
    (own / "train" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    verdict = {"input": "observation.environment_state", "mode": goal_input, "evidence": ""}
    (own / "probe.json").write_text(json.dumps({"verdicts": [verdict]}))
    for stage in cells()[name].conditions:
        wanted = present if stage == "present" else outcomes(1, 2)
        make_run(own / stage, {CONDITION: wanted}, of=suite(len(wanted)))
    state = {name: {"command": shlex.join(["act-eval", *words]), "seconds": 1.0} for name, words in stages.items()}
    (own / "cell.json").write_text(json.dumps(state))


def test_invalid_episodes_are_no_pairs_of_a_planned_comparison(tmp_path: Path) -> None:
    finish(tmp_path, BASELINE, outcomes(9, 0, invalid=1), "used")
    finish(tmp_path, "cut", ["invalid", "success", *outcomes(0, 8)], "ignored")
    page = write_report(tmp_path, BUDGET).read_text()
    assert "0 / 7 of 8" in page
    values = json.loads((tmp_path / "report.json").read_text())
    assert values["compared"][0]["table"] == {"both": 1, "only_first": 7, "only_second": 0, "neither": 0}


def test_the_report_says_what_the_files_say_and_names_what_is_missing(tmp_path: Path) -> None:
    finish(tmp_path, BASELINE, outcomes(8, 2), "used")
    finish(tmp_path, "cut", ["wrong_block"] + outcomes(1, 8), "ignored")
    (tmp_path / "film_50").mkdir()
    page = write_report(tmp_path, BUDGET).read_text()
    row, compared = [line for line in page.splitlines() if line.startswith("| `cut`")]
    cut = [part.strip() for part in row.strip("|").split("|")]
    assert cut[:6] == ["`cut`", "4", "0.250", "0.375", "ignored", "1/10, 2 – 40 %"]
    assert "0.01 M" in cut
    assert f"| `{BASELINE}` |" in compared
    assert "-70 points" in compared
    assert "0 / 7 of 10" in compared
    assert "Not finished yet: " in page
    assert "film_50" in page.split("Not finished yet: ")[1].splitlines()[0]
    assert BASELINE not in page.split("Not finished yet: ")[1].splitlines()[0]
    assert "act-eval train --policy act" in page
    values = json.loads((tmp_path / "report.json").read_text())
    assert [cell["cell"] for cell in values["cells"]] == [BASELINE, "cut"]
    assert values["compared"][0]["table"] == {"both": 1, "only_first": 7, "only_second": 0, "neither": 2}
