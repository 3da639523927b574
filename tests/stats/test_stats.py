from itertools import product
from math import comb

import numpy as np
import pytest
from scipy.stats import binomtest

from act_eval.errors import UsageError
from act_eval.stats import (
    PairedTable,
    SuccessRate,
    clopper_pearson_lower,
    holm,
    mcnemar_power,
    mean_change_interval,
    minimum_detectable_drop,
    sign_flip_p,
    wilson_interval,
)

TABLES = [PairedTable(*counts) for counts in product(range(4), repeat=4) if sum(counts)]


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
@pytest.mark.parametrize(("successes", "trials"), [(0, 20), (1, 20), (41, 50), (20, 20), (433, 500)])
def test_wilson_agrees_with_scipy(successes: int, trials: int, confidence: float):
    expected = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, trials, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_reproduces_published_intervals():
    """Newcombe (1998), Statistics in Medicine 17:857, table I, method 3."""
    for (successes, trials), expected in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        assert wilson_interval(successes, trials) == pytest.approx(expected, abs=5e-5)


def test_wilson_solves_the_score_equation():
    """Both ends are the rates from which the observation lies exactly z standard errors away."""
    for successes, trials in [(3, 17), (41, 50), (99, 100)]:
        for end in wilson_interval(successes, trials):
            z = abs(successes / trials - end) / np.sqrt(end * (1 - end) / trials)
            assert z == pytest.approx(1.959963984540054, abs=1e-9)


def test_clopper_pearson_bounds_put_exactly_the_error_into_the_tail():
    for successes, trials in [(1, 10), (47, 50), (50, 50)]:
        bound = clopper_pearson_lower(successes, trials, 0.9)
        tail = sum(comb(trials, k) * bound**k * (1 - bound) ** (trials - k) for k in range(successes, trials + 1))
        assert tail == pytest.approx(0.1, abs=1e-9)
    assert clopper_pearson_lower(0, 10) == 0.0


def test_signs_that_may_be_flipped_are_counted():
    for values in ([2, 1, 1, 0, -1], [2, 2, -1], [1, 1, 1, 1, -2], [-2, -2, -1, 1], [0, 0], []):
        totals = [
            sum(s * v for s, v in zip(signs, values, strict=True)) for signs in product((-1, 1), repeat=len(values))
        ]
        expected = np.mean([abs(total) >= abs(sum(values)) for total in totals])
        assert sign_flip_p(values) == pytest.approx(expected)
    assert sign_flip_p([1] * 9 + [-1] * 2 + [0] * 30) == pytest.approx(binomtest(2, 11).pvalue)


def test_mean_change_interval_of_signs_is_that_of_bonett_and_price():
    """Of the published formula, with 10 pairs of one kind and 3 of the other among 40."""
    n, gained, lost = 42, 11 / 42, 4 / 42
    half = 1.959963984540054 * np.sqrt((gained + lost - (gained - lost) ** 2) / n)
    expected = (gained - lost - half, gained - lost + half)
    assert mean_change_interval([1] * 10 + [-1] * 3 + [0] * 27) == pytest.approx(expected)


def test_rate_is_described_with_its_interval():
    assert SuccessRate(41, 50).describe() == "41/50 = 0.82, 95% Wilson [0.69, 0.90]"
    assert SuccessRate(0, 0).describe() == "0/0, no valid episode"
    with pytest.raises(UsageError, match="0 <= successes <= trials, got 3 of 2"):
        SuccessRate(3, 2)
    with pytest.raises(UsageError, match=r"confidence is 95; it must be between 0 and 1"):
        wilson_interval(1, 2, 95)


def test_mcnemar_equals_the_enumeration_of_all_ways_in_which_discordant_pairs_can_fall():
    for table in TABLES:
        discordant = table.only_first + table.only_second
        probability = [comb(discordant, k) / 2**discordant for k in range(discordant + 1)]
        observed = probability[table.only_first]
        expected = sum(p for p in probability if p <= observed * (1 + 1e-9))
        assert table.mcnemar() == pytest.approx(expected, abs=1e-12)


def test_newcombe_reproduces_published_intervals():
    """Newcombe (1998), Statistics in Medicine 17:2635, method 10; Fagerland, Lydersen and Laake (2014)."""
    low, high = PairedTable(36, 12, 2, 0).newcombe()
    assert (-high, -low) == pytest.approx((0.0569, 0.3404), abs=5e-5)
    assert PairedTable(1, 1, 7, 12).newcombe() == pytest.approx((0.026, 0.507), abs=5e-4)


def test_newcombe_holds_the_difference_and_turns_with_the_conditions():
    for table in TABLES:
        low, high = table.newcombe()
        assert -1 <= low <= table.difference <= high <= 1
        turned = PairedTable(table.both, table.only_second, table.only_first, table.neither)
        assert turned.newcombe() == pytest.approx((-high, -low), abs=1e-12)
    assert PairedTable(0, 0, 0, 0).newcombe() == (-1.0, 1.0)


def test_newcombe_covers_the_true_difference():
    rng = np.random.default_rng(1)
    chances = np.array([0.68, 0.12, 0.07, 0.13])
    covered = 0
    for _ in range(2000):
        counts = [int(c) for c in rng.multinomial(50, chances)]
        low, high = PairedTable(*counts).newcombe()
        covered += low <= chances[2] - chances[1] <= high
    assert 0.935 <= covered / 2000 <= 0.985


def test_pairs_are_counted_by_who_succeeded():
    table = PairedTable.count([True, True, False, False, True], [True, False, True, False, False])
    assert table == PairedTable(1, 2, 1, 1)
    assert table.difference == pytest.approx(-0.2)
    with pytest.raises(UsageError, match="equally many outcomes, got 1 and 2"):
        PairedTable.count([True], [True, False])


def test_holm_steps_down():
    """Holm's own procedure, carried out by hand: 4·0.01, 3·0.02, then never below the one before, at most 1."""
    assert holm([0.04, 0.01, 0.9, 0.02]) == pytest.approx([0.08, 0.04, 0.9, 0.06])
    assert holm([0.03, 0.02]) == pytest.approx([0.04, 0.04])
    assert holm([0.8, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_power_equals_the_enumeration_of_all_tables():
    pairs, first, second, correlation = 12, 0.8, 0.4, 0.3
    both = first * second + correlation * np.sqrt(first * (1 - first) * second * (1 - second))
    chances = (both, first - both, second - both, 1 - first - second + both)
    power = 0.0
    for a, b, c in product(range(pairs + 1), repeat=3):
        d = pairs - a - b - c
        if d < 0 or PairedTable(a, b, c, d).mcnemar() > 0.05:
            continue
        ways = comb(pairs, a) * comb(pairs - a, b) * comb(pairs - a - b, c)
        power += ways * np.prod(np.power(chances, (a, b, c, d)))
    assert mcnemar_power(pairs, first, second, correlation) == pytest.approx(power, abs=1e-12)
    assert power > 0.1


def test_no_difference_is_rejected_at_most_at_the_level():
    assert 0 < mcnemar_power(100, 0.8, 0.8) <= 0.05
    assert mcnemar_power(100, 1.0, 1.0) == 0.0


def test_minimum_detectable_drop_has_the_power_it_promises():
    drop = minimum_detectable_drop(200, 0.9)
    assert drop is not None
    assert mcnemar_power(200, 0.9, 0.9 - drop) >= 0.8
    assert mcnemar_power(200, 0.9, 0.9 - drop + 0.002) < 0.8
    assert minimum_detectable_drop(3, 0.9) is None
