import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from act_eval.errors import TimingError
from act_eval.timing import (
    METHODS,
    RTC,
    Blend,
    Bursty,
    Constant,
    ConstantEstimate,
    DelayModel,
    Draw,
    Ensemble,
    Lognormal,
    Lossy,
    MaxOfLast,
    Method,
    MovingAverage,
    Naive,
    Oracle,
    Percentile,
    Schedule,
    Sync,
    Trace,
    Uniform,
    draws,
    estimated_delay,
    extremes,
    read_trace,
    recorded_trace,
    write_trace,
)
from act_eval.types import PolicySpec, Window


def spec(chunk: int, *, window: Window = "same", max_delay: int | None = None) -> PolicySpec:
    return PolicySpec(
        chunk=chunk,
        action_dim=1,
        window=window,
        takes_prefix=max_delay is not None,
        max_delay=max_delay or 0,
        inputs={},
    )


def first(model: DelayModel, count: int, seed: int = 0) -> list[Draw]:
    return list(itertools.islice(draws(model, seed), count))


def feasible(method: type, chunk: int, delay: int, **kwargs: object) -> list[int]:
    """Execution horizons that are not refused."""
    window = "shifted" if method is RTC else "same"
    policy = spec(chunk, window=window, max_delay=chunk if method is RTC else None)
    return [
        s
        for s in range(1, chunk + 3)
        if Schedule(method=method(s, **kwargs), delay=Constant(delay)).refusal(policy) is None
    ]


@pytest.mark.parametrize("chunk", [8, 16, 30])
@pytest.mark.parametrize("delay", [0, 1, 3, 4, 5, 8, 15, 30, 31])
def test_exactly_the_horizons_within_the_bounds_are_allowed(chunk: int, delay: int) -> None:
    d = delay
    assert feasible(Sync, chunk, d) == list(range(1, chunk + 1))
    assert feasible(Sync, chunk, d, clock="hold") == list(range(1, chunk + 1))
    assert feasible(Naive, chunk, d) == list(range(max(1, d), chunk - d + 1))
    assert feasible(Blend, chunk, d) == list(range(max(1, d), chunk - d + 1))
    assert feasible(RTC, chunk, d) == (list(range(max(1, d), chunk + 1)) if d <= chunk else [])
    assert feasible(Ensemble, chunk, d) == (list(range(1, chunk + 3)) if d < chunk else [])


@pytest.mark.parametrize(
    ("method", "delay", "policy", "text"),
    [
        (Sync(9), 0, spec(8), "sync_paused needs 1 <= s <= C, with C = 8: 1 <= s <= 8; got s = 9"),
        (Naive(6), 3, spec(8), "naive needs d <= s <= C - d, with C = 8, d = 3: 3 <= s <= 5; got s = 6"),
        (Blend(2), 3, spec(8), "blend needs d <= s <= C - d, with C = 8, d = 3: 3 <= s <= 5; got s = 2"),
        (Naive(5), 5, spec(8), "`naive` cannot run with delay 5: it needs d ≤ s ≤ C − d, and C = 8 leaves no s"),
        (Ensemble(1), 8, spec(8), "ensemble needs d < C, that is d < 8; got d = 8"),
        (
            RTC(2),
            3,
            spec(8, window="shifted", max_delay=4),
            "rtc needs d <= s <= C, with C = 8, d = 3: 3 <= s <= 8; got s = 2",
        ),
        (
            RTC(4),
            5,
            spec(8, window="shifted", max_delay=4),
            "the estimated delay can reach 5; the policy was trained for delays up to max_delay = 4",
        ),
        (RTC(4), 2, spec(8), "rtc needs a policy that takes a prefix of committed commands; this one takes none"),
        (
            RTC(6),
            3,
            spec(8, max_delay=4),
            "rtc needs d <= s <= C - (latest switch - earliest window start), with C = 8, d = 3, "
            "switch 3, start 0: 3 <= s <= 5; got s = 6",
        ),
    ],
)
def test_a_refusal_names_the_bound_and_the_value(method: Method, delay: int, policy: PolicySpec, text: str) -> None:
    with pytest.raises(TimingError, match=re.escape(text)):
        Schedule(method=method, delay=Constant(delay)).check(policy)


