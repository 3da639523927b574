"""Intervals and tests against statsmodels, and what the intervals cover, summed over all outcomes."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from act_eval.stats import (
    PairedTable,
    SuccessRate,
    UnpairedTable,
    clopper_pearson_lower,
    holm,
    unpaired_detectable_drop,
    wilson_interval,
)

COUNTS = [(0, 12), (1, 12), (11, 12), (12, 12), (41, 50), (188, 200), (433, 500)]


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
@pytest.mark.parametrize(("successes", "trials"), COUNTS)
def test_intervals_of_a_rate_agree(successes: int, trials: int, alpha: float):
    assert wilson_interval(successes, trials, 1 - alpha) == pytest.approx(
        proportion_confint(successes, trials, alpha, method="wilson"), abs=1e-12
    )
    exact, _ = proportion_confint(successes, trials, alpha, method="beta")
    assert clopper_pearson_lower(successes, trials, 1 - alpha / 2) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(("first", "second"), list(product(COUNTS, repeat=2)))
def test_intervals_of_an_unpaired_difference_agree(first: tuple[int, int], second: tuple[int, int]):
    """statsmodels subtracts the second from the first; act_eval the first from the second."""
    expected = confint_proportions_2indep(*second, *first, method="newcomb", compare="diff")
    table = UnpairedTable(SuccessRate(*first), SuccessRate(*second))
    assert table.newcombe() == pytest.approx(expected, abs=1e-9)


def test_mcnemar_agrees():
    for lost, won in product(range(8), range(30)):
        if lost + won:
            expected = mcnemar([[40, lost], [won, 3]], exact=True).pvalue
            assert PairedTable(40, lost, won, 3).mcnemar() == pytest.approx(expected, abs=1e-12)


def test_holm_agrees():
    for p_values in ([0.04], [0.01, 0.04, 0.03], [0.5, 0.001, 0.02, 0.02, 0.9]):
        assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


@pytest.mark.parametrize("trials", [12, 50, 200])
def test_intervals_of_a_rate_cover_it(trials: int):
    """Clopper and Pearson at least at the confidence everywhere; Wilson on average, and nowhere far below."""
    rates = np.linspace(0.02, 0.98, 193)
    successes = np.arange(trials + 1)
    chances = binom.pmf(successes, trials, rates[:, None])

    def coverage(method: str) -> np.ndarray:
        low, high = proportion_confint(successes, trials, 0.05, method=method)
        return np.sum(chances * ((low <= rates[:, None]) & (rates[:, None] <= high)), axis=1)

    wilson = np.array([wilson_interval(k, trials) for k in successes])
    covered = (wilson[:, 0] <= rates[:, None]) & (rates[:, None] <= wilson[:, 1])
    ours = np.sum(chances * covered, axis=1)
    assert ours == pytest.approx(coverage("wilson"), abs=1e-12)
    assert 0.945 <= ours.mean() <= 0.965
    assert ours.min() >= 0.83
    for confidence in (0.95, 0.8):
        bounds = np.array([clopper_pearson_lower(k, trials, confidence) for k in successes])
        held = np.sum(chances * (bounds <= rates[:, None]), axis=1)
        assert held.min() >= confidence


@pytest.mark.parametrize(("first", "second"), [(0.9, 0.9), (0.9, 0.8), (0.98, 0.95), (0.6, 0.5)])
def test_the_interval_of_an_unpaired_difference_covers_it(first: float, second: float):
    n = 40
    chances = np.outer(binom.pmf(np.arange(n + 1), n, first), binom.pmf(np.arange(n + 1), n, second))
    inside = [
        [low <= second - first <= high for low, high in (_unpaired(a, b, n).newcombe() for b in range(n + 1))]
        for a in range(n + 1)
    ]
    assert 0.94 <= np.sum(chances * inside) <= 0.995


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.8, 0.95])
def test_barnard_keeps_its_level(rate: float):
    n = 9
    chances = np.outer(*[binom.pmf(np.arange(n + 1), n, rate)] * 2)
    rejects = [[_unpaired(a, b, n).barnard() < 0.05 for b in range(n + 1)] for a in range(n + 1)]
    assert 0 < np.sum(chances * rejects) <= 0.05


def test_barnard_needs_episodes_and_turns_with_the_conditions():
    assert UnpairedTable(SuccessRate(0, 0), SuccessRate(3, 5)).barnard() == 1.0
    assert UnpairedTable(SuccessRate(0, 0), SuccessRate(3, 5)).newcombe() == (-1.0, 1.0)
    assert UnpairedTable(SuccessRate(5, 5), SuccessRate(3, 3)).barnard() == 1.0
    table = UnpairedTable(SuccessRate(18, 20), SuccessRate(9, 25))
    turned = UnpairedTable(table.second, table.first)
    assert table.barnard() == pytest.approx(turned.barnard(), abs=1e-6)
    assert table.difference == pytest.approx(0.36 - 0.9)


def test_an_unpaired_drop_is_detectable_as_often_as_promised():
    """By enumeration of all pairs of counts, with Barnard's pooled score at its exact critical value."""
    n, rate = 50, 0.9
    drop = unpaired_detectable_drop(n, n, rate)
    assert drop is not None
    k = np.arange(n + 1)
    pooled = (k[:, None] + k[None, :]) / (2 * n)
    with np.errstate(invalid="ignore"):
        score = np.abs(k[:, None] - k[None, :]) / n / np.sqrt(pooled * (1 - pooled) * 2 / n)
    score = np.nan_to_num(score)

    def chance(first: float, second: float, critical: float) -> float:
        outcomes = np.outer(binom.pmf(k, n, first), binom.pmf(k, n, second))
        return float(outcomes[score >= critical - 1e-9].sum())

    nuisance = np.linspace(0.02, 0.98, 97)
    critical = next(c for c in np.arange(1.9, 2.6, 0.01) if max(chance(p, p, c) for p in nuisance) <= 0.05)
    assert 0.72 <= chance(rate, rate - drop, critical) <= 0.85
    assert unpaired_detectable_drop(n, n, 0.0) is None
    assert unpaired_detectable_drop(0, n, 0.9) is None
    assert unpaired_detectable_drop(2, 2, 0.9) is None


def _unpaired(first: int, second: int, trials: int) -> UnpairedTable:
    return UnpairedTable(SuccessRate(first, trials), SuccessRate(second, trials))
