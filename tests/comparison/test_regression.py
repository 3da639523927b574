"""The shipped checkpoints on a small fixed suite, eager, against their recorded outcomes; see docs/regression.md."""

from pathlib import Path

import pytest

from act_eval.cli import main
from act_eval.comparison import Baseline, judge

FOLDER = Path(__file__).parents[1] / "golden" / "regression"
POLICIES = ("act", "act_rtc")


@pytest.mark.parametrize("policy", POLICIES)
def test_a_shipped_policy_does_as_it_did(policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    baseline = Baseline.read(FOLDER / f"{policy}.json")
    conditions = list(baseline.configuration["conditions"].values())
    arguments = {
        "--policy": [policy],
        "--env": [baseline.suite.env],
        "--seeds": [",".join(map(str, baseline.suite.seeds))],
        "--delay": [str(condition["delay"]) for condition in conditions],
        "--execution-horizon": [str(conditions[0]["execution_horizon"])],
        "--executor": [conditions[0]["executor"]],
        "--compile": ["off"],
        "--device": ["cpu"],
        "--video": ["none"],
        "--workers": ["1"],
        "--out": [str(tmp_path / "run")],
    }
    assert main(["evaluate", *(word for flag, values in arguments.items() for word in (flag, *values))]) == 0
    judgement = judge(baseline, Baseline.of_run(tmp_path / "run", reason="test"))
    with capsys.disabled():
        print(f"\n{policy}: {judgement.text}")
    assert judgement.passed, judgement.text
