"""The planned comparisons of a sweep: which pairs of cells, and Holm's adjustment over each family of them.

Four questions, a family each: `delay`, what a delay costs against the same series without one; `executor`, which
executor does better at the same policy, environment, d and s; `variant`, what it changes that the policy is told or
shown something else, all else equal; `policy`, which policy does better at the same environment, d and s, both under
the same executor or each under its own default. Executors and policies are compared by their plain variants.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

from act_eval.comparison.pairing import paired_table
from act_eval.stats import Interval, PairedTable, holm
from act_eval.sweeps.grid import PLAIN
from act_eval.sweeps.results import Cell, Part

Family = Literal["delay", "executor", "variant", "policy"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A second cell against a first one on the same episodes."""

    family: Family
    first: Cell
    second: Cell
    table: PairedTable
    p: float
    """Exact McNemar, two-sided."""
    p_holm: float
    """Adjusted over the family."""
    family_size: int

    @property
    def difference(self) -> float:
        """Success rate of the second minus that of the first, over the pairs; NaN without a pair."""
        return self.table.difference

    @property
    def interval(self) -> Interval:
        """95 % Newcombe interval of `difference`."""
        return self.table.newcombe()


def compare(parts: Sequence[Part]) -> list[Comparison]:
    """Return every planned comparison of a sweep, family by family."""
    return [
        *_adjusted("delay", _against_no_delay(parts)),
        *_adjusted("executor", _between_executors(parts)),
        *_adjusted("variant", _between_variants(parts)),
        *_adjusted("policy", _between_policies(parts)),
    ]


def _adjusted(family: Family, pairs: Iterable[tuple[Cell, Cell]]) -> list[Comparison]:
    """Test each pair of cells once and adjust over all of them."""
    once = {(first.name, second.name): (first, second) for first, second in pairs}
    tables = [paired_table(_outcomes(first), _outcomes(second)) for first, second in once.values()]
    p_values = [table.mcnemar() for table in tables]
    return [
        Comparison(
            family=family, first=first, second=second, table=table, p=p, p_holm=adjusted, family_size=len(tables)
        )
        for (first, second), table, p, adjusted in zip(once.values(), tables, p_values, holm(p_values), strict=True)
    ]


def _against_no_delay(parts: Sequence[Part]) -> Iterator[tuple[Cell, Cell]]:
    for part in parts:
        for series in part.series:
            first, *others = part.series_cells(series)
            if first.setting.delay == 0:
                yield from ((first, other) for other in others)


def _between_executors(parts: Sequence[Part]) -> Iterator[tuple[Cell, Cell]]:
    for part in parts:
        for first, second in combinations(_plain(part), 2):
            if _place(first) == _place(second):
                yield first, second


def _between_variants(parts: Sequence[Part]) -> Iterator[tuple[Cell, Cell]]:
    for part in parts:
        plain = {(cell.setting.executor, *_place(cell)): cell for cell in _plain(part)}
        for cell in part.cells.values():
            first = plain.get((cell.setting.executor, *_place(cell)))
            if first is not None and cell.setting.variant != PLAIN:
                yield first, cell


def _between_policies(parts: Sequence[Part]) -> Iterator[tuple[Cell, Cell]]:
    for one, other in combinations(parts, 2):
        if one.env != other.env:
            continue
        defaults = (one.default_executor, other.default_executor)
        for first, second in product(_plain(one), _plain(other)):
            run_by = (first.setting.executor, second.setting.executor)
            if _place(first) == _place(second) and (run_by == defaults or run_by[0] == run_by[1]):
                yield first, second


def _plain(part: Part) -> list[Cell]:
    return [cell for cell in part.cells.values() if cell.setting.variant == PLAIN]


def _place(cell: Cell) -> tuple[int, int]:
    return cell.setting.delay, cell.setting.execution_horizon


def _outcomes(cell: Cell) -> list[str]:
    return [record.outcome for record in cell.records]
