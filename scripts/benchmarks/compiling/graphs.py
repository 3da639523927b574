"""Dynamo's result of a call: graphs, breaks, recompilations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch._dynamo.utils import counters


@dataclass(frozen=True)
class GraphCount:
    """Counts for one kind of call."""

    graphs: int
    """Graphs of the first call."""
    breaks: int
    """Places where the code fell out of a graph."""
    recompilations: int
    """Graphs that calls with other data of the same shapes added."""


def count_graphs(first: Callable[[], object], others: Sequence[Callable[[], object]]) -> GraphCount:
    """Make a first call and others like it, and count.

    Args:
        first: begins with nothing compiled for it.
        others: other data, same shapes.
    """
    graphs, breaks = _graphs(), _breaks()
    first()
    compiled = _graphs()
    for call in others:
        call()
    return GraphCount(compiled - graphs, _breaks() - breaks, _graphs() - compiled)


def _graphs() -> int:
    return counters["stats"]["unique_graphs"]


def _breaks() -> int:
    return sum(counters["graph_break"].values())
