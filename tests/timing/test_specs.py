"""Delay models and estimated delays as text: what is read, what is refused, and that the description reads back."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from act_eval.errors import TimingError
from act_eval.timing import (
    RTC,
    BeyondMaxDelay,
    Blend,
    Bursty,
    Constant,
    ConstantEstimate,
    DelayModel,
    Ensemble,
    Estimator,
    Lognormal,
    Lossy,
    MaxOfLast,
    Measured,
    MovingAverage,
    Naive,
    Oracle,
    Percentile,
    Schedule,
    Sync,
    Trace,
    Uniform,
    condition_lines,
    condition_name,
    condition_settings,
    describe,
    describe_estimator,
    parse_delay,
    parse_estimator,
    write_trace,
)

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
steps = st.integers(0, 40)
probabilities = st.floats(0, 1)
positive = st.floats(1e-3, 1e3)
drawn = st.one_of(
    steps.map(Constant),
    st.tuples(steps, steps).map(lambda pair: Uniform(*sorted(pair))),
    st.builds(Lognormal, positive, positive, positive),
    st.builds(Bursty, steps, steps, probabilities, probabilities),
)
models = st.one_of(
    drawn,
    st.builds(Lossy, st.floats(0, 1, exclude_max=True), drawn),
    st.floats(0, 1e4).map(Measured),
    st.lists(st.one_of(st.none(), steps), min_size=1, max_size=5).map(lambda some: Trace((1, *some))),
)
estimators = st.one_of(
    st.just(Oracle()),
    steps.map(ConstantEstimate),
    st.builds(MaxOfLast, st.integers(1, 60), steps),
    st.builds(Percentile, st.floats(0, 100), st.integers(1, 60), steps),
    st.builds(MovingAverage, st.integers(1, 60), steps),
)


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("4", Constant(4)),
        ("constant:4", Constant(4)),
        ("constant:steps=4", Constant(4)),
        ("uniform:1,6", Uniform(1, 6)),
        ("uniform:high=6,low=1", Uniform(1, 6)),
        ("lognormal:shift=1,median=2,sigma=0.5", Lognormal(1, 2, 0.5)),
        ("lognormal:1,2,0.5", Lognormal(1, 2, 0.5)),
        ("bursty:calm=1,spike=6,enter=0.1,leave=0.5", Bursty(1, 6, 0.1, 0.5)),
        ("bursty:1,6,enter=0.1,leave=0.5", Bursty(1, 6, 0.1, 0.5)),
        ("lossy:probability=0.1,of=4", Lossy(0.1, Constant(4))),
        ("lossy:0.1,4", Lossy(0.1, Constant(4))),
        ("lossy:0.1", Lossy(0.1)),
        ("lossy:0.1,of=uniform:1,6", Lossy(0.1, Uniform(1, 6))),
        ("lossy:0.1,lognormal:shift=1,median=2,sigma=0.5", Lossy(0.1, Lognormal(1, 2, 0.5))),
        ("measured", Measured()),
        ("measured:100", Measured(100)),
        ("measured:injected_ms=100", Measured(100)),
        (" 4 ", Constant(4)),
    ],
)
def test_delays_are_read(text: str, model: DelayModel) -> None:
    assert parse_delay(text) == model


@pytest.mark.parametrize(
    ("text", "estimator"),
    [
        ("oracle", Oracle()),
        ("constant:4", ConstantEstimate(4)),
        ("max", MaxOfLast()),
        ("max:20,1", MaxOfLast(20, 1)),
        ("p95", Percentile()),
        ("p95:window=20", Percentile(95, 20)),
        ("percentile:90,initial=2", Percentile(90, 50, 2)),
        ("average", MovingAverage()),
    ],
)
def test_estimated_delays_are_read(text: str, estimator: Estimator) -> None:
    assert parse_estimator(text) == estimator


@QUICK
@given(models)
def test_a_description_means_the_same_model(model: DelayModel) -> None:
    if isinstance(model, Trace):
        assert re.fullmatch(r"trace:[0-9a-f]{8}", describe(model))
    else:
        assert parse_delay(describe(model)) == model


@QUICK
@given(estimators)
def test_a_description_means_the_same_estimator(estimator: Estimator) -> None:
    assert parse_estimator(describe_estimator(estimator)) == estimator


def test_a_trace_is_read_from_its_file_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "of=a,b:c.json"
    write_trace(path, Trace((1, None, 3)))
    assert parse_delay(f"trace:{path}") == Trace((1, None, 3))
    assert parse_delay(f"lossy:0.1,of=trace:{path}") == Lossy(0.1, Trace((1, None, 3)))
    assert describe(Trace((1, 2))) != describe(Trace((1, 3)))


MODELS = "there are: bursty, constant, lognormal, lossy, measured, trace, uniform"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", f"there is no ''; {MODELS}"),
        ("unifrom:1,6", f"there is no 'unifrom'; {MODELS}"),
        ("uniform", "uniform needs low and high; it takes low, high"),
        ("uniform:", "uniform needs low and high; it takes low, high"),
        ("uniform:1", "uniform needs high; it takes low, high"),
        ("uniform:1,6,7", "'7' is too much; uniform takes low, high"),
        ("uniform:lo=1,6", "there is no parameter 'lo'; uniform takes low, high"),
        ("uniform:low=1,6", "'6' has no name and follows a parameter that has one"),
        ("uniform:low=1,low=2", "low is given twice"),
        ("uniform:1,low=2", "low is given twice"),
        ("uniform:a,6", "low is 'a'; it must be a whole number of control steps"),
        ("uniform:1.5,6", "low is '1.5'; it must be a whole number of control steps"),
        ("uniform:1,", "high is ''; it must be a whole number of control steps"),
        ("uniform:6,1", "lower delay 6 is above upper delay 1"),
        ("-1", "delay d is -1; it must be a whole number of control steps, at least 0"),
        ("1.5", "steps is '1.5'; it must be a whole number of control steps"),
        ("lognormal:shift=1,median=x,sigma=1", "median is 'x'; it must be a number"),
        ("lognormal:1,nan,1", "median of a lognormal delay is nan; it must be finite and at least 0"),
        ("bursty:1,6,2,0.5", "probability of entering a spike is 2.0; it must be between 0 and 1"),
        ("lossy:0.1,of=unifrom:1,6", f"there is no 'unifrom'; {MODELS}"),
        ("lossy:0.1,of=uniform:1", "uniform needs high; it takes low, high"),
        (
            "lossy:0.1,of=measured",
            "answers of a measured delay cannot be lost; `of` must draw delays without losses",
        ),
        ("lossy:0.1,of=lossy:0.1", "answers of a lossy delay cannot be lost; `of` must draw delays"),
        ("trace:", "trace needs a file, as in trace:delays.json"),
        ("trace", "trace needs a file, as in trace:delays.json"),
        ("trace:no.json", "delay trace no.json cannot be read"),
        ("measured:injected=100", "there is no parameter 'injected'; measured takes injected_ms"),
        ("measured:-5", "injected_ms is -5.0; it must be finite and at least 0"),
    ],
)
def test_a_delay_that_is_none_is_refused_by_its_text_and_parameter(text: str, problem: str) -> None:
    with pytest.raises(TimingError, match=re.escape(f"delay {text!r}: {problem}")):
        parse_delay(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mux", "there is no 'mux'; there are: average, constant, max, oracle, p95, percentile"),
        ("4", "there is no '4'; there are: average, constant, max, oracle, p95, percentile"),
        ("constant", "constant needs steps; it takes steps"),
        ("oracle:4", "'4' is too much; oracle takes no parameters"),
        ("max:0", "window of the estimated delay is 0; it must be a whole number of control steps, at least 1"),
        ("percentile:101", "percentile of the estimated delay is 101.0; it must be between 0 and 100"),
    ],
)
def test_a_estimated_delay_that_is_none_is_refused(text: str, problem: str) -> None:
    with pytest.raises(TimingError, match=re.escape(f"estimated delay {text!r}: {problem}")):
        parse_estimator(text)


@pytest.mark.parametrize(
    ("schedule", "name"),
    [
        (Schedule(method=RTC(10), delay=Constant(4)), "rtc_d4_s10"),
        (Schedule(method=Sync(5)), "sync_paused_d0_s5"),
        (Schedule(method=Sync(5, "hold")), "sync_hold_d0_s5"),
        (Schedule(method=Naive(4), delay=Uniform(1, 3)), "naive_uniform1-3_s4"),
        (Schedule(method=RTC(4), delay=Measured(100)), "rtc_measured100ms_s4"),
        (Schedule(method=RTC(4), delay=Measured(), delay_estimator=ConstantEstimate(2)), "rtc_measured_s4_est2"),
        (Schedule(method=RTC(4), delay_estimator=MaxOfLast(20, 1)), "rtc_d0_s4_est-max-window-20-initial-1"),
        (
            Schedule(method=RTC(4), delay=Lossy(0.1, Bursty(1, 6, 0.1, 0.5)), timeout=9, beyond_max_delay="clip"),
            "rtc_lossy0.1-bursty1-6-0.1-0.5_s4_clip_t9",
        ),
        (Schedule(method=RTC(4), observation_delay=2, actuation_delay=1), "rtc_d0_s4_o2_a1"),
    ],
)
def test_conditions_are_named_after_what_is_not_at_its_default(schedule: Schedule, name: str) -> None:
    assert condition_name(schedule) == name


schedules = st.builds(
    Schedule,
    method=st.one_of(*(st.integers(1, 3).map(kind) for kind in (Sync, Naive, RTC, Ensemble, Blend))),
    delay=models.filter(lambda model: not isinstance(model, Measured)),
    delay_estimator=st.one_of(st.none(), estimators),
    beyond_max_delay=st.sampled_from(["error", "clip", "naive"]),
    timeout=st.just(10**6),
    observation_delay=st.integers(0, 2),
    actuation_delay=st.integers(0, 2),
)


@QUICK
@given(schedules, schedules)
def test_conditions_of_one_name_are_one_condition_and_names_are_fit_for_folders(
    first: Schedule, second: Schedule
) -> None:
    assert re.fullmatch(r"[a-z][a-zA-Z0-9_.+-]{3,200}", condition_name(first))
    assert (condition_name(first) == condition_name(second)) == (
        condition_settings(first) == condition_settings(second)
    )


@pytest.mark.parametrize("beyond", ["error", "clip"])
def test_settings_hold_everything_that_is_not_at_its_default(beyond: BeyondMaxDelay) -> None:
    plain = Schedule(method=RTC(10), delay=Constant(4))
    assert condition_settings(plain) == {"executor": "rtc", "delay": 4, "execution_horizon": 10}
    lines = condition_lines({"rtc_d4_s10": condition_settings(plain)})
    assert lines == ["condition rtc_d4_s10: executor rtc, delay d = 4, execution horizon s = 10"]
    full = Schedule(
        method=RTC(3), delay=Measured(20), beyond_max_delay=beyond, timeout=9, observation_delay=2, actuation_delay=1
    )
    assert condition_settings(full) == {
        "executor": "rtc",
        "delay": "measured:injected_ms=20",
        "execution_horizon": 3,
        "delay_estimator": "max",
        **({} if beyond == "error" else {"beyond_max_delay": beyond}),
        "timeout": 9,
        "observation_delay": 2,
        "actuation_delay": 1,
    }
    assert "delay estimator max" in condition_lines({"full": condition_settings(full)})[0]


def test_a_few_perturbed_conditions_have_a_line_each_and_many_share_one() -> None:
    plain = condition_settings(Schedule(method=RTC(10), delay=Constant(4)))
    axes = [{"light": 1}, {"light": 3}, {"blur": 2}, {"light": 2, "goal_error": 5}]
    few = {"twin": plain, **{f"p{i}": {**plain, "perturbation": one} for i, one in enumerate(axes)}}
    assert [line.split(":")[0] for line in condition_lines(few)] == [f"condition {name}" for name in few]
    assert "perturbation light, severity 2, perturbation goal_error, severity 5" in condition_lines(few)[-1]
    many = {f"{name}_d{d}": {**one, "delay": d} for d in (0, 4, 8, 9) for name, one in few.items()}
    *twins, perturbed = condition_lines(many)
    assert [line.split(":")[0] for line in twins] == [f"condition twin_d{d}" for d in (0, 4, 8, 9)]
    assert perturbed == "perturbed, 16 conditions beside these: light 1, 3; blur 2; light+goal_error 2+5"


def test_the_texts_need_no_heavy_import() -> None:
    code = "import sys, act_eval.timing; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "act_eval.timing.parsing" in loaded
    assert set(loaded).isdisjoint({"torch", "mujoco", "gymnasium", "scipy", "tyro", "rich"})
