"""Comparison of success rates: baselines, verdicts and regression gates.

Names are imported lazily: pytest imports this package at startup wherever act_eval is installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from act_eval.comparison.baselines import Baseline
    from act_eval.comparison.judging import Judgement, judge
    from act_eval.comparison.sequential import StoppingRule

_HOMES = {
    "Baseline": "act_eval.comparison.baselines",
    "Judgement": "act_eval.comparison.judging",
    "StoppingRule": "act_eval.comparison.sequential",
    "judge": "act_eval.comparison.judging",
}

__all__ = ["Baseline", "Judgement", "StoppingRule", "judge"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
