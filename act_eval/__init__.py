"""Closed-loop evaluation of action-chunking robot policies under simulated inference delay."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from act_eval.version import __version__

if TYPE_CHECKING:
    from act_eval.api import compare, evaluate, load_run, sweep
    from act_eval.config import EvaluateConfig, SweepConfig
    from act_eval.run import Run
    from act_eval.types import ChunkPolicy, Executor, Observer

__all__ = [
    "ChunkPolicy",
    "EvaluateConfig",
    "Executor",
    "Observer",
    "Run",
    "SweepConfig",
    "__version__",
    "compare",
    "evaluate",
    "load_run",
    "sweep",
]

_HOMES = {
    "compare": "act_eval.api",
    "evaluate": "act_eval.api",
    "load_run": "act_eval.api",
    "sweep": "act_eval.api",
    "EvaluateConfig": "act_eval.config",
    "SweepConfig": "act_eval.config",
    "Run": "act_eval.run",
    "ChunkPolicy": "act_eval.types",
    "Executor": "act_eval.types",
    "Observer": "act_eval.types",
}
"""Name → the module that it is imported from when it is first used."""


def __getattr__(name: str) -> Any:
    """Import a name of the front door on first use: importing this package stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'act_eval' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
