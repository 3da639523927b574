"""Delay models: inference delays in control steps, `d = ceil(latency / Δt)`, one draw per request of an episode.

The first chunk of an episode is computed with the world stopped and draws nothing. Draw k belongs to the k-th
request after it and depends on the model and the episode seed alone, so conditions share their delays. `Measured`
reads its delays from the wall clock; only the trace of a run repeats them.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple

import numpy as np

from act_eval.errors import TimingError
from act_eval.seeding import Stream, stream
from act_eval.timing.methods import whole_steps


class Draw(NamedTuple):
    """The delay of one request, or its loss."""

    steps: int
    """Steps from the request to the first step at which the answer may act; 0 for a lost answer."""
    lost: bool = False
    """Whether the answer never arrives."""

    def within(self, timeout: int | None) -> "Draw":
        """Return the draw under a timeout; a later answer is lost."""
        return LOST if timeout is not None and self.steps > timeout else self


LOST = Draw(0, lost=True)


@dataclass(frozen=True)
class Constant:
    """Every answer takes the same time."""

    steps: int = 0
    """d."""

    def __post_init__(self) -> None:
        whole_steps("delay d", self.steps)


@dataclass(frozen=True)
class Uniform:
    """Every whole delay from `low` to `high`, both included, is equally likely."""

    low: int
    high: int

    def __post_init__(self) -> None:
        whole_steps("lower delay", self.low)
        whole_steps("upper delay", self.high)
        if self.low > self.high:
            raise TimingError(f"lower delay {self.low} is above upper delay {self.high}")


@dataclass(frozen=True)
class Lognormal:
    """`ceil(shift + X)` steps, X lognormal: a fixed floor and a long tail. Unbounded."""

    shift: float
    """The floor [steps]; may be fractional, since the sum is rounded up."""
    median: float
    """Median of X [steps]."""
    sigma: float
    """Standard deviation of log X."""

    def __post_init__(self) -> None:
        for name, value in (("shift", self.shift), ("median", self.median), ("sigma", self.sigma)):
            if not 0 <= value < math.inf:
                raise TimingError(f"{name} of a lognormal delay is {value}; it must be finite and at least 0")
        if self.median == 0:
            raise TimingError("median of a lognormal delay is 0; it must be above 0")


@dataclass(frozen=True)
class Bursty:
    """Two states (Gilbert–Elliott): a request takes `calm` steps, or `spike` steps within a burst."""

    calm: int
    spike: int
    enter: float
    """Probability that a burst begins after a calm request."""
    leave: float
    """Probability that a burst ends after a request within it."""

    def __post_init__(self) -> None:
        whole_steps("calm delay", self.calm)
        whole_steps("spike delay", self.spike)
        _probability("probability of entering a spike", self.enter)
        _probability("probability of leaving a spike", self.leave)


@dataclass(frozen=True)
class Lossy:
    """Each answer of another model is lost with a probability; needs a timeout."""

    probability: float
    of: "Constant | Uniform | Lognormal | Bursty | Trace" = field(default_factory=Constant)
    """Delays of the answers that arrive."""

    def __post_init__(self) -> None:
        _probability("probability of a lost answer", self.probability)
        if self.probability == 1:
            raise TimingError("probability of a lost answer is 1; no answer would ever arrive, it must be below 1")
        if not isinstance(self.of, Constant | Uniform | Lognormal | Bursty | Trace):
            kind = type(self.of).__name__.lower()
            raise TimingError(f"answers of a {kind} delay cannot be lost; `of` must draw delays without losses")


@dataclass(frozen=True)
class Trace:
    """Recorded delays.

    An episode with its own recording replays it from the beginning. At its end, and for all other episodes, `steps`
    repeat in a cycle from an offset drawn for the episode.
    """

    steps: tuple[int | None, ...] = ()
    """Delays, request by request; None for a lost answer."""
    episodes: Mapping[int, tuple[int | None, ...]] = field(default_factory=dict)
    """Episode seed → its delays, in the same form."""

    def __post_init__(self) -> None:
        if not self.steps and not self.episodes:
            raise TimingError("a delay trace is empty; it needs at least one delay")
        if self.steps and all(steps is None for steps in self.steps):
            raise TimingError("a delay trace holds lost answers only; no answer would ever arrive")
        for delays in (self.steps, *self.episodes.values()):
            for number, steps in enumerate(delays):
                if steps is not None:
                    whole_steps(f"entry {number} of a delay trace", steps)


@dataclass(frozen=True)
class Measured:
    """The wall-clock time of each prediction: `ceil((measured + injected) / Δt)`. Unbounded.

    Every row of a batched prediction has the time of the batch. The seed does not reproduce such a run; its trace does.
    """

    injected_ms: float = 0.0
    """Added to every measurement, to model a network or a slower machine [ms]."""

    def __post_init__(self) -> None:
        if not 0 <= self.injected_ms < math.inf:
            raise TimingError(f"injected_ms is {self.injected_ms}; it must be finite and at least 0")

    def draw(self, inference_ms: float, control_ms: float) -> Draw:
        """Return the draw of a request whose prediction took `inference_ms`, with control steps of `control_ms`."""
        return Draw(steps_of_latency(inference_ms + self.injected_ms, control_ms))


DelayModel = Constant | Uniform | Lognormal | Bursty | Lossy | Trace | Measured
"""Source of the delay of a request."""


def steps_of_latency(latency_ms: float, control_ms: float) -> int:
    """Return `ceil(latency / Δt)` in control steps."""
    return math.ceil(latency_ms / control_ms - 1e-9)  # absorbs the rounding error of whole multiples


def _probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise TimingError(f"{name} is {value}; it must be between 0 and 1")


def is_bounded(model: DelayModel) -> bool:
    """Return whether the model guarantees its bounds, so that an uncovered delay is refused before the run."""
    return isinstance(model, Constant | Uniform)


def loses_answers(model: DelayModel) -> bool:
    """Return whether answers may be lost, which requires a timeout."""
    match model:
        case Lossy():
            return True
        case Trace(steps=steps, episodes=episodes):
            return any(None in delays for delays in (steps, *episodes.values()))
        case _:
            return False


def extremes(model: DelayModel) -> tuple[int, int | None]:
    """Return the smallest and the largest delay of the model [steps]; the largest is None if unbounded."""
    match model:
        case Constant(steps):
            return steps, steps
        case Uniform(low, high):
            return low, high
        case Lognormal(shift=shift):
            return math.ceil(shift), None
        case Bursty(calm=calm, spike=spike):
            return min(calm, spike), max(calm, spike)
        case Lossy(of=inner):
            return extremes(inner)
        case Trace(steps=steps, episodes=episodes):
            every = [delay for delays in (steps, *episodes.values()) for delay in delays if delay is not None]
            return min(every, default=0), max(every, default=0)
        case Measured():
            return 0, None


def draws(model: DelayModel, episode_seed: int) -> Iterator[Draw]:
    """Return the delays of one episode, request by request."""
    if isinstance(model, Constant):
        return repeat(Draw(model.steps))
    return _draws(model, episode_seed, stream(episode_seed, Stream.DELAY))


def _draws(model: DelayModel, seed: int, rng: np.random.Generator) -> Iterator[Draw]:
    match model:
        case Constant(steps):
            yield from repeat(Draw(steps))
        case Uniform(low, high):
            while True:
                yield Draw(int(rng.integers(low, high, endpoint=True)))
        case Lognormal(shift, median, sigma):
            while True:
                yield Draw(math.ceil(shift + median * math.exp(sigma * rng.standard_normal())))
        case Bursty():
            yield from _bursty(model, rng)
        case Lossy(probability, inner):
            # Draw the inner delay in any case: conditions with other loss probabilities share it.
            for draw in _draws(inner, seed, rng):
                yield LOST if rng.random() < probability else draw
        case Trace():
            yield from _replay(model, seed, rng)
        case Measured():
            raise TimingError("measured delays cannot be drawn: they are known after the prediction")


def _bursty(model: Bursty, rng: np.random.Generator) -> Iterator[Draw]:
    spiking = False
    while True:
        yield Draw(model.spike if spiking else model.calm)
        spiking = bool(rng.random() < (1 - model.leave if spiking else model.enter))


def _replay(trace: Trace, seed: int, rng: np.random.Generator) -> Iterator[Draw]:
    own = trace.episodes.get(seed, ())
    yield from map(_recorded, own)
    if not trace.steps:
        raise TimingError(f"the delay trace holds {len(own)} delays for episode seed {seed} and one more is needed")
    place = int(rng.integers(len(trace.steps)))
    while True:
        yield _recorded(trace.steps[place])
        place = (place + 1) % len(trace.steps)


def _recorded(steps: int | None) -> Draw:
    return LOST if steps is None else Draw(steps)
