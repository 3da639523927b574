"""One verdict per input from its effects: used, weak, ignored, or inconclusive where the policy's noise may hide it.

The thresholds come from the shipped policies and copies of them with one input cut off or not normalised; numbers in
docs/mode-collapse.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from act_eval.diagnostics.changes import EXCHANGED, SHUFFLED
from act_eval.diagnostics.effects import Effect
from act_eval.types import ENVIRONMENT_STATE

InputMode = Literal["used", "weak", "ignored", "not an input", "inconclusive"]

NUMERICAL = 1e-5
"""A chunk that moves less than this does not move: 0.003 mm at the end of a stretched arm [rad]."""
NOISE_FACTOR = 3.0
"""An effect must exceed the difference between identical requests by this factor."""
HIDING_SHARE = 0.001
"""Noise above this share of the effect of exchanging the whole observation may hide an input."""
USED_SHARE = 0.33
"""A used input, exchanged for another episode's, has at least this share of the effect of exchanging the whole
observation."""
TURNED_SHARE = 0.5
"""A used goal input, exchanged for the other block's, turns at least this share of the open chunks to another block."""
MIN_OBSERVATIONS = 16
"""Smallest number of observations for a verdict."""
MIN_OPEN = 4
"""Smallest number of open observations for a statement about the choice."""


@dataclass(frozen=True)
class InputVerdict:
    """The verdict on one input."""

    input: str
    """Name in the policy's spec."""
    mode: InputMode
    evidence: str

    @property
    def line(self) -> str:
        """`NAME VERDICT evidence`."""
        return f"{self.input.removeprefix('observation.')} {self.mode} {self.evidence}"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The reference for effects."""

    whole: Effect
    """Exchanging the whole observation for another episode's."""
    noise: float
    """Largest difference between the chunks of two identical requests [rad]."""
    observations: int
    open: int
    """Observations in which the choice of a block is open."""

    @property
    def floor(self) -> float:
        """Effects below this count as none [rad]."""
        return max(NUMERICAL, NOISE_FACTOR * self.noise)

    def hides(self, share: float) -> bool:
        """Return whether an effect of this share of the whole observation's could be below the floor."""
        return self.floor > max(NUMERICAL, share * self.whole.rad)


def verdict_on(name: str, effects: Sequence[Effect], scale: Scale) -> InputVerdict:
    """Return the verdict on a declared input from the effects of its changes."""
    if scale.observations < MIN_OBSERVATIONS:
        return InputVerdict(
            name, "inconclusive", f"from {scale.observations} observations; {MIN_OBSERVATIONS} are needed"
        )
    mine = [effect for effect in effects if effect.input == name]
    if not mine:
        return InputVerdict(name, "inconclusive", "the environment does not provide it")
    largest = max(effect.most_rad for effect in mine)
    if largest <= scale.floor and scale.hides(HIDING_SHARE):
        return InputVerdict(name, "inconclusive", _hidden_evidence(largest, scale))
    if largest <= scale.floor:
        return InputVerdict(name, "ignored", _ignored_evidence(mine, scale))
    shuffled = next(effect for effect in mine if effect.name == SHUFFLED)
    exchanged = next((effect for effect in mine if effect.name == EXCHANGED), None)
    if shuffled.rad <= scale.floor and scale.hides(USED_SHARE):
        return InputVerdict(name, "inconclusive", _hidden_evidence(shuffled.most_rad, scale))
    used = shuffled.rad >= USED_SHARE * scale.whole.rad and shuffled.rad > scale.floor
    texts = [_moved(shuffled, scale)]
    if name == ENVIRONMENT_STATE and exchanged is not None and exchanged.turned is not None:
        used &= scale.open < MIN_OPEN or exchanged.turned >= TURNED_SHARE * scale.open
        texts.append(f"the other block's turn {exchanged.turned} of {scale.open} open chunks to it")
    return InputVerdict(name, "used" if used else "weak", "; ".join(texts))


def _moved(effect: Effect, scale: Scale) -> str:
    where = "" if effect.mm is None else f", {effect.mm:.1f} mm at the gripper"
    share = 100 * effect.rad / scale.whole.rad if scale.whole.rad > 0 else 0.0
    rigid = " beyond moving along with the joints" if effect.rigid else ""
    return f"another episode's moves the chunk by {effect.rad:.4f} rad{where}{rigid} ({share:.0f} % of all inputs')"


def _hidden_evidence(effect: float, scale: Scale) -> str:
    return (
        f"identical requests differ by {scale.noise:.1e} rad, which may hide it: its changes move the chunk by at most "
        f"{effect:.1e} rad; repeat with a policy that answers the same request alike"
    )


def _ignored_evidence(effects: Sequence[Effect], scale: Scale) -> str:
    names = ", ".join(effect.name for effect in effects)
    rigid = "; the chunk moves along with the joints that it is relative to, and that is all"
    more = rigid if any(effect.rigid for effect in effects) else ""
    return f"no change moves the chunk by more than {scale.floor:.0e} rad ({names}){more}"
