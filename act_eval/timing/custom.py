"""User-defined executors, and the source of user-defined methods and executors."""

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
    """A user-defined executor in place of a method; see `act_eval.types.Executor`.

    It keeps its own time, so only 1 <= s <= C is checked; its attribute `refusal`, with the arguments of
    `Method.refusal`, may add bounds.
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
        if spec.history > 1 and not getattr(self.factory, "takes_history", False):
            return (
                f"{self.name} makes its own requests, and the policy reads {spec.history} observations; a class that "
                "passes them on declares it with an attribute takes_history = True"
            )
        own = getattr(self.factory, "refusal", None)
        return None if own is None else own(spec, low, high)


def source_of(method: Method) -> dict[str, str]:
    """Return the class and source digest of a user-defined method or executor; empty for shipped ones.

    The digest covers the module's file, or the class alone if there is no file (a notebook). A class typed at a prompt
    has no source and no digest.
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
