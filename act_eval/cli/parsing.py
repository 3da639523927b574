"""Parse a command line into the flags of a command; an unknown option is an error that lists the known ones."""

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import tyro

from act_eval.errors import UnknownName, UsageError

_Flags = TypeVar("_Flags")


def parse(kind: type[_Flags], argv: Sequence[str], prog: str, **more: Any) -> _Flags:
    """Return the flags that a command line gives.

    Args:
        kind: a dataclass whose fields all have defaults.
        argv: the arguments.
        prog: name of the command in its help.
        more: further arguments of `tyro.cli`.

    Raises:
        UsageError: naming an unknown option and the known ones, or an argument with a null byte.
        SystemExit: raised by tyro for help and for values that do not fit their option.
    """
    for word in argv:
        if "\0" in word:
            raise UsageError(f"{word!r} contains a null byte")
    flags, unknown = tyro.cli(kind, args=list(argv), prog=prog, return_unknown_args=True, **more)
    for word in unknown:
        if word.startswith("--"):
            raise UnknownName("option", word.partition("=")[0], options(more.get("default", flags)))
    if unknown:
        raise UsageError(f"{prog} does not take {unknown[0]!r}; {prog} --help lists its arguments")
    return flags


def check_output(path: Path | None, option: str) -> None:
    """Check, before the work, that a file can be written at a path.

    Raises:
        UsageError: naming the option if the path is a folder, or lies below a file.
    """
    if path is None:
        return
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder; name a file in it")
    if file := next((parent for parent in path.parents if parent.exists() and not parent.is_dir()), None):
        raise UsageError(f"{option} {path} is below {file}, which is a file")


def options(flags: Any, prefix: str = "") -> list[str]:
    """Return the option names of a dataclass or of an instance of one, as in `--image-size`."""
    return list(_options(flags, prefix))


def _options(flags: Any, prefix: str) -> Iterator[str]:
    hints = get_type_hints(flags if isinstance(flags, type) else type(flags), include_extras=True)
    for field in fields(flags):
        extras = getattr(hints[field.name], "__metadata__", ())
        value = getattr(flags, field.name, None)
        if value is None and field.default_factory is not MISSING:
            value = field.default_factory()
        renamed = next((extra.name for extra in extras if getattr(extra, "name", None)), field.name)
        name = prefix + renamed.replace("_", "-")
        if is_dataclass(value):
            nameless = any(getattr(extra, "name", None) == "" for extra in extras)
            yield from _options(value, prefix if nameless else f"{name}.")
        elif "Positional" not in str(hints[field.name]):
            yield f"--{name}"
