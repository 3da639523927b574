"""A condition's timing, and the bounds on its execution horizon.

A chunk must last until the next chunk switch, and a request waits for the answer to the one before. For delays from
`low` to `high` that gives `high ≤ s` (one request in flight) and `s ≤ C - (k + high - start)`: k is the observation
delay, and `start` is the number of steps from the observation to the beginning of the window (0 for window `same`, the
smallest estimated delay for `shifted`). DESIGN §4 derives the bounds for a constant delay d.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from act_eval.errors import TimingError
from act_eval.timing.ablation import Ablation, refuse_ablation
from act_eval.timing.delays import (
    Constant,
    DelayModel,
    Lossy,
    Measured,
    Trace,
    extremes,
    is_bounded,
    loses_answers,
)
from act_eval.timing.estimators import Estimator, MaxOfLast, Oracle, estimated_range
from act_eval.timing.methods import Method, Sync, executor_name, whole_steps
from act_eval.types import PolicySpec

BeyondMaxDelay = Literal["error", "clip", "naive"]
"""If an estimated delay is above the policy's `max_delay`: refuse it, clip it, or send no prefix, as `naive` does."""

_UNBOUNDED = 1 << 30  # longer than any episode [steps]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The timing of one condition: method, delays and input ablation."""

    method: Method
    delay: DelayModel = field(default_factory=Constant)
    delay_estimator: Estimator | None = None
    """Used by `rtc` and predicted joints. None: the oracle, or the largest of the last ten for measured delays."""
    beyond_max_delay: BeyondMaxDelay = "error"
    timeout: int | None = None
    """Steps after which a missing answer is lost and the next request may go out; None: no timeout."""
    observation_delay: int = 0
    """k: a request at step t reads o_{t-k}, and o_0 in the first k steps."""
    actuation_delay: int = 0
    """a: the command of step t reaches the arm at step t + a; the hold action runs in the first a steps."""
    ablation: Ablation = field(default_factory=Ablation)
    """Input ablation; the default changes nothing."""

    def __post_init__(self) -> None:
        if self.beyond_max_delay not in ("error", "clip", "naive"):
            raise TimingError(f"beyond_max_delay is {self.beyond_max_delay!r}; there are: error, clip, naive")
        if self.timeout is not None:
            whole_steps("timeout", self.timeout, least=1)
        whole_steps("observation delay", self.observation_delay)
        whole_steps("actuation delay", self.actuation_delay)
        if isinstance(self.delay, Measured) and isinstance(self.delay_estimator, Oracle):
            raise TimingError(
                "the oracle cannot know a measured delay before it has happened; choose another estimator"
            )
        _check_timeout(self)

    @property
    def estimator(self) -> Estimator:
        """The delay estimator, with the default resolved."""
        if self.delay_estimator is not None:
            return self.delay_estimator
        return MaxOfLast() if isinstance(self.delay, Measured) else Oracle()

    @property
    def estimates_delay(self) -> bool:
        """Whether a request depends on its estimated delay."""
        return self.method.hands_over_prefix or self.ablation.predicts

    def treats(self, spec: PolicySpec) -> PolicySpec:
        """Return the spec that a policy has under this schedule.

        If a method without a prefix predicts the joints of step t + d, the answer starts at t + d: the window is then
        `shifted`, independent of the training, and d is unbounded.
        """
        if self.ablation.predicts and not self.method.hands_over_prefix:
            return replace(spec, window="shifted", min_delay=0, max_delay=_UNBOUNDED)
        return spec

    def check(self, spec: PolicySpec) -> None:
        """Refuse a schedule that cannot run with a policy.

        Raises:
            TimingError: naming the bound and the value that is outside it.
        """
        refusal = self.refusal(spec)
        if refusal is not None:
            raise TimingError(refusal)

    def check_episodes(self, seeds: Iterable[int], horizon: int) -> None:
        """Refuse a delay trace that may end before an episode does.

        Args:
            seeds: Seeds of the episodes.
            horizon: Control steps of an episode.

        Raises:
            TimingError: naming the first such episode, its recorded answers and the number it may need.
        """
        trace = self.delay.of if isinstance(self.delay, Lossy) else self.delay
        if not isinstance(trace, Trace) or trace.steps:
            return
        needed = -(-horizon // self.method.execution_horizon)
        for seed in seeds:
            arriving = sum(delay is not None for delay in trace.episodes.get(seed, ()))
            if arriving < needed:
                raise TimingError(
                    f"the delay trace holds {arriving} answers for episode seed {seed}; {horizon} steps with "
                    f"s = {self.method.execution_horizon} may need {needed} (entries of `steps` fill the gap)"
                )

    def refusal(self, spec: PolicySpec) -> str | None:
        """Return why this schedule cannot run with a policy, or None if it can."""
        if self.method.hands_over_prefix:
            reason = _refuse_estimated(self, spec)
            if reason is not None:
                return reason
        late_taps = bool(self.observation_delay or self.actuation_delay)
        reason = refuse_ablation(self.ablation, self.method, estimated_bounds(self, spec), late_taps, spec)
        reason = reason or _refuse_horizon(self, self.treats(spec))
        return reason or self.method.refusal(spec, *extremes(self.delay))


def _check_timeout(schedule: Schedule) -> None:
    low, high = extremes(schedule.delay)
    if schedule.timeout is None:
        if loses_answers(schedule.delay):
            raise TimingError("lost answers need a timeout, in steps, after which the next request may go")
        return
    if isinstance(schedule.delay, Measured) and schedule.method == Sync(schedule.method.execution_horizon, "paused"):
        raise TimingError("sync_paused waits for every measured answer and takes no timeout")
    worst = high if high is not None and is_bounded(schedule.delay) else low
    if worst > schedule.timeout:
        raise TimingError(f"delay {worst} is above the timeout of {schedule.timeout} steps: every answer would be lost")


def estimated_bounds(schedule: Schedule, spec: PolicySpec) -> tuple[int, int | None]:
    """Return the smallest and the largest estimated delay under `min_delay` and `beyond_max_delay` [steps].

    Both count from an observation of age k; in the first steps of an episode o_0 is younger.
    """
    low, high = estimated_range(schedule.estimator, *extremes(schedule.delay))
    low = max(spec.min_delay, low + schedule.observation_delay)
    high = None if high is None else max(spec.min_delay, high + schedule.observation_delay)
    max_delay = spec.max_delay
    if high is not None and high <= max_delay:
        return low, high
    match schedule.beyond_max_delay:
        case "error":
            return low, high
        case "clip":
            return min(low, max_delay), max_delay
        case "naive":
            return 0, max_delay


def _refuse_estimated(schedule: Schedule, spec: PolicySpec) -> str | None:
    if not spec.takes_prefix:
        return "rtc needs a policy that takes a prefix of committed commands; this one takes none (run it as naive)"
    _, high = estimated_bounds(schedule, spec)
    if high is None or high > spec.max_delay:
        largest = "is unbounded" if high is None else f"can reach {high}"
        if schedule.observation_delay:
            largest += f" (observation delay k = {schedule.observation_delay} included)"
        return (
            f"the estimated delay {largest}; the policy was trained for delays up to max_delay = {spec.max_delay}: "
            "choose beyond_max_delay (--beyond-max-delay) clip or naive, or another estimator"
        )
    return None


def _refuse_horizon(schedule: Schedule, spec: PolicySpec) -> str | None:
    method, chunk, k = schedule.method, spec.chunk, schedule.observation_delay
    _, high = extremes(schedule.delay)
    total, age = ("k + d", f", k = {k}") if k else ("d", "")
    if method.several_in_flight:
        if is_bounded(schedule.delay) and high is not None and k + high >= chunk:
            return f"ensemble needs {total} < C, that is {total} < {chunk}; got d = {high}{age}"
        return None
    if not method.runs_meanwhile or not is_bounded(schedule.delay) or high is None:
        s = method.execution_horizon
        return (
            None if s <= chunk else f"{method.name} needs 1 <= s <= C, with C = {chunk}: 1 <= s <= {chunk}; got s = {s}"
        )
    if method.hands_over_prefix or schedule.ablation.predicts:
        return _refuse_rtc_horizon(schedule, spec)
    rule = "d <= s <= C - (k + d)" if k else "d <= s <= C - d"
    return _outside(schedule, max(1, high), chunk - k - high, rule, chunk)


def _refuse_rtc_horizon(schedule: Schedule, spec: PolicySpec) -> str | None:
    _, high = extremes(schedule.delay)
    k = schedule.observation_delay
    estimated_low, estimated_high = estimated_bounds(schedule, spec)
    switch = max(k + (high or 0), estimated_high or 0)  # an early answer waits for the estimated step
    least = max(1, switch - k)
    start = estimated_low if spec.window == "shifted" else 0
    if switch == start:
        return _outside(schedule, least, spec.chunk, "d <= s <= C", spec.chunk)
    rule = "d <= s <= C - (latest switch - earliest window start)"
    window = f", switch {switch}, start {start}"
    return _outside(schedule, least, spec.chunk - (switch - start), rule, spec.chunk, window)


def _outside(schedule: Schedule, least: int, most: int, rule: str, chunk: int, window: str = "") -> str | None:
    name, s = executor_name(schedule.method), schedule.method.execution_horizon
    if least <= s <= most:
        return None
    low, high = extremes(schedule.delay)
    k = schedule.observation_delay
    if least > most:
        delay = f"delay {high}" if low == high else f"delays {low} .. {high}"
        late = f" and observation delay {k}" if k else ""
        signs = rule.replace("<=", "≤").replace(" - ", " − ")
        return f"`{name}` cannot run with {delay}{late}: it needs {signs}, and C = {chunk}{window} leaves no s"
    delay = f"d = {high}" if low == high else f"d in {low} .. {high}"
    age = f", k = {k}" if k else ""
    return f"{name} needs {rule}, with C = {chunk}, {delay}{age}{window}: {least} <= s <= {most}; got s = {s}"


def first_request(schedule: Schedule, spec: PolicySpec, estimate: Callable[[], int]) -> int:
    """Return the step of the first request after the chunk of step 0: `min(s, C - d)`.

    If the delay is unbounded, d is the estimated delay, or 0 for schedules without an estimate.

    Args:
        schedule: Method and delays.
        spec: The policy's spec.
        estimate: Returns the estimated delay of that request [steps].
    """
    _, high = extremes(schedule.delay)
    if is_bounded(schedule.delay) and high is not None:
        _, estimated_high = estimated_bounds(schedule, schedule.treats(spec))
        largest = (estimated_high or 0) - schedule.observation_delay
        delay = max(high, largest) if schedule.estimates_delay else high
    else:
        delay = estimate() if schedule.estimates_delay else 0
    # A second request at step 0 is useful only if its answer starts at the end of chunk 0.
    least = 0 if schedule.estimates_delay else 1
    return max(least, min(schedule.method.execution_horizon, spec.chunk - delay))
