"""Ways to run chunks while the next one is being computed. All counts are in control steps.

Words: `t` step of a request's observation · `d` delay · `s` execution horizon, steps between two requests ·
`C` chunk length. The first chunk of an episode is always computed with the world stopped and starts at step 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from act_eval.errors import TimingError, UnknownName, UsageError


def whole_steps(name: str, value: object, least: int = 0) -> None:
    """Refuse a count of control steps that is no integer or is below `least`.

    Raises:
        TimingError: naming the count, its value and what is allowed.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise TimingError(f"{name} is {value!r}; it must be a whole number of control steps, at least {least}")


@dataclass(frozen=True)
class Sync:
    """Stop and wait: request when `s` actions have run, then run the new chunk from its beginning."""

    execute: int
    """s, actions run of each chunk."""
    clock: Literal["frozen", "ticking"] = "frozen"
    """`frozen`: the world stands still while the policy computes, and the time is counted as stopped.
    `ticking`: the world goes on and the hold action runs for d steps."""

    def __post_init__(self) -> None:
        whole_steps("execution horizon s", self.execute, least=1)
        if self.clock not in ("frozen", "ticking"):
            raise TimingError(f"clock is {self.clock!r}; there are: frozen, ticking")


@dataclass(frozen=True)
class Naive:
    """Run the old chunk until the new one arrives, then jump: `old[:d] + new[d:s]` between two requests."""

    execute: int
    """s, steps between two requests."""

    def __post_init__(self) -> None:
        whole_steps("execution horizon s", self.execute, least=1)


@dataclass(frozen=True)
class RTC:
    """Real-time chunking: hand over the commands that will run meanwhile, so that the new chunk continues them."""

    execute: int
    """s, steps between two requests."""

    def __post_init__(self) -> None:
        whole_steps("execution horizon s", self.execute, least=1)


@dataclass(frozen=True)
class Ensemble:
    """Average all chunks that have arrived and cover the step, weights exp(-m·i), i = 0 the oldest (ACT)."""

    every: int
    """s, steps between two requests; several may be in flight."""
    decay: float = 0.01
    """m; ACT's value. 0 weighs all alike, larger values trust the oldest chunk more."""
    newest_only: tuple[int, ...] = (-1,)
    """Action dimensions that are not averaged but taken from the newest chunk: the gripper, which comes last."""

    def __post_init__(self) -> None:
        whole_steps("execution horizon s", self.every, least=1)
        if not 0 <= self.decay < float("inf"):
            raise TimingError(f"decay m is {self.decay}; it must be a finite number, at least 0")

    @property
    def execute(self) -> int:
        """Steps between two requests, under the name that all methods share."""
        return self.every


@dataclass(frozen=True)
class Blend:
    """As `Naive`, but over the n steps that both chunks cover the new one weighs (i+1)/(n+1)."""

    execute: int
    """s, steps between two requests."""

    def __post_init__(self) -> None:
        whole_steps("execution horizon s", self.execute, least=1)


Method = Sync | Naive | RTC | Ensemble | Blend
"""How chunks are run while the next one is computed."""

METHODS: dict[str, type[Sync] | type[Naive] | type[RTC] | type[Ensemble] | type[Blend]] = {
    "sync": Sync,
    "naive": Naive,
    "rtc": RTC,
    "ensemble": Ensemble,
    "blend": Blend,
}
"""Names for the command line; each type is built with the execution horizon as its first argument."""

NOT_APPLICABLE: dict[str, str] = {
    "bid": "bidirectional decoding chooses among sampled chunks and needs a stochastic policy; "
    "ACT answers the same observation with the same chunk",
    "guided_rtc": "guided real-time chunking steers the denoising steps of a flow or diffusion policy; ACT has none",
}
"""Known methods that are not offered, with the reason."""


EXECUTORS: dict[str, Callable[[int], Method]] = {**METHODS, "sync_ticking": partial(Sync, clock="ticking")}
"""Name on the command line → builder of a method from the execution horizon."""


def check_executor(name: str) -> None:
    """Refuse a name that is no executor.

    Raises:
        UsageError: saying why it is not offered, or what is.
    """
    if name in NOT_APPLICABLE:
        raise UsageError(f"executor {name!r} is not offered: {NOT_APPLICABLE[name]}")
    if name not in EXECUTORS:
        raise UnknownName("executor", name, EXECUTORS)


def executor_name(method: Method) -> str:
    """Return the name under which `EXECUTORS` lists a method."""
    return "sync_ticking" if isinstance(method, Sync) and method.clock == "ticking" else method_name(method)


def method_name(method: Method) -> str:
    """Return the name under which `METHODS` lists the type of `method`."""
    return next(name for name, kind in METHODS.items() if isinstance(method, kind))