def test_a_bounded_delay_is_refused_by_its_bounds_and_an_unbounded_one_is_run() -> None:
    shifted = spec(8, window="shifted", max_delay=8)
    with pytest.raises(TimingError, match=re.escape("C = 8, d in 1 .. 3: 3 <= s <= 5; got s = 6")):
        Schedule(method=Naive(6), delay=Uniform(1, 3)).check(spec(8))
    with pytest.raises(TimingError, match=re.escape("switch 3, start 1: 3 <= s <= 6; got s = 7")):
        Schedule(method=RTC(7), delay=Uniform(1, 3)).check(shifted)
    Schedule(method=RTC(6), delay=Uniform(1, 3)).check(shifted)
    Schedule(method=Naive(8), delay=Lognormal(1, 3, 1)).check(spec(8))
    Schedule(method=Naive(8), delay=Bursty(1, 20, 0.1, 0.5)).check(spec(8))


def test_an_estimate_above_max_delay_is_a_choice() -> None:
    policy = spec(8, window="shifted", max_delay=2)
    for delay in (Constant(4), Lognormal(0, 2, 1)):
        with pytest.raises(
            TimingError, match="choose beyond_max_delay \\(--beyond-max-delay\\) clip or naive, or another estimator"
        ):
            Schedule(method=RTC(4), delay=delay).check(policy)
        Schedule(method=RTC(4), delay=delay, beyond_max_delay="clip").check(policy)
        Schedule(method=RTC(4), delay=delay, beyond_max_delay="naive").check(policy)
        Schedule(method=RTC(4), delay=delay, delay_estimator=ConstantEstimate(2)).check(policy)
    # Clipped to 2 the window begins at t + 2 and takes over at t + 4: two of its actions are lost.
    with pytest.raises(TimingError, match=re.escape("switch 4, start 2: 4 <= s <= 6; got s = 7")):
        Schedule(method=RTC(7), delay=Constant(4), beyond_max_delay="clip").check(policy)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Constant(-1), "delay d is -1; it must be a whole number of control steps, at least 0"),
        (lambda: Constant(1.5), "delay d is 1.5; it must be a whole number"),  # pyright: ignore[reportArgumentType]
        (lambda: Constant(True), "delay d is True; it must be a whole number"),
        (lambda: Uniform(4, 2), "lower delay 4 is above upper delay 2"),
        (lambda: Lognormal(1, 0, 1), "median of a lognormal delay is 0; it must be above 0"),
        (lambda: Lognormal(1, 2, float("nan")), "sigma of a lognormal delay is nan; it must be finite"),
        (lambda: Bursty(1, 5, 1.5, 0.5), "probability of entering a spike is 1.5; it must be between 0 and 1"),
        (lambda: Lossy(1.0), "probability of a lost answer is 1; no answer would ever arrive"),
        (lambda: Trace(), "a delay trace is empty; it needs at least one delay"),
        (lambda: Trace((3, -2)), "entry 1 of a delay trace is -2; it must be a whole number of control steps"),
        (lambda: Trace((None,)), "a delay trace holds lost answers only"),
        (lambda: Naive(0), "execution horizon s is 0; it must be a whole number of control steps, at least 1"),
        (lambda: Sync(4, "stopped"), "clock is 'stopped'; there are: paused, hold"),  # pyright: ignore[reportArgumentType]
        (lambda: Ensemble(1, -0.1), "decay m is -0.1; it must be a finite number, at least 0"),
        (
            lambda: MaxOfLast(0),
            "window of the estimated delay is 0; it must be a whole number of control steps, at least 1",
        ),
        (lambda: Percentile(101), "percentile of the estimated delay is 101; it must be between 0 and 100"),
        (lambda: Schedule(method=Naive(4), delay=Lossy(0.1)), "lost answers need a timeout, in steps"),
        (lambda: Schedule(method=Naive(4), delay=Trace((1, None))), "lost answers need a timeout, in steps"),
        (
            lambda: Schedule(method=Naive(4), delay=Constant(4), timeout=3),
            "delay 4 is above the timeout of 3 steps: every answer would be lost",
        ),
        (
            lambda: Schedule(method=Naive(4), beyond_max_delay="ignore"),  # pyright: ignore[reportArgumentType]
            "beyond_max_delay is 'ignore'; there are: error, clip, naive",
        ),
    ],
)
def test_nonsense_is_refused_by_name_and_value(make: object, text: str) -> None:
    assert callable(make)
    with pytest.raises(TimingError, match=re.escape(text)):
        make()


