"""Perturbed conditions against their twins: pairs, adjustment, the worst episodes."""

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from act_eval.comparison.robustness import by_axis, robustness
from act_eval.types import EpisodeRecord

PLAIN = {"executor": "naive", "delay": 0, "execution_horizon": 10}
LATE = {**PLAIN, "delay": 4}


def perturbed(settings: dict, **severities: int) -> dict:
    return {**settings, "perturbation": severities, "perturbation_writes": ["pixels"]}


def records(outcomes: str) -> dict[int, EpisodeRecord]:
    words = {"s": "success", "m": "missed", "i": "invalid"}
    return {
        n: EpisodeRecord(episode=n, seed=100 + n, outcome=words[letter], steps=9) for n, letter in enumerate(outcomes)
    }


CONDITIONS = {
    "naive_d0": PLAIN,
    "naive_d4": LATE,
    "naive_d0_light5": perturbed(PLAIN, light=5),
    "naive_d0_light1": perturbed(PLAIN, light=1),
    "naive_d4_light1_blur2": perturbed(LATE, light=1, blur=2),
}
RECORDS = {
    "naive_d0": records("s" * 20),
    "naive_d4": records("s" * 10 + "m" * 10),
    "naive_d0_light5": records("m" * 12 + "s" * 7 + "i"),
    "naive_d0_light1": records("m" + "s" * 19),
    "naive_d4_light1_blur2": records("m" + "s" * 12 + "m" * 7),
}


def test_each_condition_is_paired_with_its_own_twin():
    found = {one.condition: one for one in robustness(CONDITIONS, RECORDS).results}
    assert {name: one.twin for name, one in found.items()} == {
        "naive_d0_light5": "naive_d0",
        "naive_d0_light1": "naive_d0",
        "naive_d4_light1_blur2": "naive_d4",
    }
    strong = found["naive_d0_light5"]
    assert (strong.table.pairs, strong.table.only_first, strong.table.only_second, strong.invalid) == (19, 12, 0, 1)
    assert strong.lost == tuple(range(12))
    assert (strong.verdict, found["naive_d0_light1"].verdict) == ("worse", "inconclusive")
    late = found["naive_d4_light1_blur2"]
    assert (late.name, late.table.only_first, late.table.only_second) == ("light 1 + blur 2", 1, 3)


def test_p_values_are_adjusted_over_the_run():
    found = robustness(CONDITIONS, RECORDS).results
    expected = np.asarray(multipletests([one.p for one in found], method="holm")[1])
    assert [one.p_holm for one in found] == pytest.approx(expected.tolist())


def test_the_worst_episodes_are_lost_under_most():
    found = robustness(CONDITIONS, RECORDS)
    assert found.worst_episodes(2) == [0, 1]
    shown = found.worst_conditions(most=1, episodes=1)
    assert shown == {"naive_d0": [0], "naive_d0_light1": [0]}  # the mildest that loses it
    assert "no drop of any size would" in str(found) or "would be detected with 80 % power" in str(found)


def test_axes_by_rising_severity_and_twin():
    found = by_axis(robustness(CONDITIONS, RECORDS).results)
    assert list(found) == ["light"]  # two axes at once are no point of a curve
    assert [one.severities["light"] for one in found["light"]["naive_d0"]] == [1, 5]


def test_an_unfinished_condition_counts_the_episodes_that_both_have():
    cut = {**RECORDS, "naive_d0_light5": {n: r for n, r in RECORDS["naive_d0_light5"].items() if n < 5}}
    found = {one.condition: one for one in robustness(CONDITIONS, cut).results}
    assert found["naive_d0_light5"].table.pairs == 5
    assert "naive_d0_light1" not in {
        one.condition for one in robustness(CONDITIONS, {**RECORDS, "naive_d0": {}}).results
    }


FOUR = {
    "naive_d0": PLAIN,
    "naive_d0_light1": perturbed(PLAIN, light=1),
    "naive_d0_blur1": perturbed(PLAIN, blur=1),
    "naive_d4": LATE,
    "naive_d4_light1": perturbed(LATE, light=1),
    "naive_d4_blur1": perturbed(LATE, blur=1),
    "hold_d4": {**LATE, "executor": "sync_hold"},  # another executor, of which no pair is made
    "hold_d4_light1": perturbed({**LATE, "executor": "sync_hold"}, light=1),
}


def test_whether_a_perturbation_costs_more_under_delay_is_paired_over_four_conditions():
    found = robustness(
        FOUR,
        {
            "naive_d0": records("s" * 20),
            "naive_d0_light1": records("m" * 2 + "s" * 18),
            "naive_d0_blur1": records("s" * 19 + "i"),
            "naive_d4": records("s" * 18 + "m" * 2),
            "naive_d4_light1": records("s" * 2 + "m" * 18),  # loses 16, of which none is lost at d = 0, where 2 are
            "naive_d4_blur1": records("s" * 18 + "m" * 2),
            "hold_d4": records("s" * 20),
            "hold_d4_light1": records("m" * 20),
        },
    )
    (effect,) = found.delay_effects
    assert (effect.base, effect.late) == ("naive_d0", "naive_d4")
    light, blur = effect.interactions
    assert (light.name, light.cost, light.difference) == ("light 1", (0.1, 0.8), pytest.approx(-0.7))
    assert [*light.values.values()] == [1, 1, *[-1] * 16, 0, 0]
    assert light.p == pytest.approx(binomtest(2, 18).pvalue)
    assert light.p_holm == pytest.approx(2 * light.p)
    assert (len(blur.values), blur.difference, blur.p, blur.cost) == (19, 0.0, 1.0, (0.0, 0.0))
    assert blur.interval.low < 0 < blur.interval.high
    difference, (low, high) = effect.overall
    assert difference == pytest.approx(np.mean([*[0.5] * 2, *[-0.5] * 16, 0, 0]))
    assert low < difference < high < 0
    (line,) = found.sentences()
    assert line.startswith("2 perturbations cost 5.0 points of success in naive_d0 and 40.0 in naive_d4: +35.0 [+")
    assert line.endswith("more in 1 (light 1 (+70)), less in none, no evidence in 1")
    assert line in str(found)


def test_without_a_difference_the_overall_interval_has_a_width():
    same = records("s" * 10)
    (effect,) = robustness(FOUR, dict.fromkeys(FOUR, same)).delay_effects
    difference, (low, high) = effect.overall
    assert (difference, low) == (0.0, -high)
    assert high > 0.1
