"""Calls of users' code, which may raise anything, end the process, or ask for input.

Before the first episode a fault is a `UsageError`; within an episode it is a `Fault`, the text of the episode's error.
"""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOBase
from typing import Any, NoReturn

import numpy as np

from act_eval.errors import ActEvalError, UsageError
from act_eval.processes import end_process

_LONGEST = 2000  # characters of an error's text
_LONGEST_TRACEBACK = 100_000


class Fault(str):
    """What an exception says, on any screen and in any file, with its traceback."""

    traceback: str = ""

    @classmethod
    def of(cls, error: BaseException) -> "Fault":
        """Return the text of an exception: `ValueError: no such place`."""
        fault = cls(f"{type(error).__name__}: {text_of(error)}")
        lines = traceback.format_exception(error)
        fault.traceback = _printable("".join(lines), _LONGEST_TRACEBACK)
        return fault


def raised(error: BaseException) -> str:
    """Return what was raised, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    last = next((frame for frame in reversed(frames) if frame.filename != __file__), frames[-1])
    return f"{Fault.of(error)} ({last.filename}, line {last.lineno})"


@contextmanager
def user_code(problem: str) -> Iterator[None]:
    """Enclose a call of users' code before the first episode.

    Args:
        problem: begins the message, as in `metric mine:Excess: making it raised`.

    Raises:
        ActEvalError: as the call raised it.
        UsageError: for all else that it raised, the end of the process included.
    """
    try:
        with exits_raise():
            yield
    except (ActEvalError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # user code may raise anything
        raise UsageError(f"{problem} {raised(error)}") from error


class _Guard:
    """The enclosing `exits_raise` blocks of a process."""

    process = 0
    depth = 0


@contextmanager
def exits_raise() -> Iterator[None]:
    """Let `os._exit` raise SystemExit, so that users' code cannot end this process as if the run had succeeded."""
    _Guard.process, _Guard.depth = os.getpid(), _Guard.depth + 1
    os._exit = _refuse
    try:
        yield
    finally:
        _Guard.depth -= 1
        if not _Guard.depth:
            os._exit = end_process


def _refuse(code: int) -> NoReturn:
    if os.getpid() != _Guard.process:  # a forked process of the user's
        end_process(code)
    raise SystemExit(f"os._exit({code})")


@contextmanager
def quiet_import(module: str) -> Iterator[None]:
    """Hide the command line and the keyboard from a module while it is imported.

    Raises:
        UsageError: if it asks for input.
    """
    argv, stdin = sys.argv, sys.stdin
    sys.argv, sys.stdin = [f"{module}.py"], _NoInput(module)
    try:
        yield
    finally:
        sys.argv, sys.stdin = argv, stdin


def truth(name: str, value: Any, error: type[ActEvalError]) -> bool:
    """Return the value of a flag that users' code gives: a bool, or one number that is 0 or 1.

    Raises:
        ActEvalError: of the given type, for any other value.
    """
    if isinstance(value, bool):
        return value
    found = np.asarray(value)
    if found.size != 1 or found.dtype.kind not in "biuf" or found.item() not in (0, 1):
        raise error(f"{name} is {value!r}; it must be one truth value")
    return bool(found.item())


class _NoInput(TextIOBase):
    """Standard input that refuses to be read."""

    def __init__(self, module: str) -> None:
        self._module = module

    def readline(self, *_: object) -> str:
        raise UsageError(
            f"module {self._module!r} asks for input while it is imported; import it by hand once and answer "
            f"(python -c 'import {self._module}'), or ask below if __name__ == \"__main__\""
        )

    read = readline


def text_of(error: BaseException, longest: int = _LONGEST) -> str:
    """Return the text of an exception, shortened to about `longest` characters, without lone surrogates."""
    try:
        return _printable(str(error), longest)
    except Exception as second:  # an exception's own code may raise anything
        return f"(its text cannot be read: {type(second).__name__})"


def _printable(text: str, longest: int) -> str:
    """Return a text without lone surrogates; of a long one, the beginning and the end."""
    if len(text) > longest:
        text = f"{text[: longest // 2]} … ({len(text)} characters) … {text[-longest // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode()
