import pytest
from sweep_parts import ACT, ACT_RTC, grid

from act_eval.errors import UsageError
from act_eval.sweeps.grid import (
    PLAIN,
    AsDelay,
    Covered,
    Fixed,
    HalfChunk,
    Variant,
    expand,
    horizon_of,
    parse_rule,
    shared_refusals,
)
from act_eval.timing import ConstantEstimate, Oracle


@pytest.mark.parametrize(
    ("text", "rule", "by_delay"),
    [
        ("5", Fixed(5), {0: 5, 4: 5, 8: 5}),
        ("half", HalfChunk(), {0: 10, 4: 10, 8: 10}),
        ("delay", AsDelay(), {0: 1, 1: 1, 4: 4, 8: 8}),
        ("horizon:16", Covered(16), {0: 16, 4: 12, 8: 8}),
    ],
)
def test_rules_give_the_execution_horizon(text: str, rule: object, by_delay: dict[int, int]):
    assert parse_rule(text) == rule
    assert str(rule) == text
    assert {delay: horizon_of(parse_rule(text), delay, chunk=20) for delay in by_delay} == by_delay


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "hlaf", "horizon", "horizon:", "horizon:0", "half:3", "", "५"])
def test_a_malformed_rule_is_refused_with_what_is_allowed(text: str):
    with pytest.raises(UsageError) as refusal:
        parse_rule(text)
    assert str(refusal.value).startswith(f"--execution-horizon is {text!r}; it must be a whole number of control steps")
    assert "half (C / 2), delay (s = max(d, 1)) or horizon:N" in str(refusal.value)


def test_a_grid_is_split_into_what_runs_and_what_cannot():
    found = expand(grid([8, 0, 4], ["naive", "rtc"], ["5", "half"]), ACT_RTC)
    assert [setting.condition for setting in found.settings] == [
        *("naive_d0_s5", "naive_d4_s5", "naive_d0_s10", "naive_d4_s10", "naive_d8_s10"),
        *("rtc_d0_s5", "rtc_d4_s5", "rtc_d0_s10", "rtc_d4_s10", "rtc_d8_s10"),
    ]
    assert [(series.executor, series.rule, series.conditions) for series in found.series] == [
        ("naive", "5", ("naive_d0_s5", "naive_d4_s5")),
        ("naive", "half", ("naive_d0_s10", "naive_d4_s10", "naive_d8_s10")),
        ("rtc", "5", ("rtc_d0_s5", "rtc_d4_s5")),
        ("rtc", "half", ("rtc_d0_s10", "rtc_d4_s10", "rtc_d8_s10")),
    ]
    assert [(cell.executor, cell.delay, cell.reason) for cell in found.refused] == [
        ("naive", 8, "naive needs d <= s <= C - d, with C = 20, d = 8: 8 <= s <= 12; got s = 5"),
        ("rtc", 8, "rtc needs d <= s <= C, with C = 20, d = 8: 8 <= s <= 20; got s = 5"),
    ]


def test_a_policy_without_prefix_has_no_rtc_cell():
    found = expand(grid([0, 4], ["naive", "rtc"]), ACT)
    assert [setting.condition for setting in found.settings] == ["naive_d0_s10", "naive_d4_s10"]
    ((cells, reason),) = shared_refusals(found.refused)
    assert cells == "rtc at d = 0, s = half; d = 4, s = half"
    assert reason.startswith("rtc needs a policy that takes a prefix of committed commands; this one takes none")


def test_the_covered_horizon_may_leave_no_step():
    found = expand(grid([0, 4], ["naive"], ["horizon:4"]), ACT)
    assert [setting.condition for setting in found.settings] == ["naive_d0_s4"]
    assert [cell.reason for cell in found.refused] == ["horizon:4 leaves s = 0 at d = 4; s must be at least 1"]


def test_rules_that_mean_the_same_are_one_series_and_shared_cells_are_one_cell():
    found = expand(grid([0, 4], ["naive"], ["half", "10", "delay", "4"]), ACT)
    assert [(series.rule, series.conditions) for series in found.series] == [
        ("half", ("naive_d0_s10", "naive_d4_s10")),
        ("delay", ("naive_d0_s1", "naive_d4_s4")),
        ("4", ("naive_d0_s4", "naive_d4_s4")),
    ]
    assert len(found.settings) == 5


def test_only_rtc_is_estimated_a_delay():
    delay_estimator = {"oracle": Oracle(), "4": ConstantEstimate(4)}
    found = expand(grid([0, 2], ["naive", "rtc"], delay_estimator=delay_estimator), ACT_RTC)
    assert [(series.executor, series.variant) for series in found.series] == [
        ("naive", PLAIN),
        ("rtc", PLAIN),
        ("rtc", Variant(delay_estimator="4")),
    ]
    assert {setting.condition for setting in found.settings if setting.variant.delay_estimator == "4"} == {
        "rtc_d0_s10_est4",
        "rtc_d2_s10_est4",
    }


def test_a_estimated_delay_beyond_the_trained_ones_is_a_refused_cell():
    found = expand(grid([0], ["rtc"], delay_estimator={"9": ConstantEstimate(9)}), ACT_RTC)
    assert found.settings == ()
    assert (
        "the estimated delay can reach 9; the policy was trained for delays up to max_delay = 8"
        in found.refused[0].reason
    )


def test_ablations_of_the_prefix_are_cells_of_rtc_and_predicted_joints_of_naive_too():
    found = expand(
        grid([0, 4], ["naive", "rtc"], prefix=["committed", "pad"], proprio=("observed", "predicted")), ACT_RTC
    )
    by_variant = {(series.executor, str(series.variant)): series.conditions for series in found.series}
    assert by_variant[("naive", "")] == ("naive_d0_s10", "naive_d4_s10")
    assert by_variant[("naive", ", proprio predicted")] == ("naive_d0_s10", "naive_d4_s10_predicted")
    # Without delay nothing is committed: a variant begins with the plain cell.
    assert by_variant[("rtc", ", prefix pad")] == ("rtc_d0_s10", "rtc_d4_s10_pad")
    assert by_variant[("rtc", ", prefix pad, proprio predicted")] == ("rtc_d0_s10", "rtc_d4_s10_pad_predicted")
    assert ("naive", ", prefix pad") not in by_variant
    assert found.refused == ()


def test_an_ablation_that_needs_more_commands_is_refused_where_there_are_fewer():
    found = expand(grid([1, 4], ["rtc"], prefix=["shuffled"]), ACT_RTC)
    assert [setting.condition for setting in found.settings] == ["rtc_d4_s10_shuffled"]
    (refused,) = found.refused
    assert refused.reason == "prefix 'shuffled' needs 2 committed commands or more; the estimated delay is 1"
