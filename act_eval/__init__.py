"""Closed-loop evaluation of action-chunking robot policies under simulated inference delay."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from act_eval.version import __version__

if TYPE_CHECKING:
    from act_eval.api import compare, evaluate, load_run, probe, robustness, sweep
    from act_eval.config import EvaluateConfig, ProbeConfig, SweepConfig
    from act_eval.metrics import episode_metric
    from act_eval.run import Run
    from act_eval.timing import Method
    from act_eval.types import Chunk, ChunkPolicy, Executor, Observer, PolicySpec

__all__ = [
    "Chunk",
    "ChunkPolicy",
    "EvaluateConfig",
    "Executor",
    "Method",
    "Observer",
    "PolicySpec",
    "ProbeConfig",
    "Run",
    "SweepConfig",
    "__version__",
    "compare",
    "episode_metric",
    "evaluate",
    "load_run",
    "probe",
    "robustness",
    "sweep",
]

_HOMES = {
    **dict.fromkeys(("compare", "evaluate", "load_run", "probe", "robustness", "sweep"), "act_eval.api"),
    **dict.fromkeys(("EvaluateConfig", "ProbeConfig", "SweepConfig"), "act_eval.config"),
    "episode_metric": "act_eval.metrics",
    "Run": "act_eval.run",
    "Method": "act_eval.timing",
    **dict.fromkeys(("Chunk", "ChunkPolicy", "Executor", "Observer", "PolicySpec"), "act_eval.types"),
}
"""Name → the module that it is imported from when it is first used."""


def __getattr__(name: str) -> Any:
    """Import a name of the front door on first use: importing this package stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'act_eval' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
