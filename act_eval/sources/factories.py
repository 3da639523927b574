"""`module:factory`: what a user wrote himself, by its name on the command line.

The module is found as `python -m` would find it, the working directory included.
"""

import os
import pickle
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from types import FunctionType, MethodType, ModuleType
from typing import Any

from act_eval.decoding import decode
from act_eval.errors import UsageError
from act_eval.user_code import Fault, quiet_import, user_code

_FACTORY = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


def names_factory(text: str) -> bool:
    """Return whether a name has the form `module:factory`."""
    return _FACTORY.fullmatch(text) is not None


def load_factory(name: str, asked: str) -> Callable[..., Any]:
    """Return the callable that `module:factory` names.

    Args:
        name: see `names_factory`.
        asked: what the user wrote it for, as `--env`, for errors.

    Raises:
        UsageError: if the module cannot be imported, or has no such callable.
    """
    module, _, path = name.partition(":")
    found: Any = import_foreign(module, f"{asked} {name}")
    for part in path.split("."):
        if not hasattr(found, part):
            names = ", ".join(sorted(one for one in vars(found) if not one.startswith("_"))) or "nothing"
            raise UsageError(f"{asked} {name}: {module} has no {path!r}; it has {names}")
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{asked} {name}: {path} is not callable, it is a {type(found).__name__}")
    return found


def import_foreign(module: str, asked: str) -> ModuleType:
    """Import a user's module.

    Args:
        module: its name, with dots.
        asked: what the user wrote, for errors.

    Raises:
        UsageError: if there is no such module, or importing it raises.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    with user_code(f"{asked}: module {module!r} cannot be imported:"), quiet_import(module):
        try:
            return import_module(module)
        except ModuleNotFoundError as error:
            pip = f"{sys.executable} -m pip install {(error.name or module).partition('.')[0]}"
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                needs = f"module {module!r} needs {error.name!r}, which is not installed"
                raise UsageError(f"{asked}: {needs}: {pip}") from error
            nowhere = f"there is no module {error.name!r}, neither installed nor in {here}"
            raise UsageError(f"{asked}: {nowhere}; if a package has it: {pip}") from error


def import_name(thing: Any) -> str | None:
    """Return `module:path` by which another process can import a class or function; None if it cannot."""
    if not isinstance(thing, type | FunctionType) or thing.__module__ == "__main__" or "<" in thing.__qualname__:
        return None
    found: Any = sys.modules.get(thing.__module__)
    for part in thing.__qualname__.split("."):
        found = getattr(found, part, None)
    return f"{thing.__module__}:{thing.__qualname__}" if found is thing else None


def object_label(thing: Any) -> str:
    """Return a short name of an object, fit for a file name."""
    if isinstance(thing, partial):
        return object_label(thing.func)
    named = thing if isinstance(thing, type | FunctionType | MethodType) else type(thing)
    return named.__name__.replace("<lambda>", "lambda")


def definition_local_only(what: str, defined: Any) -> str | None:
    """Return why a user's class or function can only run in this process; None if workers can import it."""
    if import_name(defined) is not None:
        return None
    place = f"{defined.__module__}:{defined.__qualname__}"
    return f"{what} is defined in {place}, which workers cannot import"


def factory_local_only(what: str, given: Any) -> str | None:
    """Return why a factory can only run in this process; None if workers can import or unpickle it."""
    if isinstance(given, partial):
        if reason := factory_local_only(what, given.func):
            return reason
        try:
            pickle.dumps(given)
        except Exception as error:  # pickling runs the object's own code, which may raise anything
            return f"{what} cannot be pickled: {Fault.of(error)}"
        return None
    if isinstance(given, type | FunctionType):
        return definition_local_only(what, given)
    return instance_local_only(what, given)


def instance_local_only(what: str, given: Any) -> str:
    """Return why an instance can only run in this process: there is one of it."""
    return f"{what} is an instance, not a class or function that other processes could call"


def named_values(texts: Sequence[str], flag: str) -> dict[str, Any]:
    """Return what `NAME=VALUE` says, values as JSON where they can be read as such and as text otherwise.

    Raises:
        UsageError: if one is malformed, or a name is given twice.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise UsageError(f"{flag} {text!r}: expected NAME=VALUE")
        if name in values:
            raise UsageError(f"{flag} gives {name!r} twice")
        try:
            values[name] = decode(value, object, text, UsageError)
        except UsageError:
            values[name] = value
    return values
