"""Methods: how chunks run while the next one is computed. All counts are in control steps.

Legend: `t` step of a request's observation · `d` delay · `s` execution horizon, steps between two requests ·
`C` chunk length · `A` action dim. The first chunk of an episode is always computed with the world stopped and starts
at step 0.

A user-defined method is a subclass of `Method` or of a shipped one: it overrides `merge` or `action_at`, and its
dataclass fields are its options.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache, partial
from typing import Any, ClassVar, Literal

import numpy as np

from act_eval.errors import TimingError, UnknownName, UsageError
from act_eval.types import Chunk, FloatArray, PolicySpec

_NO_ACTIONS = np.zeros((0, 0), np.float32)


def whole_steps(name: str, value: object, least: int = 0) -> None:
    """Refuse a count of control steps that is not an integer or is below `least`.

    Raises:
        TimingError: naming the count, its value and what is allowed.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise TimingError(f"{name} is {value!r}; it must be a whole number of control steps, at least {least}")


@dataclass(frozen=True)
class Method:
    """Computes the command of a step from the chunks that have arrived.

    The scheduler sends requests and keeps time; a method receives a chunk at the step at which it may act. Without
    overrides the newest chunk runs and replaces the one before.
    """

    execution_horizon: int
    """s, steps between two requests."""

    hands_over_prefix: ClassVar[bool] = False
    """Whether requests carry the committed prefix, for a policy that takes one. `rtc`'s bounds on s then apply."""
    several_in_flight: ClassVar[bool] = False
    """Whether a request goes out every s steps even while older ones are unanswered. `ensemble`'s bounds then apply."""
    runs_meanwhile: ClassVar[bool] = True
    """Whether the old chunk runs during inference. False: any 1 <= s <= C is allowed with any delay."""
    allows_predicted_joints: ClassVar[bool] = True
    """Whether the policy's input may hold joints predicted for the step at which its answer acts."""

    def __post_init__(self) -> None:
        whole_steps("execution horizon s", self.execution_horizon, least=1)

    @property
    def name(self) -> str:
        """Name in conditions and tables: the shipped name, or a user's class name in snake case."""
        shipped = next((name for name, kind in METHODS.items() if type(self) is kind), None)
        return shipped or snake_case(type(self).__name__)

    @property
    def options(self) -> dict[str, Any]:
        """Options that are not at their default, by name."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "execution_horizon"}
        return {name: value for name, value in values.items() if value != getattr(type(self), name, MISSING)}

    @property
    def defined_by(self) -> type | Callable[..., Any]:
        """The class whose source defines the method."""
        return type(self)

    def refusal(self, spec: PolicySpec, low: int, high: int | None) -> str | None:
        """Return why the method cannot run with a policy, in addition to the bounds on s; None if it can.

        Args:
            spec: The policy's spec.
            low: Smallest delay [steps].
            high: Largest delay [steps]; None if the delay is unbounded.
        """
        return None

    def merge(self, old: FloatArray, new: FloatArray, delay: int) -> FloatArray:
        """Return the actions to run from the step at which a new chunk may first act.

        Args:
            old: (m, A) actions that would run from this step on without the new chunk; m = 0 if there are none.
            new: (n, A) actions of the new chunk from this step on, n >= 1.
            delay: d, actual delay of the new chunk from its observation.

        Returns:
            (n, A): `new` itself to switch at once.
        """
        return new

    def action_at(self, chunks: Sequence[Chunk], step: int) -> FloatArray:
        """Return the (A,) command for a step.

        Also called for later steps, to predict the committed commands of a request, so the result must depend on the
        arguments alone.

        Args:
            chunks: The installed chunks that cover the step, the one with the newest observation last; at least one.
            step: The step.
        """
        return chunks[-1].at(step)

    def install(self, installed: Sequence[Chunk], new: Chunk, step: int) -> list[Chunk]:
        """Return the chunks that may act from a step on, newest observation last: the new one, merged.

        Override it to keep older chunks for `action_at`; `kept` does that.
        """
        if not installed or not new.covers(step):
            return [new]
        newest = installed[-1]
        old = newest.since(step) if newest.covers(step) else _NO_ACTIONS
        unmerged = new.since(step)
        merged = self.merge(old, unmerged, new.request.actual)
        if merged is unmerged:
            return [new]
        if np.shape(merged) != unmerged.shape:
            shapes = f"{np.shape(merged)}; expected {unmerged.shape}, the shape of `new`"
            raise UsageError(f"executor {self.name}: merge returned shape {shapes}")
        actions = new.actions.copy()
        actions[step - new.request.start :] = merged
        return [replace(new, actions=actions)]

    def actions_from(self, chunks: Sequence[Chunk], step: int) -> FloatArray:
        """Return the (n, A) commands for a step and the steps after it, from chunks that cover the step."""
        if not chunks:
            return _NO_ACTIONS
        if len(chunks) == 1 and type(self).action_at is Method.action_at:
            return chunks[0].since(step)
        end = chunks[-1].request.start + len(chunks[-1].actions)
        return np.array([self.action_at([c for c in chunks if c.covers(at)], at) for at in range(step, end)])


def kept(installed: Sequence[Chunk], new: Chunk, step: int) -> list[Chunk]:
    """Return the new chunk and all installed ones that reach a step, the one with the newest observation last."""
    chunks = [old for old in installed if old.covers(step)]
    chunks.append(new)
    chunks.sort(key=lambda chunk: chunk.request.number)
    return chunks


@dataclass(frozen=True)
class Sync(Method):
    """Stop and wait: request when `s` actions have run, then run the new chunk from its beginning."""

    clock: Literal["paused", "hold"] = "paused"
    """`paused`: the world stops during inference, counted in `stopped_steps`. `hold`: the world goes on, and the hold
    action runs for d steps."""

    runs_meanwhile: ClassVar[bool] = False
    allows_predicted_joints: ClassVar[bool] = False

    @property
    def options(self) -> dict[str, Any]:
        return {}  # the clock is in the name: sync_paused, sync_hold

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clock not in ("paused", "hold"):
            raise TimingError(f"clock is {self.clock!r}; there are: paused, hold")


@dataclass(frozen=True)
class Naive(Method):
    """Run the old chunk until the new one arrives, then jump: `old[:d] + new[d:s]` between two requests."""


@dataclass(frozen=True)
class RTC(Method):
    """Real-time chunking: the policy is conditioned on the commands that run during inference and continues them."""

    hands_over_prefix: ClassVar[bool] = True


@dataclass(frozen=True)
class Ensemble(Method):
    """Average all chunks that have arrived and cover the step, weights exp(-m·i), i = 0 the oldest (ACT)."""

    decay: float = 0.01
    """m; ACT's value. 0 weighs all alike, larger values trust the oldest chunk more."""
    newest_only: tuple[int, ...] | None = None
    """Action dimensions that come from the newest chunk without averaging, such as a gripper. None: those that the
    environment declares as `gripper_dims`."""

    several_in_flight: ClassVar[bool] = True
    allows_predicted_joints: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.decay < float("inf"):
            raise TimingError(f"decay m is {self.decay}; it must be a finite number, at least 0")
        if not all(isinstance(dim, int) and not isinstance(dim, bool) for dim in self._newest):
            raise TimingError(f"newest_only is {self.newest_only!r}; it must be action dimensions, as in [-1]")

    @property
    def _newest(self) -> list[int]:
        return list(self.newest_only or ())

    def refusal(self, spec: PolicySpec, low: int, high: int | None) -> str | None:
        if all(-spec.action_dim <= dim < spec.action_dim for dim in self._newest):
            return None
        return f"newest_only is {self._newest}; an action has the dimensions 0 to {spec.action_dim - 1}"

    def install(self, installed: Sequence[Chunk], new: Chunk, step: int) -> list[Chunk]:
        return kept(installed, new, step)

    def action_at(self, chunks: Sequence[Chunk], step: int) -> FloatArray:
        actions = np.array([chunk.at(step) for chunk in chunks])
        command = (_weights(self.decay, len(chunks)) * actions).sum(axis=0).astype(np.float32)
        command[self._newest] = actions[-1, self._newest]
        return command

    def actions_from(self, chunks: Sequence[Chunk], step: int) -> FloatArray:
        if len(chunks) < 2:
            return chunks[-1].since(step) if chunks else _NO_ACTIONS
        ahead = [chunk.since(step) for chunk in chunks]
        actions = np.zeros((len(ahead), *ahead[-1].shape), np.float32)
        weights = np.zeros((len(ahead), len(ahead[-1]), 1))
        for oldest, (own, weight) in enumerate(zip(ahead, _weights(self.decay, len(ahead)), strict=True)):
            actions[oldest, : len(own)], weights[oldest, : len(own)] = own, weight
        commands = ((weights * actions).sum(axis=0) / weights.sum(axis=0)).astype(np.float32)
        commands[:, self._newest] = actions[-1][:, self._newest]
        return commands


