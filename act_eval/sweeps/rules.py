"""How the execution horizon s follows from the delay d: the same everywhere, or by a rule.

Under equal d and s every method runs an action at most s + d - 1 steps after the observation behind it: the covered
horizon of a cell is s + d. A fixed s compares methods at equal covered horizon within each delay; `Covered` keeps
the covered horizon the same across delays as well, by asking more often where answers take longer.
"""

from dataclasses import dataclass

from act_eval.errors import UsageError


@dataclass(frozen=True)
class Fixed:
    """The same s at every delay."""

    steps: int

    def __str__(self) -> str:
        return str(self.steps)


@dataclass(frozen=True)
class HalfChunk:
    """s = C / 2, rounded down: the same at every delay."""

    def __str__(self) -> str:
        return "half"


@dataclass(frozen=True)
class AsDelay:
    """s = max(d, 1): as often as one request in flight allows. Confounds d with s."""

    def __str__(self) -> str:
        return "delay"


@dataclass(frozen=True)
class Covered:
    """s = N - d: the last action from a chunk runs N - 1 steps after its observation, at every delay."""

    steps: int
    """N."""

    def __str__(self) -> str:
        return f"horizon:{self.steps}"


ExecuteRule = Fixed | HalfChunk | AsDelay | Covered
WORDS = "a whole number of control steps from 1 on, half (C / 2), delay (s = max(d, 1)) or horizon:N (s = N - d)"


def parse_rule(text: str) -> ExecuteRule:
    """Return the rule that a word of `--execution-horizon` means.

    Raises:
        UsageError: naming the word and what is allowed.
    """
    name, colon, argument = text.partition(":")
    match name, colon:
        case "half", "":
            return HalfChunk()
        case "delay", "":
            return AsDelay()
        case "horizon", ":" if _counts(argument):
            return Covered(int(argument))
        case _ if _counts(text):
            return Fixed(int(text))
    raise UsageError(f"--execution-horizon is {text!r}; it must be {WORDS}")


def horizon_of(rule: ExecuteRule, delay: int, chunk: int) -> int:
    """Return s [steps]; below 1 where the rule leaves none.

    Args:
        rule: How s follows.
        delay: d [steps].
        chunk: C [steps].
    """
    match rule:
        case Fixed(steps):
            return steps
        case HalfChunk():
            return max(1, chunk // 2)
        case AsDelay():
            return max(1, delay)
        case Covered(steps):
            return steps - delay


def _counts(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 7 and int(text) >= 1
