"""What `@pytest.mark.success_rate(...)` asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from act_eval.comparison.sequential import StoppingRule
from act_eval.comparison.verdicts import REQUIREMENTS, Requirement, Rules
from act_eval.errors import UsageError

Judge = Literal["recorded", "exact", "paired", "sequential"]


@dataclass(frozen=True, kw_only=True)
class AgainstBaseline:
    """Compare with recorded outcomes."""

    baseline: Path
    """File of `scripts/baseline.py`."""
    tier: Judge = "recorded"
    """`recorded`: exact where the numeric fingerprint was recorded, else paired. `exact`: skipped elsewhere.
    `paired`: always the paired test. `sequential`: paired with early stopping, for `rollouts`."""
    require: Requirement = "no-regression"
    """What the paired test must show."""
    alpha: float = Rules.alpha
    margin: float = Rules.margin
    block: int = 10
    """Episodes that `sequential` asks for at a time."""

    def __post_init__(self) -> None:
        _check_choice("tier", self.tier, ("recorded", "exact", "paired", "sequential"))
        _check_choice("require", self.require, REQUIREMENTS)
        if self.tier == "sequential" and self.require != "no-regression":
            raise UsageError("tier 'sequential' fails where a drop is shown; leave require away")
        if self.block < 1:
            raise UsageError(f"block is {self.block}; it must be at least 1")
        _ = self.rules, self.stopping_rule  # which check their numbers

    @property
    def rules(self) -> Rules:
        """Of the paired test with all pairs."""
        return Rules(alpha=self.alpha, margin=self.margin)

    @property
    def stopping_rule(self) -> StoppingRule:
        """Of `sequential`."""
        return StoppingRule(alpha=self.alpha, margin=self.margin)


@dataclass(frozen=True, kw_only=True)
class AboveBar:
    """Show that the success rate is at least `bar`."""

    bar: float
    episodes: int
    """How many, chosen beforehand."""
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise UsageError(f"episodes is {self.episodes}; it must be at least 1")
        if not 0 < self.confidence < 1:
            raise UsageError(f"confidence is {self.confidence}; it must lie between 0 and 1, as in 0.95")


Tier = AgainstBaseline | AboveBar


def tier_of(arguments: tuple[Any, ...], options: Mapping[str, Any], folder: Path) -> Tier:
    """Return what a marker asks for; `folder` is where relative paths begin.

    Raises:
        UsageError: if the options are not those of one tier.
    """
    if arguments:
        raise UsageError(f"the marker success_rate takes named options only, got {arguments[0]!r}")
    if ("baseline" in options) == ("bar" in options):
        raise UsageError("the marker success_rate takes either baseline=FILE or bar=RATE, episodes=N")
    kind = AgainstBaseline if "baseline" in options else AboveBar
    known = [field.name for field in fields(kind)]
    if unknown := sorted(set(options) - set(known)):
        raise UsageError(f"the marker success_rate has no option {', '.join(unknown)}; there are: {', '.join(known)}")
    if kind is AgainstBaseline:
        return AgainstBaseline(**{**options, "baseline": folder / options["baseline"]})
    if "episodes" not in options:
        raise UsageError("bar needs episodes=N: how many were chosen beforehand")
    return AboveBar(**options)


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{name} is {value!r}; there are: {', '.join(allowed)}")
