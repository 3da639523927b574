"""Defects of JSON values, as the decoder raises them: the path to the value, what it is and what it must be."""

import math
from typing import Any


def describe_value(value: Any) -> str:
    """Return a JSON value as text for an error message, at most one line."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case dict():
            return f"an object with {len(value)} entries"
        case list() | tuple():
            return f"a list with {len(value)} entries"
        case int():
            return str(value) if abs(value) < 10**30 else f"a whole number of {value.bit_length()} bits"
        case float():
            return repr(value) if math.isfinite(value) else "NaN" if math.isnan(value) else "no finite number"
        case str():
            return ascii(value) if len(value) <= 60 else f"{value[:57]!a}…"
        case Unusable():
            return value.text
        case _:
            return f"a {type(value).__name__}"


class Unusable:
    """Placeholder in parsed values for a value that no field may hold, so that the error names the field."""

    def __init__(self, text: str) -> None:
        self.text = text


class Defect(Exception):
    """A defect of a value, and the path to it, innermost part first.

    Args:
        found: What the value is.
        needed: What it must be.
        refused: Whether a check of the dataclass itself rejected well-formed values.
    """

    def __init__(self, found: str, needed: str = "", refused: bool = False) -> None:
        self.found, self.needed, self.refused = found, needed, refused
        self.path: list[str] = []

    def inside(self, part: str) -> "Defect":
        self.path.append(part)
        return self

    def describe(self, place: str) -> str:
        path = "".join(reversed(self.path)).removeprefix(".")
        if self.refused:
            return f"{place}: {path}{path and ': '}{self.found}"
        return f"{place} is damaged: {path or 'it'} {self.found}{self.needed and '; '}{self.needed}"


def wrong(value: Any, needed: str) -> Defect:
    """Return the defect of a value that is not what it must be."""
    return Defect(f"is {describe_value(value)}", f"it must be {needed}")


def key_text(name: Any) -> str:
    """Return the name of an entry as a part of a path."""
    return "." + (name if isinstance(name, str) and name.isascii() and name.isprintable() else ascii(name))[:80]
