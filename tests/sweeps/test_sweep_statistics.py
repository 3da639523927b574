from dataclasses import replace
from itertools import product
from math import comb
from pathlib import Path

import numpy as np
import pytest
from sweep_parts import ACT, ACT_RTC, grid, part

from act_eval.cli.parsing import options
from act_eval.config import EnvDeclaration, EnvOptions, SweepConfig
from act_eval.errors import SuiteMismatch
from act_eval.stats import PairedTable, holm
from act_eval.sweeps.analysis import analyse
from act_eval.sweeps.figures import figures, write_figures
from act_eval.sweeps.grid import expand
from act_eval.sweeps.tables import cell_rows, refused_rows, write_csv
from act_eval.sweeps.trend import (
    bootstrap_mean,
    recovery,
    resampled_counts,
    trend,
    trend_p_value,
    verdict,
    verdict_despite_invalid,
)
from act_eval.timing import ConstantEstimate, Oracle

NAN = float("nan")


def columns(*rows: str) -> list[np.ndarray]:
    """Outcomes per delay, a letter an episode."""
    return [np.array([{"1": 1.0, "0": 0.0, "x": NAN}[letter] for letter in row]) for row in rows]


def test_the_slope_is_that_of_a_line_through_the_rates():
    rows, delays = columns("1111111100", "1111111000", "1110000000"), (0, 1, 4)
    measured = trend(rows, delays)
    assert measured.slope == pytest.approx(np.polyfit(delays, [0.8, 0.7, 0.3], 1)[0])
    assert (measured.ends.both, measured.ends.only_first, measured.ends.neither) == (3, 5, 2)


def test_with_two_delays_the_trend_test_is_mcnemars():
    for first, second in product(["1111111100", "1010101010"], ["0000111100", "0101010101", "1111111100"]):
        rows = columns(first, second)
        table = PairedTable.count((rows[0] == 1).tolist(), (rows[1] == 1).tolist())
        assert trend_p_value(np.stack(rows, axis=1), (0, 4)) == pytest.approx(table.mcnemar())
        assert trend_p_value(np.stack(rows, axis=1), (3, 5)) == pytest.approx(table.mcnemar())


def test_the_trend_test_agrees_with_counting_all_permutations():
    delays = (0, 1, 4)
    outcomes_ND = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 0, 0]], float)
    sums = [sum(np.array(rows) @ delays) for rows in product(*(_arrangements(row) for row in outcomes_ND))]
    observed = float((outcomes_ND @ delays).sum())
    below, above = np.mean(np.array(sums) <= observed), np.mean(np.array(sums) >= observed)
    assert trend_p_value(outcomes_ND, delays) == pytest.approx(min(1.0, 2 * min(below, above)))
    assert trend_p_value(outcomes_ND, delays) == pytest.approx(2 * (1 / 3) ** 3)  # the least of 27 equal sums


def _arrangements(row: np.ndarray) -> list[tuple[float, ...]]:
    found = {arranged for arranged in product((0.0, 1.0), repeat=3) if sum(arranged) == row.sum()}
    assert len(found) == comb(3, int(row.sum()))
    return sorted(found)


def test_the_interval_of_the_slope_is_about_that_of_a_mean():
    rng = np.random.default_rng(1)
    values = rng.normal(-0.03, 0.1, size=200)
    interval = bootstrap_mean(values)
    half = 1.96 * values.std() / np.sqrt(200)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert bootstrap_mean(values) == interval


def test_resamples_keep_the_number_of_episodes():
    counts = resampled_counts(7)
    assert counts.shape == (10_000, 7)
    assert set(counts.sum(axis=1)) == {7}


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        (("1" * 40, "1" * 36 + "0" * 4, "1" * 25 + "0" * 15), "falls with delay"),
        (("1" * 25 + "0" * 15, "1" * 36 + "0" * 4, "1" * 40), "rises with delay"),
        (("1" * 200, "1" * 199 + "0", "1" * 198 + "00"), "insensitive to delay"),
        (("1111", "1110", "1110"), "inconclusive"),
        (("11", "11", "00"), "inconclusive"),  # every resample has the same slope, and two episodes show nothing
        (("1" * 40, "1" * 40, "1" * 37 + "0" * 3), "inconclusive"),
    ],
)
def test_the_verdict_needs_evidence(rows: tuple[str, ...], word: str):
    measured = trend(columns(*rows), (0, 1, 4))
    assert verdict(measured, measured.p) == word


