"""Executors and methods of the user's: a whole executor in the place of a method, and where its source is."""

import hashlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from act_eval.timing.methods import Method, is_shipped, snake_case
from act_eval.types import Executor, PolicySpec


@dataclass(frozen=True)
class CustomExecutor(Method):
    """A whole executor of the user's in the place of a method; see `act_eval.types.Executor`.

    It keeps time by itself, so that no bound on s but 1 <= s <= C is checked; a `refusal` of its own, with the
    arguments of `Method.refusal`, may add others.
    """

    factory: Callable[..., Executor]
    """Called with (policy, schedule, hold, control_ms) and the options."""
    arguments: tuple[tuple[str, Any], ...] = ()
    """Options as (name, value)."""

    runs_meanwhile: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return snake_case(self.factory.__name__)

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.arguments)

    @property
    def defined_by(self) -> Callable[..., Any]:
        return self.factory

    def refusal(self, spec: PolicySpec, low: int, high: int | None) -> str | None:
        own = getattr(self.factory, "refusal", None)
        return None if own is None else own(spec, low, high)


def source_of(method: Method) -> dict[str, str]:
    """Return where a user's method or executor is defined, with a digest of the source; empty for shipped ones.

    The digest covers the module's file, or the class alone where it has none (a notebook); typed at a prompt it has
    no source and no digest.
    """
    if is_shipped(method):
        return {}
    return {f"executor_{key}": value for key, value in source_entry(method.defined_by).items()}


def source_entry(defined: Any) -> dict[str, str]:
    """Return `class` (module:Name) and `digest` (of the source) of a user's class or function."""
    place = {"class": f"{defined.__module__}:{defined.__qualname__}"}
    file = getattr(sys.modules.get(defined.__module__), "__file__", None)
    try:
        source = Path(file).read_bytes() if file else inspect.getsource(defined).encode()
    except (OSError, TypeError):
        return place
    return {**place, "digest": hashlib.sha256(source).hexdigest()[:16]}
