"""Kaplan-Meier against closed forms and scipy's own estimate."""

import numpy as np
import pytest
from scipy.stats import CensoredData, ecdf, norm

from act_eval.errors import UsageError
from act_eval.metrics import KaplanMeier

# Freireich et al. (1963), 6-MP arm: the remissions of Klein and Moeschberger, example 4.1. Relapses, censored weeks.
RELAPSED = [6, 6, 6, 7, 10, 13, 16, 22, 23]
CENSORED = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
TIMES, REACHED = RELAPSED + CENSORED, [True] * len(RELAPSED) + [False] * len(CENSORED)


def test_the_curve_of_the_textbook():
    curve = KaplanMeier.fit(TIMES, REACHED)
    np.testing.assert_array_equal(curve.times, [6, 7, 10, 13, 16, 22, 23])
    np.testing.assert_allclose(curve.share, [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448], atol=5e-4)
    assert curve.median == 23


def test_scipy_finds_the_same_curve_and_intervals():
    curve = KaplanMeier.fit(TIMES, REACHED)
    survival = ecdf(CensoredData.right_censored(TIMES, np.logical_not(REACHED))).sf
    np.testing.assert_allclose(survival.evaluate(curve.times), curve.share)
    ends = survival.confidence_interval(0.95, method="log-log")
    low = ends.low.evaluate(curve.times)
    expected = curve.times[np.flatnonzero(low <= 0.5)[0]]
    # The upper end of the curve's interval stays above one half: the median may lie beyond all watching.
    assert (ends.high.evaluate(curve.times) > 0.5).all()
    assert curve.median_interval() == (expected, None)


def test_the_restricted_mean_of_the_textbook():
    # Klein and Moeschberger, example 4.1 (continued): mean up to 35 weeks 23.29, standard error 2.83.
    mean, interval = KaplanMeier.fit(TIMES, REACHED).restricted_mean(35)
    assert mean == pytest.approx(23.29, abs=0.005)
    assert (interval.high - interval.low) / 2 / norm.ppf(0.975) == pytest.approx(2.83, abs=0.005)


def test_without_early_censoring_the_restricted_mean_is_the_plain_one():
    rng = np.random.default_rng(0)
    times = rng.uniform(2, 15, 40)
    mean, interval = KaplanMeier.fit(np.minimum(times, 10).tolist(), (times <= 10).tolist()).restricted_mean(10)
    cut = np.minimum(times, 10)
    assert mean == pytest.approx(cut.mean())
    # Greenwood's variance is then that of a mean, with n in the place of n - 1.
    half = norm.ppf(0.975) * cut.std() / np.sqrt(40)
    assert interval == pytest.approx((mean - half, mean + half))


def test_its_interval_holds_the_true_median_and_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    median_in = mean_in = 0
    true_mean = 5 * (1 - np.exp(-10 / 5))
    for _ in range(400):
        times = rng.exponential(5, 50)
        curve = KaplanMeier.fit(np.minimum(times, 10).tolist(), (times <= 10).tolist())
        low, high = curve.median_interval()
        median_in += (low or 0) <= 5 * np.log(2) <= (high or np.inf)
        _, interval = curve.restricted_mean(10)
        mean_in += interval.low <= true_mean <= interval.high
    assert 0.92 <= median_in / 400 <= 0.98
    assert 0.92 <= mean_in / 400 <= 0.98


def test_all_and_none_reached():
    every = KaplanMeier.fit([1.0, 2.0, 3.0], [True] * 3)
    assert every.median == 2.0
    assert every.restricted_mean(5.0)[0] == pytest.approx(2.0)
    nobody = KaplanMeier.fit([5.0] * 3, [False] * 3)
    assert (nobody.median, nobody.median_interval()) == (None, (None, None))
    assert nobody.restricted_mean(5.0) == (5.0, (5.0, 5.0))


def test_one_episode_says_next_to_nothing():
    curve = KaplanMeier.fit([2.0], [True])
    assert curve.median == 2.0
    assert curve.median_interval() == (2.0, None)


def test_bad_times_are_refused():
    with pytest.raises(UsageError, match=r"times must be finite and at least 0, got \[1.0, -2.0\]"):
        KaplanMeier.fit([1.0, -2.0], [True, True])
    with pytest.raises(UsageError, match="times and reached differ in length: 2 and 1"):
        KaplanMeier.fit([1.0, 2.0], [True])
