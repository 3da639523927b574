"""What a policy is shown of what will run while it computes: its prefix, an ablation of it, predicted joints.

Nothing here changes which commands run meanwhile: those are committed, whatever the policy is shown. How success
changes with what is shown tells whether a policy uses it. Only requests with an estimated delay are changed; the first
chunk of an episode commits nothing and is always asked for as it is.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

from act_eval.errors import TimingError, UnknownName
from act_eval.timing.methods import Method
from act_eval.types import PolicySpec

Proprio = Literal["observed", "predicted", "predicted-with-gripper"]
"""Which joints a policy is handed with the images and coordinates of the observation.

`observed`: those of the observation. `predicted`: those expected when the answer begins to act, the last command that
is committed (VLASH's rule for absolute targets), the gripper as observed. `predicted-with-gripper`: the gripper's last command
too, which a gripper that holds something never reaches."""


@dataclass(frozen=True)
class CommittedPrefix:
    """The committed commands, which will run."""


@dataclass(frozen=True)
class ExpertPrefix:
    """Ground truth: what the scripted expert would command in those steps if it took over at the observation."""


@dataclass(frozen=True)
class PadPrefix:
    """None of the commands: the policy sees padding in their place, and the estimated delay."""


@dataclass(frozen=True)
class ShuffledPrefix:
    """The committed commands in a random order of which none keeps its place, from a stream of the episode's seed."""


@dataclass(frozen=True)
class WrongDelay:
    """An estimated delay that is off, with the prefix cut, or extended by what the plan would run.

    The answer is run as if the policy had been told rightly.
    """

    offset: int = 2
    """Added to the estimated delay [steps]."""

    def __post_init__(self) -> None:
        if not isinstance(self.offset, int) or isinstance(self.offset, bool) or self.offset == 0:
            raise TimingError(f"the offset of wrong_delay is {self.offset!r}; it must be a whole number other than 0")


PrefixShown = CommittedPrefix | ExpertPrefix | PadPrefix | ShuffledPrefix | WrongDelay
"""What stands in the place of the committed prefix."""

PREFIXES: dict[str, type[PrefixShown]] = {
    "committed": CommittedPrefix,
    "expert": ExpertPrefix,
    "pad": PadPrefix,
    "shuffled": ShuffledPrefix,
    "wrong_delay": WrongDelay,
}
"""Names for the command line; `wrong_delay` may be followed by `:OFFSET`."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a condition shows its policy."""

    prefix: PrefixShown = field(default_factory=CommittedPrefix)
    proprio: Proprio = "observed"

    def __post_init__(self) -> None:
        if self.proprio not in get_args(Proprio):
            raise UnknownName("proprio", str(self.proprio), get_args(Proprio))

    @property
    def offset(self) -> int:
        """What is added to the estimated delay [steps]."""
        return self.prefix.offset if isinstance(self.prefix, WrongDelay) else 0

    @property
    def predicts(self) -> bool:
        """Whether the joints are predicted."""
        return self.proprio != "observed"


def parse_prefix(text: str) -> PrefixShown:
    """Return the prefix that a text names: `committed`, `expert`, `pad`, `shuffled`, `wrong_delay` or `wrong_delay:-2`.

    Raises:
        TimingError: naming the text and what there is.
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


def describe_prefix(prefix: PrefixShown) -> str:
    """Return the text that names a prefix; `parse_prefix` reads it back."""
    if isinstance(prefix, WrongDelay):
        return f"wrong_delay:{prefix.offset}"
    return next(name for name, kind in PREFIXES.items() if type(prefix) is kind)


def refuse_shown(
    shown: Shown, method: Method, estimated: tuple[int, int | None], late_taps: bool, spec: PolicySpec
) -> str | None:
    """Return why a method cannot show a policy this, or None where it can.

    Args:
        shown: What is asked for.
        method: The condition's.
        estimated: Least and largest estimated delay [steps]; None where nothing bounds it.
        late_taps: Whether observations or commands are late.
        spec: The policy's.
    """
    if shown.predicts and not method.allows_predicted_joints:
        return (
            f"joints are predicted under naive and rtc; got {method.name}, which "
            "waits at rest or mixes chunks that were predicted for different moments"
        )
    if shown.predicts and estimated[1] == 0:
        return f"joints {shown.proprio!r} are the observed ones where the estimated delay is 0"
    return (
        None if isinstance(shown.prefix, CommittedPrefix) else _refuse_prefix(shown, method, estimated, late_taps, spec)
    )


def _refuse_prefix(
    shown: Shown, method: Method, estimated: tuple[int, int | None], late_taps: bool, spec: PolicySpec
) -> str | None:
    name, (low, high) = describe_prefix(shown.prefix), estimated
    if not method.hands_over_prefix:
        return f"prefix {name!r} needs rtc, which alone hands over a prefix; got {method.name}"
    if late_taps and isinstance(shown.prefix, ExpertPrefix | WrongDelay):
        return f"prefix {name!r} counts from the present: it needs observation delay 0 and actuation delay 0"
    if isinstance(shown.prefix, WrongDelay):
        least, most = low + shown.offset, None if high is None else high + shown.offset
        if least < 0 or most is None or most > spec.max_delay:
            estimated_text = f"{least}" if least == most else f"{least} .. {most}"
            return f"prefix {name!r} would tell delay {estimated_text}; the policy takes 0 .. {spec.max_delay}"
        return None
    needed = 2 if isinstance(shown.prefix, ShuffledPrefix) else 1
    if high is not None and high < needed:
        commands = "command" if needed == 1 else "commands"
        return f"prefix {name!r} needs {needed} committed {commands} or more; the estimated delay is {high}"
    return None