@cache
def _weights(decay: float, count: int) -> np.ndarray:
    """Return (count, 1) weights exp(-m·i) that sum to 1, i = 0 the oldest."""
    weights = np.exp(-decay * np.arange(count))
    return (weights / weights.sum())[:, None]


@dataclass(frozen=True)
class Blend(Method):
    """As `Naive` with a linear cross-fade: step i of n shared steps gives the new chunk weight (i+1)/(n+1)."""

    allows_predicted_joints: ClassVar[bool] = False

    def merge(self, old: FloatArray, new: FloatArray, delay: int) -> FloatArray:
        count = min(len(old), len(new))
        if count == 0:
            return new
        weight = np.arange(1, count + 1, dtype=np.float32)[:, None] / np.float32(count + 1)
        merged = new.copy()
        merged[:count] = weight * new[:count] + (1 - weight) * old[:count]
        return merged


METHODS: dict[str, type[Method]] = {
    "sync_paused": Sync,
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
"""Known methods that are not available, with the reason."""


EXECUTORS: dict[str, Callable[[int], Method]] = {**METHODS, "sync_hold": partial(Sync, clock="hold")}
"""Name on the command line → builder of a method from the execution horizon."""


def check_executor(name: str) -> None:
    """Refuse an unknown executor name.

    Raises:
        UsageError: with the reason for a known method, else with the available names.
    """
    if name == "sync":
        raise UsageError(
            "executor 'sync' is ambiguous: sync_paused stops the world during inference, sync_hold holds the robot"
        )
    if name in NOT_APPLICABLE:
        raise UsageError(f"executor {name!r} is not offered: {NOT_APPLICABLE[name]}")
    if name not in EXECUTORS:
        raise UnknownName("executor", name, EXECUTORS)


def executor_name(method: Method) -> str:
    """Return a method's key in `EXECUTORS`, or the `name` of a user's method."""
    return "sync_hold" if isinstance(method, Sync) and method.clock == "hold" else method.name


def is_shipped(method: Method) -> bool:
    """Return whether a method's type is one of `METHODS`."""
    return type(method) in METHODS.values()


def snake_case(name: str) -> str:
    """Return `CrossFade` as `cross_fade`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