def test_the_verdict_uses_the_adjusted_p_value():
    measured = trend(columns("1" * 40, "1" * 36 + "0" * 4, "1" * 32 + "0" * 8), (0, 1, 4))
    assert measured.p < 0.01
    assert verdict(measured, measured.p) == "falls with delay"
    assert verdict(measured, 0.06) == "inconclusive"


def test_invalid_episodes_are_left_out_and_may_forbid_a_verdict():
    rows, delays = columns("1" * 38 + "xx", "1" * 40, "1" * 24 + "0" * 16), (0, 1, 4)
    measured = trend(rows, delays)
    assert (measured.episodes, measured.excluded) == (38, 2)
    assert verdict_despite_invalid(rows, delays, family=1) == "falls with delay"
    many = columns("1" * 20 + "x" * 20, "1" * 40, "1" * 12 + "0" * 8 + "x" * 20)
    assert verdict_despite_invalid(many, delays, family=1) == "inconclusive"


def test_the_recovered_share_by_hand():
    naive_0, naive_d, rtc_d = columns("1" * 90 + "0" * 10, "1" * 50 + "0" * 50, "1" * 80 + "0" * 20)
    found = recovery(naive_0, naive_d, rtc_d)
    assert (found.loss, found.gain) == (pytest.approx(0.4), pytest.approx(0.3))
    assert found.share == pytest.approx(0.75)
    assert found.interval is not None
    assert found.interval.low < 0.75 < found.interval.high
    assert found.describe().startswith("75 % of 40.0 points [")


def test_no_share_is_given_where_naive_loses_nothing():
    same, better = columns("1" * 9 + "0", "1" * 10)
    for late in (same, better):
        found = recovery(same, late, better)
        assert (found.share, found.interval) == (None, None)
        assert found.describe().startswith("undefined: naive loses nothing (")


def test_no_interval_is_given_where_the_loss_may_be_zero():
    naive_0, naive_d, rtc_d = columns("1" * 10, "1" * 9 + "0", "1" * 10)
    found = recovery(naive_0, naive_d, rtc_d)
    assert (found.share, found.interval) == (1.0, None)
    assert found.describe() == "100 % of 10.0 points, without an interval: naive's loss may be zero"


def test_an_invalid_episode_of_any_of_the_three_is_left_out_of_the_share():
    naive_0, naive_d, rtc_d = columns("1" * 20 + "x1", "0" * 20 + "1x", "1" * 10 + "0" * 12)
    assert recovery(naive_0, naive_d, rtc_d).episodes == 20
    assert recovery(naive_0, naive_d, rtc_d).share == 0.5


OUTCOMES = {
    "naive_d0_s10": "1111111111",
    "naive_d4_s10": "1110000000",
    "rtc_d0_s10": "1111111110",
    "rtc_d4_s10": "111111110x",
}


def test_the_planned_comparisons_of_a_sweep():
    asked = grid([0, 4], ["naive", "rtc"])
    rtc = part(OUTCOMES, asked)
    act = part({"naive_d0_s10": "1111111100", "naive_d4_s10": "1100000000"}, asked, ACT, policy="act")
    found = analyse([act, rtc]).comparisons
    shown = [(one.family, one.first.name, one.second.name) for one in found]
    m = "moving_pick"
    assert shown == [
        ("delay", f"act_{m}/naive_d0_s10", f"act_{m}/naive_d4_s10"),
        ("delay", f"act_rtc_{m}/naive_d0_s10", f"act_rtc_{m}/naive_d4_s10"),
        ("delay", f"act_rtc_{m}/rtc_d0_s10", f"act_rtc_{m}/rtc_d4_s10"),
        ("executor", f"act_rtc_{m}/naive_d0_s10", f"act_rtc_{m}/rtc_d0_s10"),
        ("executor", f"act_rtc_{m}/naive_d4_s10", f"act_rtc_{m}/rtc_d4_s10"),
        ("policy", f"act_{m}/naive_d0_s10", f"act_rtc_{m}/naive_d0_s10"),
        ("policy", f"act_{m}/naive_d0_s10", f"act_rtc_{m}/rtc_d0_s10"),
        ("policy", f"act_{m}/naive_d4_s10", f"act_rtc_{m}/naive_d4_s10"),
        ("policy", f"act_{m}/naive_d4_s10", f"act_rtc_{m}/rtc_d4_s10"),
    ]
    delay = [one for one in found if one.family == "delay"]
    assert [one.p for one in delay] == [pytest.approx(2 * 0.5**6), pytest.approx(2 * 0.5**7), 1.0]
    assert [one.p_holm for one in delay] == holm([one.p for one in delay])
    assert {one.family_size for one in delay} == {3}
    last = found[4]
    assert (last.table.pairs, last.table.only_second, last.table.only_first) == (9, 5, 0)
    assert last.difference == pytest.approx(5 / 9)


