"""Rules that give the execution horizon s for a delay d.

With equal d and s, every method runs an action at most s + d - 1 steps after its observation: the covered horizon of a
cell is s + d. A fixed s compares methods at equal covered horizon within each delay; `Covered` keeps the covered
horizon equal across delays too, with more frequent requests at longer delays.
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
    """s = max(d, 1): the shortest with one request in flight. Confounds d with s."""

    def __str__(self) -> str:
        return "delay"


@dataclass(frozen=True)
class Covered:
    """s = N - d: the last action from a chunk runs N - 1 steps after its observation, at every delay."""

    steps: int
    """N."""

    def __str__(self) -> str:
        return f"horizon:{self.steps}"


HorizonRule = Fixed | HalfChunk | AsDelay | Covered
_ALLOWED = "a whole number of control steps from 1 on, half (C / 2), delay (s = max(d, 1)) or horizon:N (s = N - d)"


def parse_rule(text: str) -> HorizonRule:
    """Return the rule of a value of `--execution-horizon`.

    Raises:
        UsageError: naming the value and the allowed ones.
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
    raise UsageError(f"--execution-horizon is {text!r}; it must be {_ALLOWED}")


def horizon_of(rule: HorizonRule, delay: int, chunk: int) -> int:
    """Return s [steps]; below 1 if the rule allows none.

    Args:
        rule: The rule.
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
