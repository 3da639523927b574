"""The documented executor and metric of the user's through a whole evaluation: records, manifest, tables, page."""

import json
from pathlib import Path

import pytest

import act_eval
from act_eval.results.run import read_run
from act_eval.results.tables import metric_table

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def test_the_documented_executor_and_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.syspath_prepend(EXAMPLES)
    act_eval.evaluate(
        "act",
        "pick",
        delays=[2],
        executor="own_executor:CrossFade:fade=3",
        metrics=["own_metric:command_path"],
        episodes=2,
        out=tmp_path / "run",
        video="none",
        workers=1,
        probe=False,
        progress=False,
    )
    run = read_run(tmp_path / "run")
    condition = run.conditions["cross_fade-fade3_d2_s10"]
    assert condition.settings["executor_class"] == "own_executor:CrossFade"
    values = [one.own["command_path"] for one in condition.episode_metrics]
    assert [value is not None for value in values] == [outcome == "success" for outcome in condition.outcomes]
    summary = json.loads((condition.folder / "summary.json").read_text())["metrics"]
    assert list(summary)[-3:] == ["command_path", "command_path_low", "command_path_high"]
    assert "command\npath, rad" in metric_table(run).heads
    assert "command path, rad" in (tmp_path / "run" / "report.html").read_text()
