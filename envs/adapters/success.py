"""Success rules of external environments, such as `info.is_success` or `reward>=4`.

A missing signal is an error that names what to add; it never counts as a failure.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from act_eval.errors import UsageError

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
            UsageError: if the signal is missing, or not a single value.
        """
        found = self._signal(step)
        try:
            value = float(found)
        except (TypeError, ValueError) as error:
            raise UsageError(f"the success signal {self} is {found!r}, neither a number nor true or false") from error
        return bool(value) if self.sign is None else _COMPARISONS[self.sign](value, self.bound)

    def _signal(self, step: StepResult) -> Any:
        match self.source:
            case None:
                key = next((key for key in DEFAULT_KEYS if key in step.info), None)
                return self._missing(step.info) if key is None else step.info[key]
            case "reward":
                return step.reward
            case "return":
                return step.total
            case "terminated":
                return step.terminated
            case "truncated":
                return step.truncated
            case source:
                return self._of_info(step.info, source.removeprefix("info."))

    def _of_info(self, info: Mapping[str, Any], path: str) -> Any:
        found: Any = info
        for key in [path] if path in info else path.split("."):
            if not isinstance(found, Mapping) or key not in found:
                return False if self.optional else self._missing(info)
            found = found[key]
        return found

    def _missing(self, info: Mapping[str, Any]) -> Any:
        wanted = "" if self.source is None else f" ({self.source} is not there)"
        raise UsageError(
            f"the environment signals no success{wanted}: declare the rule with --success, as in "
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
