"""Methods and executors of the user's, against shipped ones and sequences by hand."""

import runpy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from toy_policies import Noise, Tagged, ToyPolicy, blank

from act_eval.errors import TimingError, UsageError
from act_eval.executors import ChunkExecutor, Hold, make_executor, repeat_last
from act_eval.sources.executors import load_executor
from act_eval.timing import (
    RTC,
    Constant,
    Ensemble,
    Method,
    Schedule,
    Sync,
    condition_lines,
    condition_name,
    condition_settings,
    kept,
)
from act_eval.types import Actions, BoolArray, Chunk, ChunkPolicy, FloatArray, IntArray, Observation, PolicySpec

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def commands(policy: ChunkPolicy, schedule: Schedule, steps: int = 40) -> tuple[list[Actions], np.ndarray]:
    executor = make_executor(policy, schedule, repeat_last, 50.0)
    executor.reset([0], [3])
    actions = [executor.act(np.array([t]), blank(1)) for t in range(steps)]
    return actions, np.array([one.command[0] for one in actions])


@dataclass(frozen=True)
class OwnEnsemble(Method):
    """ACT's ensembling, written against the documented hooks alone."""

    decay: float = 0.01
    several_in_flight: ClassVar[bool] = True

    def install(self, installed: Sequence[Chunk], new: Chunk, step: int) -> list[Chunk]:
        return kept(installed, new, step)

    def action_at(self, chunks: Sequence[Chunk], step: int) -> FloatArray:
        weights = np.exp(-self.decay * np.arange(len(chunks)))
        return np.average([chunk.at(step) for chunk in chunks], axis=0, weights=weights)


@dataclass(frozen=True)
class OwnRTC(Method):
    hands_over_prefix: ClassVar[bool] = True


@dataclass(frozen=True)
class Half(Method):
    """Half old, half new, wherever both are."""

    def merge(self, old: FloatArray, new: FloatArray, delay: int) -> FloatArray:
        both = min(len(old), len(new))
        return np.concatenate([(old[:both] + new[:both]) / 2, new[both:]]).astype(np.float32)


@dataclass(frozen=True)
class Broken(Method):
    kind: str = "raises"

    def merge(self, old: FloatArray, new: FloatArray, delay: int) -> FloatArray:
        match self.kind:
            case "raises":
                raise KeyError("no such thing")
            case "short":
                return new[1:]
            case _:
                return new * np.nan

    def refusal(self, spec: PolicySpec, low: int, high: int | None) -> str | None:
        return "broken wants no delay above 3" if high is None or high > 3 else None


class Nearest:
    """A whole executor: stops the world for every request, whatever the delay, and scales the commands."""

    def __init__(
        self, policy: ChunkPolicy, schedule: Schedule, hold: Hold, control_ms: float | None, gain: float = 1.0
    ) -> None:
        self._inner = ChunkExecutor(policy, Schedule(method=Sync(schedule.method.execution_horizon)), hold, control_ms)
        self._gain = gain
        self.reset, self.statistics = self._inner.reset, self._inner.statistics
        self.inference_ms = self._inner.inference_ms

    def wants_observation(self, steps_B: IntArray) -> BoolArray:
        return self._inner.wants_observation(steps_B)

    def act(self, steps_B: IntArray, observation: Observation) -> Actions:
        actions = self._inner.act(steps_B, observation)
        actions.command[:] *= self._gain
        return actions


@pytest.mark.parametrize(("s", "d"), [(1, 0), (2, 3), (3, 7), (5, 1)])
def test_ensembling_written_by_a_user_is_the_shipped_one(s: int, d: int) -> None:
    ours, own = Ensemble(s, newest_only=()), OwnEnsemble(s)
    expected, a = commands(Noise(10), Schedule(method=ours, delay=Constant(d)))
    found, b = commands(Noise(10), Schedule(method=own, delay=Constant(d)))
    np.testing.assert_allclose(b, a, atol=1e-6)
    for one, other in zip(expected, found, strict=True):
        assert (one.chunk_switch == other.chunk_switch).all()
        assert one.chunk_switch_effects.keys() == other.chunk_switch_effects.keys()
        for row in one.chunk_switch_effects:
            np.testing.assert_allclose(
                one.chunk_switch_effects[row].overlap_rmse, other.chunk_switch_effects[row].overlap_rmse, atol=1e-5
            )


def test_a_method_that_hands_over_the_prefix_is_rtc() -> None:
    def policy() -> ToyPolicy:
        return Tagged(10, window="shifted", max_delay=4)

    _, a = commands(policy(), Schedule(method=RTC(5), delay=Constant(3)))
    _, b = commands(policy(), Schedule(method=OwnRTC(5), delay=Constant(3)))
    np.testing.assert_array_equal(a, b)
    with pytest.raises(TimingError, match="needs a policy that takes a prefix"):
        Schedule(method=OwnRTC(5)).check(Tagged(10).spec)


