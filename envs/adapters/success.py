"""Success rules of external environments, such as `info.is_success` or `reward>=4`.

A signal that is missing, NaN or neither 0 nor 1 is an error that names what to declare; it never counts as an outcome.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from act_eval.errors import DeclarationError, UsageError

DEFAULT_KEYS = ("is_success", "success")
"""Keys of `info` that are used if no rule is declared."""
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_RULE = re.compile(
    r"^(?P<source>info\.[^<>=?\s]+|reward|return|terminated|truncated)(?P<optional>\?)?"
    r"\s*(?:(?P<sign>>=|<=|==|>|<)\s*(?P<bound>[-+.\deE]+))?$"
)
_ALLOWED = (
    "a rule is info.KEY, reward, return, terminated or truncated; the numbers with a comparison, as in reward>=4; "
    "info.KEY? is a key that may be missing until it is true"
)


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Result of one step."""

    info: Mapping[str, Any]
    reward: float
    total: float
    """Sum of rewards so far."""
    terminated: bool
    truncated: bool


@dataclass(frozen=True)
class SuccessRule:
    """Condition on a step's result."""

    source: str | None
    """None: the default key that `info` has."""
    optional: bool = False
    sign: str | None = None
    bound: float = 0.0

    def __str__(self) -> str:
        if self.source is None:
            return " or ".join(f"info.{key}" for key in DEFAULT_KEYS)
        limit = "" if self.sign is None else f"{self.sign}{self.bound:g}"
        return f"{self.source}{'?' if self.optional else ''}{limit}"

    def holds(self, step: StepResult) -> bool:
        """Return whether a step succeeded.

        Raises:
            DeclarationError: if the signal is missing, is no number, is neither 0 nor 1 though no comparison is
                declared, or if two default keys disagree.
        """
        signals = self._signals(step)
        found = {name: self._decide(name, value) for name, value in signals.items()}
        if len(set(found.values())) > 1:
            told = " and ".join(f"{name} is {value!r}" for name, value in signals.items())
            raise DeclarationError(f"{told}: declare the one that counts, as in --success info.{DEFAULT_KEYS[0]}")
        return any(found.values())

    def _signals(self, step: StepResult) -> dict[str, Any]:
        """Return name → value of the signals that a step has; none where an optional one is not there."""
        match self.source:
            case None:
                found = {f"info.{key}": step.info[key] for key in DEFAULT_KEYS if key in step.info}
                return found or self._missing(step.info)
            case "return":
                return {"return": step.total}
            case "reward" | "terminated" | "truncated" as source:
                return {source: getattr(step, source)}
            case source:
                path, value = source.removeprefix("info."), step.info
                for key in [path] if path in step.info else path.split("."):
                    if not isinstance(value, Mapping) or key not in value:
                        return {} if self.optional else self._missing(step.info)
                    value = value[key]
                return {source: value}

    def _decide(self, name: str, value: Any) -> bool:
        """Return whether one signal means success."""
        numbers = np.asarray(value)
        if numbers.dtype.kind not in "biuf" or numbers.size != 1:
            raise DeclarationError(f"the success signal {name} is {value!r}, neither a number nor true or false")
        number = float(numbers.item())
        if np.isnan(number):
            raise DeclarationError(f"the success signal {name} is NaN, which is neither success nor failure")
        if self.sign is not None:
            return _COMPARISONS[self.sign](number, self.bound)
        if number not in (0, 1):
            raise DeclarationError(
                f"the success signal {name} is {number:g}, neither 0 nor 1: declare a comparison, as in "
                f'--success "{name}>=1"'
            )
        return number == 1

    def _missing(self, info: Mapping[str, Any]) -> Any:
        lacking = "" if self.source is None else f" ({self.source} is not there)"
        raise DeclarationError(
            f"the environment signals no success{lacking}: declare the rule with --success, as in "
            '--success "reward>=4", --success terminated or --success info.KEY, or add info["is_success"] (bool) to '
            f"every step; its info holds {sorted(map(str, info))}"
        )


def parse_success(text: str | None) -> SuccessRule:
    """Return the rule of a text; None: the default keys of `info`.

    Raises:
        UsageError: naming the text and what is allowed.
    """
    if text is None:
        return SuccessRule(None)
    match = _RULE.match(text.strip())
    if match is None:
        raise UsageError(f"success is {text!r}; {_ALLOWED}")
    source, sign = match["source"], match["sign"]
    if (source in ("reward", "return")) != (sign is not None) and not source.startswith("info."):
        raise UsageError(f"success is {text!r}; {_ALLOWED}")
    if match["optional"] and not source.startswith("info."):
        raise UsageError(f"success is {text!r}; {_ALLOWED}")
    try:
        bound = float(match["bound"] or 0)
    except ValueError as error:
        raise UsageError(f"success is {text!r}: {match['bound']!r} is no number") from error
    return SuccessRule(source, bool(match["optional"]), sign, bound)