def test_what_a_sweep_says_of_an_environment():
    fell = part({"naive_d0_s10": "1" * 40, "naive_d4_s10": "1" * 20 + "0" * 20}, grid([0, 4], ["naive"]), ACT, "act")
    stood = part({"naive_d0_s10": "1" * 40, "naive_d4_s10": "1" * 40}, grid([0, 4], ["naive"]), ACT, "act", "pick")
    said = analyse([fell, stood])
    assert said.sensitive_environments() == {"moving_pick": True, "pick": False}
    first, second = (found.sentence() for found in said.trends)
    assert first.startswith("moving_pick, act naive, s = half: falls with delay: -12.5 points per step of delay [-16.")
    assert first.endswith("trend p <0.0001, adjusted <0.0001")
    assert second.startswith("pick, act naive, s = half: insensitive to delay: +0.0 points per step")
    assert second.endswith("; from d = 0 to d = 4 +0.0 points [-9.2, +9.2], which excludes a loss of 10")


def test_too_few_episodes_cannot_tell_and_say_what_they_could():
    few = part({"naive_d0_s10": "1111", "naive_d4_s10": "1110"}, grid([0, 4], ["naive"]), ACT)
    (found,) = analyse([few]).trends
    assert found.word == "inconclusive"
    assert "; with 4 episodes, no drop of any size would be detected with 80 % power" in found.sentence()


def test_the_share_of_naives_loss_pairs_equal_delay_and_rule():
    asked = grid([0, 4], ["naive", "rtc"], ["half", "5"])
    outcomes = {name.replace("s10", s): row for name, row in OUTCOMES.items() for s in ("s10", "s5")}
    found = analyse([part(outcomes, asked)]).recovered
    assert [
        (one.naive_0.setting.condition, one.naive_d.setting.condition, one.other.setting.condition) for one in found
    ] == [
        ("naive_d0_s10", "naive_d4_s10", "rtc_d4_s10"),
        ("naive_d0_s5", "naive_d4_s5", "rtc_d4_s5"),
    ]
    assert found[0].result.episodes == 9
    assert found[0].result.share == pytest.approx((5 / 9) / (6 / 9))


def test_parts_of_one_environment_on_other_seeds_are_not_paired():
    asked = grid([0], ["naive"])
    first = part({"naive_d0_s10": "11"}, asked, ACT, "act")
    second = part({"naive_d0_s10": "111"}, asked, ACT_RTC, "act_rtc")
    with pytest.raises(
        SuiteMismatch, match=r"act_rtc_moving_pick and act_moving_pick: .*\n.*seeds: 2 entries against 3"
    ):
        analyse([first, second])


def test_a_variant_is_compared_with_the_plain_cell_and_not_with_other_executors():
    asked = grid([4], ["naive", "rtc"], prefix=["committed", "pad"])
    outcomes = {"naive_d4_s10": "1110000000", "rtc_d4_s10": "1111111100", "rtc_d4_s10_pad": "1111000000"}
    found = analyse([part(outcomes, asked)]).comparisons
    assert [(one.family, one.first.setting.condition, one.second.setting.condition) for one in found] == [
        ("executor", "naive_d4_s10", "rtc_d4_s10"),
        ("variant", "rtc_d4_s10", "rtc_d4_s10_pad"),
    ]
    assert found[1].difference == pytest.approx(-0.4)