def test_merging_by_hand() -> None:
    # C = 6, s = 3, d = 1: chunk 1 is asked for at step 3, acts from step 4; chunk 0 reaches to step 5.
    _, found = commands(Tagged(6), Schedule(method=Half(3), delay=Constant(1)), steps=8)
    # Step 7 mixes chunk 2 (asked at 6) with chunk 1's action for step 7.
    assert found[:, 0].tolist() == [0, 1, 2, 3, (4 + 101) / 2, (5 + 102) / 2, 103, (104 + 201) / 2]


def test_the_documented_example_fades_over() -> None:
    fade = runpy.run_path(str(EXAMPLES / "own_executor.py"))["CrossFade"]
    _, found = commands(Tagged(8), Schedule(method=fade(4, fade=2), delay=Constant(1)), steps=9)
    low, high = (0.5 - 0.5 * np.cos(np.pi * i / 3) for i in (1, 2))
    mixed = [(1 - low) * 5 + low * 101, (1 - high) * 6 + high * 102]
    np.testing.assert_allclose(found[:, 0], [0, 1, 2, 3, 4, *mixed, 103, 104], rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("raises", r"executor broken: merge raised KeyError: 'no such thing'"),
        ("short", r"executor broken: merge returned shape \(4, 1\); expected \(5, 1\), the shape of `new`"),
        ("nan", r"executor broken: merge gives non-finite numbers; expected finite \(6, 1\)"),
    ],
)
def test_a_faulty_method_ends_the_run_by_name(kind: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        commands(Tagged(6), Schedule(method=Broken(3, kind), delay=Constant(1)))


def test_bounds_of_the_own_method_and_those_of_all() -> None:
    with pytest.raises(TimingError, match="broken wants no delay above 3"):
        Schedule(method=Broken(5), delay=Constant(4)).check(Tagged(20).spec)
    with pytest.raises(TimingError, match="half needs d <= s <= C - d, with C = 10, d = 4: 4 <= s <= 6; got s = 7"):
        Schedule(method=Half(7), delay=Constant(4)).check(Tagged(10).spec)


def test_names_and_manifest_entries() -> None:
    source = load_executor(partial(OwnEnsemble, decay=0.5))
    schedule = Schedule(method=source.build(4), delay=Constant(2))
    assert (source.name, condition_name(schedule)) == ("own_ensemble-decay0.5", "own_ensemble-decay0.5_d2_s4")
    settings = condition_settings(schedule)
    assert settings["executor"] == "own_ensemble"
    assert settings["executor_options"] == {"decay": 0.5}
    assert settings["executor_class"] == f"{__name__}:OwnEnsemble"
    assert len(settings["executor_digest"]) == 16
    assert condition_lines({"own": settings})[0].startswith(
        "condition own: executor own_ensemble (decay = 0.5), delay d = 2"
    )
    assert condition_name(Schedule(method=load_executor("ensemble:decay=0.1").build(4))) == "ensemble-decay0.1_d0_s4"
    assert condition_settings(Schedule(method=RTC(4))) == {"executor": "rtc", "delay": 0, "execution_horizon": 4}


def test_a_whole_executor_behind_the_same_schedule() -> None:
    source = load_executor(partial(Nearest, gain=2.0))
    schedule = Schedule(method=source.build(3), delay=Constant(9))
    assert condition_name(schedule) == "nearest-gain2.0_d9_s3"
    _, found = commands(Tagged(6), schedule, steps=6)
    assert found[:, 0].tolist() == [0, 2, 4, 200, 202, 204]
    with pytest.raises(TimingError, match="nearest needs 1 <= s <= C"):
        make_executor(Tagged(2), schedule, repeat_last, None)
    with pytest.raises(UsageError, match=r"executor nearest: building it raised TypeError: .*'speed'"):
        make_executor(
            Tagged(6), Schedule(method=load_executor(partial(Nearest, **{"speed": 1})).build(3)), repeat_last, None
        )


def test_executors_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.syspath_prepend(EXAMPLES)
    source = load_executor("own_executor:CrossFade:fade=6")
    assert condition_name(Schedule(method=source.build(5))) == "cross_fade-fade6_d0_s5"
    assert source.local_only is None
    assert load_executor(source.build(7)).horizon == 7
    for text, problem in {
        "own_executor:CrossFade:speed=6": "there is no option 'speed'; there are: fade",
        "own_executor:Fade": "own_executor has no 'Fade'",
        "no_such_module:Fade": "there is no module 'no_such_module'",
        "own_executor:np.zeros": "neither a subclass of act_eval.timing.Method nor a class with the methods",
        "naiv": "naiv",
        "naive:fade=3": "there is no option 'fade'; there are: none",
        "bid": "needs a stochastic policy",
        "ensemble:decay=-1": "decay m is -1",
    }.items():
        with pytest.raises(UsageError, match=problem):
            load_executor(text)


def test_a_name_that_is_taken_is_refused() -> None:
    taken: Any = dataclass(frozen=True)(type("Naive", (Method,), {"__module__": __name__}))
    with pytest.raises(UsageError, match="'naive' is the name of a shipped executor; rename the class"):
        load_executor(taken)
