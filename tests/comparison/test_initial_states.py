"""Episodes that begin in other states under the same seed are not paired."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from made_runs import FINGERPRINT, make_run, outcomes

import act_eval
from act_eval.cli import main
from act_eval.comparison import Baseline, judge
from act_eval.comparison.judging import judge_paired
from act_eval.errors import SuiteMismatch

STATES = [f"{i:016x}" for i in range(10)]
OTHERS = [*STATES[:4], *(f"{i:016x}" for i in range(100, 106))]
MESSAGE = "d0: 6 of 10 episodes begin in another state under the same seed (episode 4, seed 104: "


def run(out: Path, *states: Sequence[str | None], **more) -> Path:
    conditions = {f"d{i}": outcomes(8, 2) for i in range(len(states))}
    starts = {f"d{i}": list(one) for i, one in enumerate(states)}
    return make_run(out, conditions, starts=starts, **more)


def test_two_runs_are_refused_and_unpaired_compares_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    runs = [str(run(tmp_path / "a", STATES)), str(run(tmp_path / "b", OTHERS))]
    assert main(["compare", *runs]) == 3
    refusal = capsys.readouterr().err
    assert f"error: {MESSAGE}{STATES[4]} against {OTHERS[4]}), so they are no pairs" in refusal
    assert "the environment's reset must depend on its seed alone; --unpaired compares the rates anyway" in refusal
    assert main(["compare", *runs, "--unpaired"]) == 0
    with pytest.raises(SuiteMismatch, match="6 of 10 episodes begin in another state"):
        act_eval.compare(*runs)


def test_two_conditions_of_one_run_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = run(tmp_path / "a", STATES, OTHERS)
    with pytest.raises(SuiteMismatch, match="d0 → d1: 6 of 10 episodes begin in another state"):
        act_eval.load_run(folder).compare("d0", "d1")
    assert main(["compare", f"{folder}:d0", f"{folder}:d1"]) == 3


def test_checkpoints_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    runs = [str(run(tmp_path / name, states)) for name, states in (("a", STATES), ("b", STATES), ("c", OTHERS))]
    assert main(["compare", "--checkpoints", *runs]) == 3
    assert MESSAGE in capsys.readouterr().err
    assert main(["compare", "--checkpoints", *runs[:2]]) == 0


def test_a_baseline_keeps_the_states_and_refuses_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first, other = run(tmp_path / "a", STATES), run(tmp_path / "b", OTHERS)
    path = tmp_path / "base.json"
    assert main(["baseline", str(first), str(path), "--reason", "first"]) == 0
    baseline = Baseline.read(path)
    assert baseline.initial_states == {"d0": tuple(STATES)}
    with pytest.raises(SuiteMismatch, match="6 of 10 episodes begin in another state"):
        judge_paired(baseline, Baseline.of_run(other, "test"))
    assert main(["compare", str(path), str(other)]) == 3
    assert judge_paired(baseline, Baseline.of_run(first, "test")).passed


def test_another_machine_and_states_that_were_not_recorded_are_paired(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Floating-point noise changes the digest of a state: that is a note."""
    first = run(tmp_path / "a", STATES)
    elsewhere = run(tmp_path / "b", OTHERS, fingerprint={**FINGERPRINT, "cpu_capability": "other"})
    assert main(["compare", str(first), str(elsewhere)]) == 0
    assert "note: d0: 6 episodes begin in another state: on another machine" in capsys.readouterr().out
    assert judge(Baseline.of_run(first, "first"), Baseline.of_run(elsewhere, "test")).passed
    broken = [None if i == 5 else state for i, state in enumerate(STATES)]  # it never began
    for other in (run(tmp_path / "c", broken), make_run(tmp_path / "d", {"d0": outcomes(8, 2)})):
        assert main(["compare", str(first), str(other)]) == 0
