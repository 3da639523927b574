"""Which execution horizons a method can keep under a delay model, and the refusal of all others.

A chunk must last until the next one takes over, and a request must wait for the one before it. What that means
for s is in DESIGN §4 for a constant delay d; for delays between `low` and `high` the same two conditions read
`high ≤ s` (one request in flight) and `s ≤ C - (k + high - start)`, k being the age of the observation that a
request reads and `start` the steps after that observation at which a window begins: 0 for the same window, the least
estimated delay for a shifted one.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from act_eval.errors import TimingError
from act_eval.timing.ablation import Shown, refuse_shown
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
from act_eval.timing.methods import Method, Sync, whole_steps
from act_eval.types import PolicySpec

BeyondMaxDelay = Literal["error", "clip", "naive"]
"""What happens when an estimated delay is above the policy's `max_delay`: refuse, tell `max_delay` instead, or ask
without a prefix as `naive` does."""

_UNBOUNDED = 1 << 30  # a delay that no episode lasts [steps]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How one arm runs its chunks in time."""

    method: Method
    delay: DelayModel = field(default_factory=Constant)
    delay_estimator: Estimator | None = None
    """Estimator of the estimated delay, which only `rtc` and predicted joints need. None: the oracle, and for measured
    delays, which no oracle knows, the largest of the last ten."""
    beyond_max_delay: BeyondMaxDelay = "error"
    timeout: int | None = None
    """Steps after which a missing answer is lost and the next request may go; None: answers are waited for."""
    observation_delay: int = 0
    """k: the freshest observation that a request at step t can read is o_{t-k}, and o_0 before there is one."""
    actuation_delay: int = 0
    """a: what is decided at step t reaches the arm at step t + a; the hold action runs in the first a steps."""
    shown: Shown = field(default_factory=Shown)
    """What the policy is shown of prefix and joints, where it is not what there is."""

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
        """What tells the delay, with the default resolved."""
        if self.delay_estimator is not None:
            return self.delay_estimator
        return MaxOfLast() if isinstance(self.delay, Measured) else Oracle()

    @property
    def estimates_delay(self) -> bool:
        """Whether a request depends on the delay that is expected of it."""
        return self.method.hands_over_prefix or self.shown.predicts

    def treats(self, spec: PolicySpec) -> PolicySpec:
        """Return what a policy counts as under this schedule.

        Handed joints of step t + d by a method without prefix, it answers for t + d on: its window is then shifted,
        whatever it was trained with, and nothing bounds d.
        """
        if self.shown.predicts and not self.method.hands_over_prefix:
            return replace(spec, window="shifted", max_delay=_UNBOUNDED)
        return spec

    def check(self, spec: PolicySpec) -> None:
        """Refuse what cannot run with a policy.

        Raises:
            TimingError: naming the bound and the value that is outside it.
        """
        refusal = self.refusal(spec)
        if refusal is not None:
            raise TimingError(refusal)

    def check_episodes(self, seeds: Iterable[int], horizon: int) -> None:
        """Refuse a delay trace that may end before its episodes do.

        Args:
            seeds: Of the episodes.
            horizon: Control steps of an episode.

        Raises:
            TimingError: naming the first such episode, what its recording holds and what it may need.
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
                    f"s = {self.method.execution_horizon} may need {needed} (delays under `steps` serve what is missing)"
                )

    def refusal(self, spec: PolicySpec) -> str | None:
        """Return why this schedule cannot run with a policy, or None where it can."""
        if self.method.hands_over_prefix:
            reason = _refuse_estimated(self, spec)
            if reason is not None:
                return reason
        late_taps = bool(self.observation_delay or self.actuation_delay)
        reason = refuse_shown(self.shown, self.method, estimated_bounds(self, spec.max_delay), late_taps, spec)
        reason = reason or _refuse_horizon(self, self.treats(spec))
        return reason or self.method.refusal(spec, *extremes(self.delay))


def _check_timeout(schedule: Schedule) -> None:
    low, high = extremes(schedule.delay)
    if schedule.timeout is None:
        if loses_answers(schedule.delay):
            raise TimingError("lost answers need a timeout, in steps, after which the next request may go")
        return
    if isinstance(schedule.delay, Measured) and schedule.method == Sync(schedule.method.execution_horizon, "paused"):
        raise TimingError("a stopped world waits for every measured answer: sync_paused takes no timeout with them")
    worst = high if high is not None and is_bounded(schedule.delay) else low
    if worst > schedule.timeout:
        raise TimingError(
            f"delay {worst} is above the timeout of {schedule.timeout} steps: its answers would all be lost"
        )


def estimated_bounds(schedule: Schedule, max_delay: int) -> tuple[int, int | None]:
    """Return the least and the largest delay that a policy is told under `beyond_max_delay` [steps].

    Both count from an observation of full age; in the first steps of an episode o_0 is younger, and less is told.
    """
    low, high = estimated_range(schedule.estimator, *extremes(schedule.delay))
    low += schedule.observation_delay
    high = None if high is None else high + schedule.observation_delay
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
    _, high = estimated_bounds(schedule, spec.max_delay)
    if high is None or high > spec.max_delay:
        what = "an unbounded delay" if high is None else f"delay {high}"
        if schedule.observation_delay:
            what += f" (the observation's age k = {schedule.observation_delay} included)"
        return (
            f"{what} may be told to a policy trained for delays up to max_delay = {spec.max_delay}; "
            "choose beyond_max_delay (--beyond-max-delay) clip or naive, or another estimator"
        )
    return None


def _refuse_horizon(schedule: Schedule, spec: PolicySpec) -> str | None:
    method, chunk, k = schedule.method, spec.chunk, schedule.observation_delay
    low, high = extremes(schedule.delay)
    total, age = ("k + d", f", k = {k}") if k else ("d", "")
    if method.several_in_flight:
        if is_bounded(schedule.delay) and high is not None and k + high >= chunk:
            return f"ensemble needs {total} < C, that is {total} < {chunk}; got d = {high}{age}"
        return None
    if not method.runs_meanwhile or not is_bounded(schedule.delay) or high is None:
        return _outside(method, 1, chunk, "1 <= s <= C", f"C = {chunk}")
    given = f"C = {chunk}, d = {high}{age}" if low == high else f"C = {chunk}, d in {low} .. {high}{age}"
    if method.hands_over_prefix or schedule.shown.predicts:
        return _refuse_rtc_horizon(schedule, spec, given)
    rule = "d <= s <= C - (k + d)" if k else "d <= s <= C - d"
    return _outside(method, max(1, high), chunk - k - high, rule, given)


def _refuse_rtc_horizon(schedule: Schedule, spec: PolicySpec, given: str) -> str | None:
    _, high = extremes(schedule.delay)
    k = schedule.observation_delay
    estimated_low, estimated_high = estimated_bounds(schedule, spec.max_delay)
    takes_over = max(k + (high or 0), estimated_high or 0)  # an early answer waits for the told step
    least = max(1, takes_over - k)
    begins = estimated_low if spec.window == "shifted" else 0
    if takes_over == begins:
        return _outside(schedule.method, least, spec.chunk, "d <= s <= C", given)
    rule = "d <= s <= C - (largest takeover - earliest start of a window)"
    given = f"{given}, takeover {takes_over}, start {begins}"
    return _outside(schedule.method, least, spec.chunk - (takes_over - begins), rule, given)


def _outside(method: Method, least: int, most: int, rule: str, given: str) -> str | None:
    s = method.execution_horizon
    if least <= s <= most:
        return None
    region = f"{least} <= s <= {most}" if least <= most else "no s at all"
    return f"{method.name} needs {rule}, with {given}: {region}; got s = {s}"


def first_request(schedule: Schedule, spec: PolicySpec, estimate: Callable[[], int]) -> int:
    """Return the step of the first request after the chunk of step 0: `min(s, C - d)`.

    Where the delay model has no bound, d is what is estimated, and 0 for schedules that estimate nothing.

    Args:
        schedule: Method and delays.
        spec: The policy's.
        estimate: Gives the estimated delay of that request [steps].
    """
    _, high = extremes(schedule.delay)
    if is_bounded(schedule.delay) and high is not None:
        _, estimated_high = estimated_bounds(schedule, schedule.treats(spec).max_delay)
        delay_estimator = (estimated_high or 0) - schedule.observation_delay
        takes_over = max(high, delay_estimator) if schedule.estimates_delay else high
    else:
        takes_over = estimate() if schedule.estimates_delay else 0
    # At step 0 only an answer that begins where chunk 0 ends is worth asking for again.
    least = 0 if schedule.estimates_delay else 1
    return max(least, min(schedule.method.execution_horizon, spec.chunk - takes_over))