def test_a_policy_without_any_cell_is_still_listed_as_not_run():
    asked = grid([0, 4], ["rtc"])
    rtc = part({"rtc_d0_s10": "1111", "rtc_d4_s10": "1110"}, asked)
    act = replace(part({"naive_d0_s10": "1111"}, grid([0], ["naive"]), ACT, "act"), cells={}, series=())
    act = replace(act, refused=expand(asked, ACT).refused)
    said = analyse([act, rtc])
    assert {(row["policy"], row["delay"]) for row in refused_rows(said)} == {("act", 0), ("act", 4)}
    assert [row["policy"] for row in cell_rows(said)] == ["act_rtc", "act_rtc"]
    assert "success_moving_pick" in dict(figures(said))


def test_numbers_that_do_not_exist_are_empty_and_the_rest_has_six_digits(tmp_path: Path):
    write_csv(tmp_path / "t.csv", [{"a": 1 / 3, "b": None, "c": float("nan"), "d": 12, "e": "x,y"}])
    assert (tmp_path / "t.csv").read_text() == 'a,b,c,d,e\n0.333333,,,12,"x,y"\n'


def test_each_plot_is_drawn_where_its_axes_have_something_to_show(tmp_path: Path):
    plain = part({"naive_d0_s10": "1110", "naive_d4_s10": "1x00"}, grid([0, 4], ["naive"]), ACT, "act")
    names = ["success", "time_to_success", "reaction", "turn"]
    assert [name for name, _ in figures(analyse([plain]))] == [f"{name}_moving_pick" for name in names]

    asked = grid(
        [0, 8],
        ["rtc"],
        ["half", "5"],
        delay_estimator={"0": ConstantEstimate(0), "8": ConstantEstimate(8), "oracle": Oracle()},
    )
    expansion = expand(asked, ACT_RTC)
    full = part({setting.condition: "1100" for setting in expansion.settings}, asked)
    drawn = dict(figures(analyse([full])))
    assert {f"{name}_moving_pick" for name in [*names, "delay_horizon", "estimated_actual"]} == set(drawn)
    delay_estimator = drawn["estimated_actual_moving_pick"].axes[0]
    assert [tick.get_text() for tick in delay_estimator.get_xticklabels()] == ["0", "8"]
    assert [tick.get_text() for tick in delay_estimator.get_yticklabels()] == ["0", "8"]
    assert [text.get_text().split("\n")[0] for text in delay_estimator.texts] == ["50"] * 4

    earlier = tmp_path / "delay_horizon_moving_pick.png"
    earlier.touch()
    assert [path.name for path in write_figures(tmp_path, analyse([plain]))] == [f"{n}_moving_pick.png" for n in names]
    assert not earlier.exists()


def test_the_survival_plot_counts_failures_to_the_end_and_leaves_out_invalid_episodes():
    plain = part({"naive_d0_s10": "1110", "naive_d4_s10": "1x00"}, grid([0, 4], ["naive"]), ACT, "act")
    figure = dict(figures(analyse([plain])))["time_to_success_moving_pick"]
    ends = {axis.get_title(): axis.lines[0].get_ydata()[-1] for axis in figure.axes}
    assert ends == {"d = 0": pytest.approx(1 / 4), "d = 4": pytest.approx(2 / 3)}


def test_every_option_column_and_plot_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
    elsewhere = {*options(EnvOptions), *options(EnvDeclaration)}
    assert not [option for option in options(SweepConfig) if option not in elsewhere and f"`{option}`" not in page]
    (row, *_) = cell_rows(analyse([part({"naive_d0_s10": "11"}, grid([0], ["naive"]), ACT)]))
    groups = ("n_", "vs_d0_", "vs_executor_", "vs_plain_", "vs_unperturbed_", "metric_")
    assert {group for group in groups if any(column.startswith(group) for column in row)} == set(groups[:-1])
    for group in ("`n_OUTCOME`", "`vs_d0_*`", "`vs_executor_*`", "`vs_plain_*`", "`vs_unperturbed_*`", "`metric_*`"):
        assert group in page
    assert not [column for column in row if not column.startswith(groups) and f"`{column}`" not in page]
    assert not [column for column in row if column.startswith("vs_d0_") and f"`{column[6:]}`" not in page]
