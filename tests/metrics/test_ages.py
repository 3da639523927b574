"""Ages of actions, stalls, waste, and percentiles, in closed form."""

import numpy as np
import pytest
from toy_policies import Tagged, traced

from act_eval.metrics.ages import action_age_counts, discarded_fraction, stall_fraction
from act_eval.metrics.family import percentile, percentile_of_counts
from act_eval.timing import Constant, Naive, Schedule


def test_ages_are_counted_and_hold_actions_have_none():
    assert action_age_counts([0, 0, -1, 3, 3, 3]) == [2, 2, 1]
    assert action_age_counts([-1, -1]) == []


def test_commands_that_reach_the_condition_late_are_older():
    assert action_age_counts([0, 0, 2], actuation_delay=2) == [0, 0, 2, 1]


@pytest.mark.parametrize("delay", [0, 2, 4])
def test_naive_execution_runs_actions_of_every_age_from_the_delay_to_delay_and_horizon(delay: int):
    actions, _ = traced(Tagged(10), Schedule(method=Naive(5), delay=Constant(delay)), 105 + delay)
    observed = np.array([int(a.observed[0]) for a in actions])
    observed[: 5 + delay] = -1  # the first chunk of an episode has no delay
    assert action_age_counts(observed) == [0] * delay + [20] * 5


def test_stalls_count_starved_steps_and_stopped_time():
    assert stall_fraction(80, 10, 0) == pytest.approx(1 / 8)
    assert stall_fraction(80, 0, 20) == pytest.approx(1 / 5)
    assert stall_fraction(80, 10, 20) == pytest.approx(3 / 10)
    assert stall_fraction(0, 0, 0) is None


def test_nothing_predicted_is_nothing_discarded_of():
    assert discarded_fraction(40, 10) == 0.25
    assert discarded_fraction(0, 0) is None


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95, 1.0])
def test_percentiles_are_observed_values_and_numpy_agrees(share: float):
    values = np.random.default_rng(3).integers(0, 9, 31).tolist()
    expected = np.quantile(values, share, method="inverted_cdf")
    assert percentile(values, share) == expected
    assert percentile_of_counts(np.bincount(values).tolist(), share) == expected


def test_what_never_came_is_later_than_everything_else():
    assert percentile([5, None, 3], 0.5) == 5
    assert percentile([5, None, None], 0.5) is None
    assert percentile([], 0.5) is None
    assert percentile_of_counts([], 0.5) is None
    assert percentile_of_counts([0, 0, 4], 0.05) == 2
