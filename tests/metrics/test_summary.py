"""What the episodes of a condition come to, by hand."""

from dataclasses import replace

import pytest

from act_eval.metrics import METRICS, EpisodeMetrics, summary
from act_eval.results.tables import metric_table
from act_eval.types import EpisodeRecord, Timing

HORIZON = 200
BLANK = EpisodeMetrics(
    episode=0, control_s=0.05, time_to_success_s=None, switch_steps=(), switch_jumps=(), gripper_jumps=(),
    overlap_rmses=(), boundary_spike_ratio=None, jerk_rms=None, action_age_counts=(), action_age_p50=None,
    action_age_p95=None, action_age_max=None, stall_fraction=None, discarded_fraction=None, reaction_steps=None,
    behavioural_reaction_steps=None,
)  # fmt: skip
EVENT = {"event_step": 5, "event_from_xy": [0.0, 0.0], "event_to_xy": [0.1, 0.0]}


def record(outcome: str, steps: int, **fields) -> EpisodeRecord:
    return EpisodeRecord(episode=0, seed=0, outcome=outcome, steps=steps, **fields)


def summed(records: list[EpisodeRecord], metrics: list[EpisodeMetrics], timings: list[Timing] | None = None) -> dict:
    timings = timings or [Timing(episode=0, wall_s=1.0)] * len(records)
    return dict(summary(records, metrics, timings, HORIZON))


def test_every_metric_is_there_in_the_order_of_the_catalogue():
    names = [metric.name for metric in METRICS]
    assert list(summed([record("success", 100)], [replace(BLANK, time_to_success_s=5.0)])) == names
    assert list(summed([], [])) == names
    assert set(summed([], []).values()) == {None}


def test_switches_are_pooled_over_episodes_and_undefined_ones_left_out():
    first = replace(
        BLANK, switch_jumps=(0.1, None, 0.2), gripper_jumps=(0.0, None, 0.7), overlap_rmses=(0.3, None, 0.5)
    )
    second = replace(BLANK, switch_jumps=(0.6,), gripper_jumps=(0.2,), overlap_rmses=(0.1,), jerk_rms=30.0)
    found = summed([record("missed", 200)] * 2, [first, second])
    assert found["switch_jump_mean"] == pytest.approx(0.3)
    assert found["switch_jump_p95"] == 0.6
    assert found["gripper_jump_mean"] == pytest.approx(0.3)
    assert found["overlap_rmse_mean"] == pytest.approx(0.3)
    assert found["jerk_rms"] == 30.0
    assert found["boundary_spike_ratio"] is None


def test_ages_and_waste_are_pooled_over_steps():
    metrics = [replace(BLANK, action_age_counts=(0, 90)), replace(BLANK, action_age_counts=(0, 0, 0, 10))]
    records = [
        record("success", 90, underrun_steps=9, detail={"predicted_actions": 100, "discarded_actions": 10}),
        record("missed", 10, stopped_steps=80, detail={"predicted_actions": 100, "discarded_actions": 90}),
    ]
    found = summed(records, metrics)
    assert [found[f"action_age_{end}"] for end in ("p50", "p95", "max")] == [1, 3, 3]
    assert found["stall_fraction"] == pytest.approx(89 / 180)
    assert found["discarded_fraction"] == pytest.approx(0.5)


def test_not_to_react_is_later_than_any_reaction():
    reacted = replace(BLANK, reaction_steps=2, behavioural_reaction_steps=4)
    never = replace(BLANK, reaction_steps=3)
    events = record("missed", 200, detail=EVENT)
    found = summed([events] * 5 + [record("missed", 200)], [reacted] * 3 + [never] * 2 + [BLANK])
    assert (found["reaction_p50"], found["reaction_p95"]) == (2, 3)
    assert (found["behavioural_reaction_p50"], found["behavioural_reaction_p95"]) == (4, None)
    assert found["behavioural_reaction_fraction"] == pytest.approx(3 / 5)
    mostly_not = summed([events] * 3, [reacted, never, never])
    assert mostly_not["behavioural_reaction_p50"] is None
    assert mostly_not["behavioural_reaction_fraction"] == pytest.approx(1 / 3)


def test_failures_are_censored_at_the_horizon_and_so_are_successes_beyond_it():
    # Two succeed in time, one because of stopped time only after the deadline, one fails early on.
    records = [record("success", 80), record("success", 120), record("success", 190, stopped_steps=100)]
    metrics = [replace(BLANK, time_to_success_s=s) for s in (4.0, 6.0, 14.5)]
    found = summed([*records, record("wrong_block", 60)], [*metrics, BLANK])
    assert found["time_to_success_median"] == 6.0
    assert found["time_to_success_mean"] == pytest.approx((4 + 6 + 10 + 10) / 4)
    assert found["time_to_success_mean_low"] < 7.5 < found["time_to_success_mean_high"] <= 10
    simulated_minutes = (80 + 120 + 290 + 60) * 0.05 / 60
    assert found["successes_per_minute"] == pytest.approx(3 / simulated_minutes)


def test_invalid_episodes_are_outside_of_everything():
    good, bad = record("success", 100), record("invalid", 3)
    metrics = [replace(BLANK, time_to_success_s=5.0, jerk_rms=10.0), replace(BLANK, jerk_rms=1e9)]
    timings = [Timing(episode=0, wall_s=2.5, inference_ms=(3.0,)), Timing(episode=1, wall_s=99, inference_ms=(1e6,))]
    assert summed([good, bad], metrics, timings) == summed([good], metrics[:1], timings[:1])


def test_the_clock_tells_speed():
    timings = [
        Timing(episode=i, wall_s=w, inference_ms=m) for i, (w, m) in enumerate([(1.0, (2.0, 4.0)), (2.0, (8.0,))])
    ]
    found = summed([record("success", 100), record("success", 60, stopped_steps=20)], [BLANK] * 2, timings)
    # 5 s in 1 s and 4 s in 2 s.
    assert found["real_time_factor"] == pytest.approx(2.0)
    assert [found[f"inference_ms_{end}"] for end in ("p50", "p95", "p99")] == [4.0, 8.0, 8.0]


def test_the_table_shows_what_there_is_and_leaves_out_what_no_condition_has():
    events = record("success", 100, detail=EVENT)
    metrics = replace(
        BLANK, time_to_success_s=5.0, switch_jumps=(0.25,), action_age_counts=(0, 3), reaction_steps=2,
        behavioural_reaction_steps=3,
    )  # fmt: skip
    timings = [Timing(episode=0, wall_s=1.0, inference_ms=(12.0, 30.0))]
    with_event = {"naive_d4": summed([events], [metrics], timings)}
    text = shown({"naive_d4": [events]}, with_event)
    for part in ("naive_d4", "100 %", "5.0 [5.0, never]", "0.250", "1 / 1", "2 / 2", "3 (100 %)", "12 / 30"):
        assert part in text
    plain = {"expert": summed([record("success", 100)], [replace(BLANK, time_to_success_s=5.0)])}
    text = shown({"expert": [record("success", 100)]}, plain)
    assert "reaction" not in text
    assert "inference" not in text
    assert "5.0 [5.0, never]" in text


def shown(results: dict, summaries: dict) -> str:
    return metric_table(results, summaries).text(160)
