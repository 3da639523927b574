"""Tagged actions over a grid of (C, s, d) for the executors that mix chunks; the others are in test_executors."""

import pytest
from toy_policies import HOLD, Noise, Tagged, run, traced

from act_eval.errors import TimingError
from act_eval.executors import ChunkExecutor, repeat_last
from act_eval.timing import Blend, Constant, Ensemble, Naive, Schedule

STEPS = 60
GRID = [(8, s, d) for s in range(1, 9) for d in (0, 1, 3, 4, 7, 8)] + [(16, 5, 3), (30, 10, 4), (30, 16, 15)]


@pytest.mark.parametrize(("c", "s", "d"), GRID)
def test_the_gripper_of_an_ensemble_is_the_newest_chunk_that_has_arrived(c: int, s: int, d: int) -> None:
    schedule = Schedule(method=Ensemble(s, newest_only=(-1,)), delay=Constant(d))
    if d >= c:
        with pytest.raises(TimingError, match=f"ensemble needs d < C, that is d < {c}; got d = {d}"):
            ChunkExecutor(Tagged(c), schedule, repeat_last)
        return
    sent = [0, *range(max(1, min(s, c - d)), STEPS, s)]
    expected = []
    for t in range(STEPS):
        covering = [
            100.0 * number + t - step
            for number, step in enumerate(sent)
            if (number == 0 or step + d <= t) and step <= t < step + c
        ]
        expected.append(covering[-1] if covering else HOLD)
    assert run(Tagged(c), schedule, STEPS) == expected


@pytest.mark.parametrize(("c", "s", "d"), GRID)
def test_blending_names_the_chunks_and_indices_that_naive_runs(c: int, s: int, d: int) -> None:
    schedule = Schedule(method=Blend(s), delay=Constant(d))
    if not max(1, d) <= s <= c - d:
        with pytest.raises(TimingError, match=r"blend needs d <= s <= C - d|`blend` cannot run with delay"):
            ChunkExecutor(Noise(c), schedule, repeat_last)
        return
    blended, _ = traced(Noise(c), schedule, STEPS)
    plain, _ = traced(Tagged(c), Schedule(method=Naive(s), delay=Constant(d)), STEPS)
    tags = [100.0 * int(a.chunk[0]) + int(a.index[0]) for a in blended]
    assert tags == [float(a.command[0, 0]) for a in plain]
