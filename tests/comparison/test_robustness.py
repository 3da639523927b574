"""Perturbed conditions against their twins: pairs, adjustment, the worst episodes."""

import numpy as np
import pytest
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
