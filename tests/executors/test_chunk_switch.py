"""What a new chunk changes where it takes over, on tagged actions: action i of chunk k is 100·k + i."""

import numpy as np
import pytest
from toy_policies import Noise, Tagged, ToyPolicy, traced

from act_eval.timing import RTC, Blend, Constant, Ensemble, Naive, Schedule, Sync, Trace
from act_eval.types import ChunkSwitch


def switch_effects(policy: ToyPolicy, schedule: Schedule, steps: int) -> dict[int, ChunkSwitch | None]:
    """Return step → what changes there, for every chunk switch."""
    actions, _ = traced(policy, schedule, steps)
    assert all(
        set(a.chunk_switch_effects) <= {0} and (a.chunk_switch[0] or not a.chunk_switch_effects) for a in actions
    )
    return {t: a.chunk_switch_effects.get(0) for t, a in enumerate(actions) if a.chunk_switch[0]}


def numbers(found: dict[int, ChunkSwitch | None]) -> dict[int, tuple[float, float] | None]:
    return {t: None if x is None else (float(x.replaced[0]), float(x.overlap_rmse[0])) for t, x in found.items()}


def test_naive_replaces_the_old_chunk_at_the_same_step():
    # C = 8, s = 4, d = 2: chunk 1 asked at 4 acts from 6 with index 2; chunk 0 still holds 6 and 7 for steps 6 and 7.
    found = numbers(switch_effects(Tagged(8), Schedule(method=Naive(4), delay=Constant(2)), 12))
    # At step 6 and 7 both cover: 102 - 6 and 103 - 7.
    assert found == {6: (6.0, 96.0), 10: (106.0, 96.0)}


def test_rtc_compares_what_follows_the_prefix():
    # C = 8, s = 4, d = 2, shifted: chunk 1 asked at 4 begins at 6 with index 0.
    policy = Tagged(8, window="shifted", max_delay=2)
    found = numbers(switch_effects(policy, Schedule(method=RTC(4), delay=Constant(2)), 12))
    # Chunk 0 reaches to step 7 and chunk 1, which begins two steps later, to step 13: four common steps at step 10.
    assert found == {6: (6.0, 94.0), 10: (104.0, 96.0)}


def test_sync_in_a_stopped_world_replaces_the_rest_of_its_chunk():
    found = numbers(switch_effects(Tagged(8), Schedule(method=Sync(3), delay=Constant(2)), 8))
    assert found == {3: (3.0, 97.0), 6: (103.0, 97.0)}


def test_nothing_is_replaced_where_the_old_chunk_has_ended_or_the_arm_was_holding():
    ended = switch_effects(Tagged(4), Schedule(method=Sync(4)), 9)
    held = switch_effects(Tagged(8), Schedule(method=Sync(3, clock="hold"), delay=Constant(2)), 12)
    late = Schedule(method=Naive(2), delay=Trace((3,)))
    underrun = switch_effects(Tagged(4), late, 12)
    assert list(ended) == [4, 8]
    assert list(held) == [5, 10]
    assert any(action.underrun[0] for action in traced(Tagged(4), late, 12)[0])
    assert len(underrun) > 1
    assert set(ended.values()) == set(held.values()) == set(underrun.values()) == {None}


def test_hold_without_delay_equals_paused():
    paused = Schedule(method=Sync(3))
    hold = Schedule(method=Sync(3, clock="hold"))
    assert numbers(switch_effects(Tagged(8), hold, 9)) == numbers(switch_effects(Tagged(8), paused, 9))


def test_blending_shrinks_the_jump_and_hides_nothing_of_the_disagreement():
    schedule = Schedule(method=Blend(4), delay=Constant(2))
    actions, _ = traced(Tagged(8), schedule, 8)
    change = actions[6].chunk_switch_effects[0]
    # Two common steps: the new chunk weighs 1/3 at the first, 6 + 96/3 = 38, but is compared as it was predicted.
    assert (change.replaced[0], change.overlap_rmse[0]) == (6.0, 96.0)
    assert actions[6].command[0, 0] == pytest.approx(38.0)


@pytest.mark.parametrize("decay", [0.0, 0.5])
@pytest.mark.parametrize(("every", "delay"), [(1, 0), (2, 3), (3, 1)])
def test_ensemble_replaces_the_average_of_the_chunks_before(every: int, delay: int, decay: float):
    policy, length, steps = Noise(8), 8, 20
    method = Ensemble(every, decay=decay, newest_only=())
    found = switch_effects(policy, Schedule(method=method, delay=Constant(delay)), steps)
    asked = [int(request.steps[0]) for request in policy.requests]
    table = {t: Noise(length).chunk(request, 0) for t, request in zip(asked, policy.requests, strict=True)}

    def average(origins: list[int], step: int) -> float:
        covering = [t for t in origins if t <= step < t + length]
        weights = np.exp(-decay * np.arange(len(covering)))
        return float(np.average([table[t][step - t] for t in covering], weights=weights))

    assert len(found) >= 4
    for step, change in found.items():
        arrived = [t for t in asked if t == 0 or t + delay <= step]
        *before, new = [t for t in arrived if step < t + length]
        common = range(step, before[-1] + length)
        difference = [table[new][k - new] - average(before, k) for k in common]
        assert change is not None
        assert change.replaced[0] == pytest.approx(average(before, step), abs=1e-6)
        assert change.overlap_rmse[0] == pytest.approx(np.sqrt(np.mean(np.square(difference))), rel=1e-5)


def test_the_gripper_of_an_ensemble_is_compared_with_the_newest_chunk_alone():
    schedule = Schedule(method=Ensemble(2, newest_only=(-1,)))
    found = numbers(switch_effects(Tagged(8), schedule, 7))
    assert found[4] == (102.0, 98.0)
    assert found[6] == (202.0, 98.0)
