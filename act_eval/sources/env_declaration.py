"""Flags and a file by which users declare what an environment of theirs gives; imports nothing heavy."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act_eval.config import EnvDeclaration
from act_eval.errors import UsageError
from act_eval.sources.factories import named_values

if TYPE_CHECKING:
    from act_eval.envs.adapters import Declaration


_TABLE = ("options", "images")
_LISTS = ("state", "environment_state")
_VALUES = ("success", "hold", "horizon", "control_ms")


def declared(flags: EnvDeclaration) -> "tuple[dict[str, Any], Declaration]":
    """Return the environment's options, and what is declared of it.

    Raises:
        UsageError: naming the flag or the file's entry that does not say what it should.
    """
    from act_eval.envs.adapters import Declaration

    entries: dict[str, Any] = {} if flags.env_file is None else _read(flags.env_file)
    options = {**entries.pop("options", {}), **named_values(flags.env_options, "--env-options")}
    for name in (*_LISTS, *_VALUES):
        if (value := getattr(flags, name)) is not None:
            entries[name] = value
    if flags.images is not None:
        entries["images"] = dict(_pair(text, "--images") for text in flags.images)
    return options, Declaration(**entries)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"--env-file {path}: {error}") from error
    allowed = (*_TABLE, *_LISTS, *_VALUES)
    if unknown := sorted(set(content) - set(allowed)):
        raise UsageError(f"--env-file {path}: unknown {', '.join(unknown)}; allowed: {', '.join(allowed)}")
    return {name: _entry(name, value, path) for name, value in content.items()}


def _entry(name: str, value: Any, path: Path) -> Any:
    """Return an entry of the file as the flag of its name gives it."""
    match name, value:
        case ("options", dict()):
            return value
        case ("images", dict()) if all(isinstance(place, str) for place in value.values()):
            return value
        case (("state" | "environment_state"), str()):
            return (value,)
        case (("state" | "environment_state"), list()) if all(isinstance(place, str) for place in value):
            return tuple(value)
        case ("hold", list()) if all(isinstance(entry, int | float | str) for entry in value):
            return ",".join(str(entry) for entry in value)
        case (("success" | "hold"), str()):
            return value
        case ("horizon", int()) if not isinstance(value, bool):
            return value
        case ("control_ms", int() | float()) if not isinstance(value, bool):
            return float(value)
    raise UsageError(f"--env-file {path}: {name} = {value!r} is not of the kind that {name} takes")


def _pair(text: str, flag: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise UsageError(f"{flag} {text!r}: expected NAME=VALUE")
    return name.strip(), value.strip()


def as_dict(flags: EnvDeclaration) -> dict[str, Any]:
    """Return the flags that were given, as JSON values; a file by its content, and not in which Python it runs."""
    given = {name: one for name, one in vars(flags).items() if one not in (None, ()) and name != "env_python"}
    if flags.env_file is not None:
        given["env_file"] = _read(flags.env_file)
    return given


def is_empty(declaration: "Declaration") -> bool:
    """Return whether nothing is declared."""
    return all(value is None for value in vars(declaration).values())
