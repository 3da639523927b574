"""Metrics of the user's: loading, values, statistics with their intervals, and their way over the disk."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_episode import RECORD, episode_steps
from test_summary import BLANK, HORIZON

from act_eval.encoding import encode_line
from act_eval.errors import UsageError
from act_eval.metrics import MetricDefinition, episode_metric, measure, summary
from act_eval.sources.metrics import load_metric, load_metrics
from act_eval.types import EpisodeRecord, Timing
from act_eval.types.steps import EpisodeSteps

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


class Excess:
    """Steps beyond a limit."""

    unit = "steps"

    def __init__(self, limit: int = 10) -> None:
        self._limit = limit

    def measure(self, record: EpisodeRecord, steps: EpisodeSteps, control_s: float) -> float:
        return max(0, record.steps - self._limit)


@episode_metric(statistic="fraction")
def slow(record: EpisodeRecord, steps: EpisodeSteps, control_s: float) -> bool:
    return record.steps * control_s > 0.5


def broken(record: EpisodeRecord, steps: EpisodeSteps, control_s: float) -> Any:
    return {"missed": float("nan"), "success": "three"}[record.outcome]


def value_of(metric: Any, record: EpisodeRecord = RECORD) -> float | None:
    name = load_metric(metric).definition.name
    return measure(record, episode_steps(), 0.05, own=load_metrics([metric])).own[name]


def summed(definition: MetricDefinition, values: list[float | None]) -> list[float | None]:
    metrics = [replace(BLANK, own={definition.name: value}) for value in values]
    records = [EpisodeRecord(episode=0, seed=0, outcome="success", steps=9)] * len(values)
    found = summary(records, metrics, [Timing(episode=0, wall_s=1.0)] * len(values), HORIZON, [definition])
    return [found[f"{definition.name}{end}"] for end in ("", "_low", "_high")]


def test_the_documented_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.syspath_prepend(EXAMPLES)
    metric = load_metric("own_metric:command_path")
    assert (metric.definition.name, metric.definition.unit, metric.definition.statistic) == (
        "command_path",
        "rad",
        "median",
    )
    assert metric.definition.meaning.startswith("Length of the path")
    assert len(metric.definition.digest) == 16
    path = np.diff(episode_steps().command[:, :2], axis=0)
    assert value_of(metric) == pytest.approx(np.sqrt((path**2).sum(axis=1)).sum())
    assert value_of(metric, replace(RECORD, outcome="missed")) is None


def test_classes_functions_and_objects() -> None:
    assert value_of(Excess) == RECORD.steps - 10
    assert value_of(Excess(3)) == RECORD.steps - 3
    assert value_of(f"{__name__}:Excess:limit=4") == RECORD.steps - 4
    assert value_of(slow) == 1.0
    assert load_metric(Excess).definition.name == "excess"


def test_own_values_follow_the_shipped_ones_in_the_file() -> None:
    plain = encode_line(measure(RECORD, episode_steps(), 0.05))
    assert '"own"' not in plain
    line = encode_line(measure(RECORD, episode_steps(), 0.05, own=load_metrics([Excess, slow])))
    assert line == plain[:-2] + ',"own":{"excess":2.0,"slow":1.0}}\n'


def test_statistics_and_their_intervals() -> None:
    mean = MetricDefinition(name="a", statistic="mean")
    assert summed(mean, [1.0, 2.0, None, 3.0]) == pytest.approx([2.0, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5])
    assert summed(mean, [4.0]) == [4.0, None, None]
    median = MetricDefinition(name="a", statistic="median")
    # Between the 2nd and the 9th of 10 the median is with 1 - 2 · 11/1024 = 97.9 %.
    assert summed(median, [float(i) for i in range(10, 0, -1)]) == [5.5, 2.0, 9.0]
    assert summed(median, [1.0] * 5) == [1.0, None, None]
    fraction = MetricDefinition(name="a", statistic="fraction")
    assert summed(fraction, [1.0, 0.0, None, 1.0, 1.0]) == pytest.approx([0.75, 0.300642, 0.954413], abs=1e-5)
    for definition in (mean, median, fraction):
        assert summed(definition, [None, None]) == [None, None, None]
        assert summed(definition, []) == [None, None, None]


@pytest.mark.parametrize(
    ("metrics", "problem"),
    [
        (["no_such_module:f"], "there is no module 'no_such_module'"),
        (["command_path"], "expected module:Name"),
        ([lambda record: 1.0], r"it is called with \(record, steps, control_s\)"),
        ([Excess, Excess], "two metrics are called 'excess'"),
        ([type("JerkRms", (Excess,), {})], "'jerk_rms' is the name of a shipped one"),
        ([type("Odd", (Excess,), {"statistic": "mode"})], "statistic is 'mode'; there are: mean, median, fraction"),
        ([3], "neither a function nor an object with measure"),
        ([f"{__name__}:slow:limit=3"], "only a class takes options"),
        ([f"{__name__}:Excess:least=3"], "making it raised TypeError: .*'least'"),
    ],
)
def test_what_is_no_metric_is_refused(metrics: list[Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        load_metrics(metrics)


def test_a_faulty_metric_is_named_with_its_episode() -> None:
    with pytest.raises(UsageError, match="metric broken, episode 0: ValueError: could not convert string to float"):
        value_of(broken)
    with pytest.raises(UsageError, match="metric broken, episode 0: the value is nan; it must be finite, or None"):
        value_of(broken, replace(RECORD, outcome="missed"))
    with pytest.raises(UsageError, match=r"the value is 2\.0; a fraction counts truth values"):
        value_of(type("Count", (Excess,), {"statistic": "fraction"}))
