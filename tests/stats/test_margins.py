"""Every answer against a margin is wrong in at most 2.5 % of cases, summed over all tables of counts."""

import time

import numpy as np
import pytest
from scipy.stats import binom

from act_eval.comparison.verdicts import Rules, assess, meets
from act_eval.errors import UsageError
from act_eval.margins import Design, Independent, Pairs, excluding, largest_drop
from act_eval.stats import PairedTable, SuccessRate, UnpairedTable

LEVEL = 0.025
SIZES = (10, 20, 38, 50, 100, 200, 350, 500)
MARGINS = (0.02, 0.05, 0.1, 0.2)


def losses_and_gains(rate: float, drop: float, correlation: float) -> tuple[float, float]:
    """Return the probabilities of a pair that only the old and only the new condition solves."""
    new = rate - drop
    both = rate * new + correlation * np.sqrt(rate * (1 - rate) * new * (1 - new))
    both = min(max(both, rate + new - 1, 0.0), rate, new)
    return rate - both, new - both


@pytest.mark.parametrize("pairs", SIZES)
@pytest.mark.parametrize("margin", MARGINS)
def test_a_paired_drop_of_the_margin_is_excluded_in_at_most_one_of_forty(pairs: int, margin: float):
    """Rates on and beside 0.5, correlations up to 1, and all discordant probabilities in steps of a thousandth."""
    tables = excluding(Pairs(pairs), margin, LEVEL)
    gain = np.linspace(0, (1 - margin) / 2, 501)
    cases = [
        losses_and_gains(rate, margin, correlation)
        for rate in (0.3, 0.45, 0.5, 0.5 + margin / 2, 0.55, 0.7, 0.9, 0.99)
        for correlation in (-0.5, 0.0, 0.3, 0.5, 0.8, 0.95, 1.0)
        if rate > margin
    ]
    loss, won = np.concatenate([[gain + margin, gain], np.array(cases).T], axis=1)
    for beyond in (0.0, 0.01, 0.1):  # a larger drop is excluded more seldom still
        assert tables.probability(np.minimum(loss + beyond, 1 - won), won).max(initial=0) <= LEVEL


@pytest.mark.parametrize(("old", "new"), [(10, 10), (38, 38), (50, 20), (40, 150), (200, 200), (500, 500)])
@pytest.mark.parametrize("margin", MARGINS)
def test_an_unpaired_drop_of_the_margin_is_excluded_in_at_most_one_of_forty(old: int, new: int, margin: float):
    tables = excluding(Independent(old, new), margin, LEVEL)
    rate = np.linspace(0, 1 - margin, 501)
    assert tables.probability(rate + margin, rate).max(initial=0) <= LEVEL


@pytest.mark.parametrize("level", [0.1, 0.025, 0.005])
@pytest.mark.parametrize("design", [Pairs(25), Independent(14, 14), Independent(9, 21)])
def test_the_limit_of_every_single_table_keeps_its_level(design: Design, level: float):
    """Over all tables: the true drop lies at or beyond the limit with at most the level."""
    if isinstance(design, Pairs):
        losses, gains = np.array([(a, b) for a in range(26) for b in range(26 - a)]).T
    else:
        losses, gains = np.array([(a, b) for a in range(design.old + 1) for b in range(design.new + 1)]).T
    limits = np.array([largest_drop(design, a, b, level) for a, b in zip(losses.tolist(), gains.tolist(), strict=True)])
    for drop in (-0.3, -0.05, 0.0, 0.02, 0.1, 0.35, 0.8):
        for gain in np.linspace(*design.gain_range(drop), 100):
            loss = gain + drop
            if isinstance(design, Independent):
                chances = binom.pmf(losses, design.old, loss) * binom.pmf(gains, design.new, gain)
            else:
                beside = min(gain / (1 - loss), 1.0) if loss < 1 else 0.0
                chances = binom.pmf(losses, 25, loss) * binom.pmf(gains, 25 - losses, beside)
            assert chances.sum() == pytest.approx(1)
            assert chances[limits < drop].sum() <= level


@pytest.mark.parametrize("design", [Pairs(60), Independent(25, 40)])
def test_the_tables_that_exclude_a_margin_are_those_whose_limit_is_below_it(design: Design):
    tables = excluding(design, 0.15, LEVEL)
    least = dict(zip(tables.losses.astype(int).tolist(), tables.gains.astype(int).tolist(), strict=True))
    assert least
    for losses in range(0, design.most_losses + 1, 3):
        for gains in range(int(design.most_gains(np.array([float(losses)]))[0]) + 1):
            assert (largest_drop(design, losses, gains, LEVEL) <= 0.15) == (gains >= least.get(losses, np.inf))


def test_the_limits_of_tables_without_discordant_pairs_have_a_closed_form():
    """Nothing lost of n excludes a drop of x where (1 - x)^n is below the level."""
    for pairs in (40, 74, 146, 400):
        limit = 1 - LEVEL ** (1 / pairs)
        assert largest_drop(Pairs(pairs), 0, 0, LEVEL) >= limit
    assert PairedTable(146, 0, 0, 0).exact().low > -0.05


def test_what_was_excluded_wrongly_before_is_not_excluded():
    """Two equal runs of 50 episodes, and a table of 38 pairs at 19/38, which Newcombe's interval calls non-inferior."""
    for table in (PairedTable(25, 0, 0, 25), PairedTable(18, 0, 1, 19)):
        assert table.newcombe().low > -0.05 > table.exact().low
        assert meets(assess({"d0": table}, Rules()), "non-inferior", 0.05) is None
        assert assess({"d0": table}, Rules())["d0"].verdict == "inconclusive"


def test_intervals_turn_with_the_conditions_and_shrink_with_the_confidence():
    for table in (PairedTable(40, 5, 2, 3), UnpairedTable(SuccessRate(41, 50), SuccessRate(30, 45))):
        low, high = table.exact()
        assert low < table.difference < high
        inner = table.exact(0.8)
        assert low < inner.low < inner.high < high
    low, high = PairedTable(40, 5, 2, 3).exact()
    assert PairedTable(40, 2, 5, 3).exact() == pytest.approx((-high, -low), abs=1e-9)
    assert PairedTable(0, 0, 0, 0).exact() == (-1.0, 1.0)
    assert UnpairedTable(SuccessRate(0, 0), SuccessRate(3, 5)).exact() == (-1.0, 1.0)
    assert PairedTable(0, 9, 0, 0).exact().low == -1.0
    with pytest.raises(UsageError, match="confidence is 2; it must be between 0 and 1"):
        PairedTable(1, 0, 0, 0).exact(2)


def test_an_answer_comes_at_once():
    largest_drop.cache_clear()
    began = time.perf_counter()
    PairedTable(420, 40, 30, 10).exact()
    assert time.perf_counter() - began < 2  # 0.1 s on a free core
