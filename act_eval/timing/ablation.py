"""Ablations of the inputs that describe the time of inference: the committed prefix and the joints.

An ablation changes the policy's input and leaves the committed commands as they are, so a change of the success rate
shows that the policy uses the input. Only requests with an estimated delay are ablated; the first chunk of an episode
has no committed prefix.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

from act_eval.errors import TimingError, UnknownName
from act_eval.timing.methods import Method
from act_eval.types import PolicySpec

Proprio = Literal["observed", "predicted", "predicted-with-gripper"]
"""Joints in the policy's input.

`observed`: those of the observation. `predicted`: the last committed command, as the joints at the step at which the
answer starts to act (VLASH's rule for absolute targets), with the observed gripper. `predicted-with-gripper`: the
gripper's last command too, which a gripper that holds an object never reaches."""


@dataclass(frozen=True)
class CommittedPrefix:
    """The committed commands, unchanged."""


@dataclass(frozen=True)
class ExpertPrefix:
    """The commands of the scripted expert for those steps, if it took over at the observation."""


@dataclass(frozen=True)
class PadPrefix:
    """Padding in place of all commands; the estimated delay is unchanged."""


@dataclass(frozen=True)
class ShuffledPrefix:
    """The committed commands in a random order without a fixed point, from a stream of the episode's seed."""


@dataclass(frozen=True)
class WrongDelay:
    """An estimated delay with an offset; the prefix is cut, or extended by planned commands.

    Only the conditioning changes: the executor still starts the chunk at the estimated delay without the offset.
    """

    offset: int = 2
    """Added to the estimated delay [steps]."""

    def __post_init__(self) -> None:
        if not isinstance(self.offset, int) or isinstance(self.offset, bool) or self.offset == 0:
            raise TimingError(f"the offset of wrong_delay is {self.offset!r}; it must be a whole number other than 0")


PrefixAblation = CommittedPrefix | ExpertPrefix | PadPrefix | ShuffledPrefix | WrongDelay
"""The prefix in the policy's input."""

PREFIXES: dict[str, type[PrefixAblation]] = {
    "committed": CommittedPrefix,
    "expert": ExpertPrefix,
    "pad": PadPrefix,
    "shuffled": ShuffledPrefix,
    "wrong_delay": WrongDelay,
}
"""Names for the command line; `wrong_delay` may be followed by `:OFFSET`."""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """The input ablation of a condition; the default changes nothing."""

    prefix: PrefixAblation = field(default_factory=CommittedPrefix)
    proprio: Proprio = "observed"

    def __post_init__(self) -> None:
        if self.proprio not in get_args(Proprio):
            raise UnknownName("proprio", str(self.proprio), get_args(Proprio))

    @property
    def offset(self) -> int:
        """Offset of the estimated delay [steps]."""
        return self.prefix.offset if isinstance(self.prefix, WrongDelay) else 0

    @property
    def predicts(self) -> bool:
        """Whether the joints are predicted."""
        return self.proprio != "observed"


def parse_prefix(text: str) -> PrefixAblation:
    """Return the prefix that a text names: `committed`, `expert`, `pad`, `shuffled`, `wrong_delay` or `wrong_delay:-2`.

    Raises:
        TimingError: naming the text and the alternatives.
    """
    name, colon, rest = text.strip().partition(":")
    if name not in PREFIXES:
        raise TimingError(f"prefix {text!r}: there is no {name!r}; there are: {', '.join(PREFIXES)}")
    if not colon:
        return PREFIXES[name]()
    if name != "wrong_delay":
        raise TimingError(f"prefix {text!r}: {name} takes no parameters")
    try:
        return WrongDelay(int(rest))
    except ValueError:
        raise TimingError(f"prefix {text!r}: the offset is {rest!r}; it must be a whole number of steps") from None


def describe_prefix(prefix: PrefixAblation) -> str:
    """Return the text that names a prefix; `parse_prefix` reads it back."""
    if isinstance(prefix, WrongDelay):
        return f"wrong_delay:{prefix.offset}"
    return next(name for name, kind in PREFIXES.items() if type(prefix) is kind)


def refuse_ablation(
    ablation: Ablation, method: Method, estimated: tuple[int, int | None], late_taps: bool, spec: PolicySpec
) -> str | None:
    """Return why a method does not support an ablation, or None if it does.

    Args:
        ablation: The requested ablation.
        method: The condition's method.
        estimated: Smallest and largest estimated delay [steps]; the largest is None if it is unbounded.
        late_taps: Whether there is an observation or actuation delay.
        spec: The policy's spec.
    """
    if ablation.predicts and not method.allows_predicted_joints:
        return (
            f"predicted joints need naive or rtc; got {method.name}, which "
            "waits at rest or mixes chunks that were predicted for different moments"
        )
    if ablation.predicts and estimated[1] == 0:
        return f"joints {ablation.proprio!r} equal the observed joints at estimated delay 0"
    if ablation.predicts and spec.history > 1:
        return f"joints {ablation.proprio!r} replace those of one observation; the policy reads {spec.history}"
    if isinstance(ablation.prefix, CommittedPrefix):
        return None
    return _refuse_prefix(ablation, method, estimated, late_taps, spec)


def _refuse_prefix(
    ablation: Ablation, method: Method, estimated: tuple[int, int | None], late_taps: bool, spec: PolicySpec
) -> str | None:
    name, (low, high) = describe_prefix(ablation.prefix), estimated
    if not method.hands_over_prefix:
        return f"prefix {name!r} needs rtc, the only method with a prefix; got {method.name}"
    if late_taps and isinstance(ablation.prefix, ExpertPrefix | WrongDelay):
        return f"prefix {name!r} needs observation delay 0 and actuation delay 0"
    if isinstance(ablation.prefix, WrongDelay):
        least, most = low + ablation.offset, None if high is None else high + ablation.offset
        if least < spec.min_delay or most is None or most > spec.max_delay:
            estimated_text = f"{least}" if least == most else f"{least} .. {most}"
            taken = f"{spec.min_delay} .. {spec.max_delay}"
            return f"prefix {name!r} gives estimated delay {estimated_text}; the policy takes {taken}"
        return None
    needed = 2 if isinstance(ablation.prefix, ShuffledPrefix) else 1
    if high is not None and high < needed:
        commands = "command" if needed == 1 else "commands"
        return f"prefix {name!r} needs {needed} committed {commands} or more; the estimated delay is {high}"
    return None