MODELS: list[DelayModel] = [
    Constant(3),
    Uniform(1, 6),
    Lognormal(1.2, 2.0, 0.7),
    Bursty(1, 9, 0.2, 0.4),
    Lossy(0.3, Uniform(1, 6)),
    Trace((4, 1, None, 7)),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_delays_depend_on_the_episode_seed_alone_and_keep_their_extremes(model: DelayModel) -> None:
    assert first(model, 300, seed=5) == first(model, 300, seed=5)
    low, high = extremes(model)
    steps = [draw.steps for draw in first(model, 3000) if not draw.lost]
    assert min(steps) >= low
    assert high is None or max(steps) <= high
    if isinstance(model, Uniform | Bursty | Lossy | Trace):
        assert {min(steps), max(steps)} == {low, high}, "the extremes are reached"
    if not isinstance(model, Constant):
        assert len({tuple(first(model, 300, seed)) for seed in range(8)}) > 1


def test_distributions_have_their_closed_form_moments() -> None:
    n = 20_000
    uniform = np.array([draw.steps for draw in first(Uniform(2, 6), n)])
    assert np.bincount(uniform)[2:] == pytest.approx(n / 5, rel=0.07)
    lognormal = np.array([draw.steps for draw in first(Lognormal(1.0, 4.0, 0.5), n)])
    assert np.mean(lognormal <= 5) == pytest.approx(0.5, abs=0.015)  # X <= median half of the time
    bursty = np.array([draw.steps for draw in first(Bursty(1, 9, 0.1, 0.3), n)])
    assert np.mean(bursty == 9) == pytest.approx(0.1 / (0.1 + 0.3), abs=0.02)  # stationary share of the chain
    lost = np.array([draw.lost for draw in first(Lossy(0.2, Constant(3)), n)])
    assert np.mean(lost) == pytest.approx(0.2, abs=0.012)


def test_another_drop_probability_leaves_the_delays_of_arriving_answers() -> None:
    without = first(Lossy(0.0, Uniform(0, 9)), 200)
    some = first(Lossy(0.5, Uniform(0, 9)), 200)
    kept = [i for i, draw in enumerate(some) if not draw.lost]
    assert 50 < len(kept) < 150
    assert [some[i] for i in kept] == [without[i] for i in kept]


def test_a_trace_goes_round_from_a_drawn_place_and_an_episode_replays_its_own() -> None:
    steps = [draw.steps for draw in first(Trace((1, 2, 3, 4, 5)), 12)]
    assert all(b == a % 5 + 1 for a, b in itertools.pairwise(steps))
    assert {first(Trace((1, 2, 3, 4, 5)), 1, seed)[0].steps for seed in range(50)} == {1, 2, 3, 4, 5}
    own = Trace(episodes={7: (4, None, 2)})
    assert first(own, 3, seed=7) == [Draw(4), Draw(0, lost=True), Draw(2)]
    with pytest.raises(TimingError, match="the delay trace holds 3 delays for episode seed 7 and one more is needed"):
        first(own, 4, seed=7)
    with pytest.raises(TimingError, match="the delay trace holds 0 delays for episode seed 8 and one more is needed"):
        first(own, 1, seed=8)
    assert first(Trace((9,), episodes={7: (4,)}), 3, seed=7) == [Draw(4), Draw(9), Draw(9)]


def test_a_trace_that_may_end_before_its_episodes_is_refused() -> None:
    own = Trace(episodes={7: (1, 1, None, 1, 1), 8: (2,) * 5})
    schedule = Schedule(method=Naive(4), delay=own, timeout=9)
    schedule.check_episodes([7, 8], 16)
    text = "the delay trace holds 4 answers for episode seed 7; 17 steps with s = 4 may need 5"
    with pytest.raises(TimingError, match=re.escape(text)):
        schedule.check_episodes([8, 7], 17)
    with pytest.raises(TimingError, match="holds 0 answers for episode seed 9"):
        schedule.check_episodes([9], 16)
    with pytest.raises(TimingError, match=re.escape(text)):
        Schedule(method=Naive(4), delay=Lossy(0.1, own), timeout=9).check_episodes([7], 17)
    Schedule(method=Naive(4), delay=Trace((1, 2))).check_episodes([9], 10_000)
    Schedule(method=Naive(4), delay=Constant(1)).check_episodes([9], 10_000)


def test_traces_survive_their_file(tmp_path: Path) -> None:
    trace = recorded_trace({12: (4, None, 2), 5: (1,)})
    assert trace.steps == (4, None, 2, 1)
    write_trace(tmp_path / "trace.json", trace)
    assert read_trace(tmp_path / "trace.json") == trace
    (tmp_path / "list.json").write_text("[3, null, 4]")
    assert read_trace(tmp_path / "list.json") == Trace((3, None, 4))
    (tmp_path / "all.csv").write_text("time,delay\n0.1,3\n0.2,\n0.3,4\n")
    assert read_trace(tmp_path / "all.csv") == Trace((3, None, 4))
    (tmp_path / "each.csv").write_text("seed,delay\n12,4\n5,1\n12,\n12,2\n")
    assert read_trace(tmp_path / "each.csv").episodes == trace.episodes


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.txt", "3", "ends in '.txt'; it must end in .json or .csv"),
        ("a.json", "[3, 2", "a.json is damaged: not JSON"),
        ("a.json", '{"delays": [3]}', "a.json is damaged: delays is unknown; the fields are steps, episodes"),
        ("a.json", "[]", "a delay trace is empty; it needs at least one delay"),
        ("a.json", "[1, 2.5]", "steps[1] is 2.5; it must be a whole number or null"),
        ("a.json", '["4"]', "steps[0] is '4'; it must be a whole number or null"),
        ("a.json", '{"episodes": {"x": [3]}}', "episodes.x has a name that is not a whole number"),
        ("a.json", '{"steps": 4}', "steps is 4; it must be a list"),
        ("a.csv", "latency\n3\n", "the header has no column 'delay'; its columns are ['latency']"),
        ("a.csv", "delay\n3\n-4\n", "entry 1 of a delay trace is -4; it must be a whole number of control steps"),
        ("a.csv", "delay\n3\n1.5\n", "the delay in line 3 is '1.5'; it must be a whole number"),
        ("a.csv", "seed,delay\n,1\n", "the seed in line 2 is ''; it must be a whole number"),
        ("a.csv", "", "the header has no column 'delay'; its columns are []"),
    ],
)
def test_malformed_traces_are_refused(tmp_path: Path, name: str, content: str, text: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(TimingError, match=re.escape(text)):
        read_trace(tmp_path / name)


def test_a_missing_trace_is_named(tmp_path: Path) -> None:
    with pytest.raises(TimingError, match=r"no\.json cannot be read: .*No such file"):
        read_trace(tmp_path / "no.json")


@pytest.mark.parametrize(
    ("estimator", "delay_estimator"),
    [
        (Oracle(), 6),
        (ConstantEstimate(3), 3),
        (MaxOfLast(2), 4),
        (MaxOfLast(10), 9),
        (Percentile(95, window=50), 9),
        (Percentile(50, window=3), 4),
        (Percentile(100, window=2), 4),
        (MovingAverage(2), 3),
        (MovingAverage(4), 4),  # mean 3.75
    ],
)
def test_estimated_delays(estimator: object, delay_estimator: int) -> None:
    arrived = [1, 9, 1, 4]  # last two: 1, 4; last three: 9, 1, 4 with median 4
    assert estimated_delay(estimator, 6, arrived) == delay_estimator  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("estimator", [MaxOfLast(10, 5), Percentile(95, 10, 5), MovingAverage(10, 5)])
def test_before_any_answer_the_initial_delay_is_estimated(estimator: MaxOfLast | Percentile | MovingAverage) -> None:
    assert estimated_delay(estimator, 6, []) == 5


def test_constant_delays_are_estimated_exactly_by_every_estimator_that_learns() -> None:
    for estimator in (MaxOfLast(), Percentile(), MovingAverage()):
        for steps in range(12):
            for count in (1, 2, 7, 60):
                assert estimated_delay(estimator, 99, [steps] * count) == steps


def test_method_names_are_those_of_the_table() -> None:
    assert {name: kind(4).name for name, kind in METHODS.items()} == {name: name for name in METHODS}
