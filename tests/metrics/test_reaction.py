"""Reactions: by which observation an action was predicted, and when the gripper turned."""

import numpy as np
import pytest
from toy_policies import Tagged, traced

from act_eval.metrics.reaction import behavioural_reaction, informed_reaction
from act_eval.timing import Constant, Naive, Schedule

OLD, NEW, BESIDE = np.array([0.2, 0.0]), np.array([0.2, 0.1]), np.array([0.1, 0.05])


def test_the_observation_of_the_step_of_the_event_does_not_show_it():
    # The event happens while step 3 is simulated: the action of step 4 reacts at once, those of step 3 knew nothing.
    assert informed_reaction([0, 1, 2, 3, 4, 5], event_step=3) == 0
    assert informed_reaction([0, 0, 0, 3, 3, 3, 6], event_step=3) == 2
    assert informed_reaction([0, 0, 0, 3, 3, -1, -1], event_step=3) is None


def test_commands_that_reach_the_condition_late_react_late():
    assert informed_reaction([0, 0, 0, 3, 3, 5, 5], event_step=3, actuation_delay=1) == 2
    assert informed_reaction([0, 0, 0, 3, 3, 5], event_step=3, actuation_delay=1) is None


@pytest.mark.parametrize("delay", [0, 3])
def test_naive_execution_reacts_after_the_wait_for_the_next_request_and_the_delay(delay: int):
    every = 6
    actions, _ = traced(Tagged(12), Schedule(method=Naive(every), delay=Constant(delay)), 60)
    observed = [int(a.observed[0]) for a in actions]
    requests = [t for t, a in enumerate(actions) if a.requested[0]]
    events = range(10, 30)
    waits = [min(t for t in requests if t > event) - (event + 1) for event in events]
    assert [informed_reaction(observed, event) for event in events] == [wait + delay for wait in waits]
    assert set(waits) == set(range(every))


def straight(start: np.ndarray, *stops: tuple[np.ndarray, int]) -> np.ndarray:
    """Return a path through places, each reached after so many steps."""
    path = [start]
    for place, steps in stops:
        path += [path[-1] + (place - path[-1]) * k / steps for k in range(1, steps + 1)]
    return np.array(path)


def test_the_gripper_turns_where_its_path_bends():
    path = straight(BESIDE, (OLD, 12), (NEW, 8))
    # Event in step 5, first seen in state 6; the way to the old place ends at state 12.
    assert behavioural_reaction(path, 5, OLD, NEW, informed=0) == 6
    assert behavioural_reaction(path, 5, OLD, NEW, informed=4) == 6


def test_a_straight_way_to_the_old_place_is_no_reaction():
    path = straight(BESIDE, (OLD, 20))
    assert behavioural_reaction(path, 5, OLD, NEW, informed=2) is None


def test_a_gripper_that_waits_turns_when_it_goes():
    path = straight(BESIDE, (OLD, 12), (OLD, 5), (NEW, 8))
    assert behavioural_reaction(path, 5, OLD, NEW, informed=0) == 11
    tremble = path + 0.0002 * np.random.default_rng(0).normal(size=path.shape)
    assert behavioural_reaction(tremble, 5, OLD, NEW, informed=0) == 11


def test_a_turn_before_the_policy_could_know_is_chance():
    path = straight(BESIDE, (OLD, 5), (NEW, 5), (OLD, 5), (NEW, 5))
    assert behavioural_reaction(path, 2, OLD, NEW, informed=0) == 2
    assert behavioural_reaction(path, 2, OLD, NEW, informed=8) == 12
    assert behavioural_reaction(path, 2, OLD, NEW, informed=None) is None


def test_carrying_a_block_is_no_reaction():
    path = straight(BESIDE, (OLD, 10), (NEW, 10))
    assert behavioural_reaction(path, 2, OLD, NEW, informed=0) == 7
    assert behavioural_reaction(path, 2, OLD, NEW, informed=0, lift_step=10) is None
    assert behavioural_reaction(path, 2, OLD, NEW, informed=0, lift_step=2) is None


def test_shaking_by_less_than_a_centimetre_is_no_reaction():
    path = np.stack([np.full(30, 0.2), 0.05 + 0.002 * (-1.0) ** np.arange(30)], axis=1)
    assert behavioural_reaction(path, 5, OLD, NEW, informed=0) is None


def test_a_target_that_stays_where_it_was_asks_for_no_reaction():
    path = straight(OLD, (NEW, 10))
    assert behavioural_reaction(path, 0, OLD, OLD, informed=0) is None
    assert behavioural_reaction(path, 0, OLD, NEW, informed=0) == 0


def test_a_path_of_broken_physics_says_nothing():
    assert behavioural_reaction(np.full((20, 2), np.nan), 5, OLD, NEW, informed=0) is None
