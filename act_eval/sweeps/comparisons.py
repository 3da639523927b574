"""The planned comparisons of a sweep: pairs of cells in five families, each adjusted by Holm.

`delay`: a cell against the same series without delay. `executor`: two executors at the same policy, environment, d and
s. `variant`: an ablation against the plain variant, all else equal. `perturbation`: a perturbed cell against its
unperturbed twin. `policy`: two policies at the same environment, d
and s, both under the same executor or each under its default. Executors and policies are compared by their plain
variants.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

from act_eval.comparison.pairing import paired_table
from act_eval.stats import Interval, PairedTable, holm
from act_eval.sweeps.grid import PLAIN
from act_eval.sweeps.results import Cell, RunCells

Family = Literal["delay", "executor", "variant", "perturbation", "policy"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two cells on the same episodes."""

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


def compare(runs: Sequence[RunCells]) -> list[Comparison]:
    """Return every planned comparison of a sweep, family by family."""
    return [
        *_adjusted("delay", _against_no_delay(runs)),
        *_adjusted("executor", _between_executors(runs)),
        *_adjusted("variant", _between_variants(runs)),
        *_adjusted("perturbation", _against_twins(runs)),
        *_adjusted("policy", _between_policies(runs)),
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


def _against_no_delay(runs: Sequence[RunCells]) -> Iterator[tuple[Cell, Cell]]:
    for run in runs:
        for series in run.series:
            first, *others = run.series_cells(series)
            if first.setting.delay == 0:
                yield from ((first, other) for other in others)


def _between_executors(runs: Sequence[RunCells]) -> Iterator[tuple[Cell, Cell]]:
    for run in runs:
        for first, second in combinations(_plain(run), 2):
            if _place(first) == _place(second):
                yield first, second


def _between_variants(runs: Sequence[RunCells]) -> Iterator[tuple[Cell, Cell]]:
    for run in runs:
        plain = {(cell.setting.executor, *_place(cell)): cell for cell in _plain(run)}
        for cell in run.cells.values():
            first = plain.get((cell.setting.executor, *_place(cell)))
            perturbed = cell.setting.variant.perturbation != PLAIN.perturbation
            if first is not None and cell.setting.variant != PLAIN and not perturbed:
                yield first, cell


def _against_twins(runs: Sequence[RunCells]) -> Iterator[tuple[Cell, Cell]]:
    for run in runs:
        cells = {(one.setting.executor, *_place(one), one.setting.variant): one for one in run.cells.values()}
        for cell in run.cells.values():
            twin = cell.setting.variant._replace(perturbation=PLAIN.perturbation)
            first = cells.get((cell.setting.executor, *_place(cell), twin))
            if first is not None and cell.setting.variant != twin:
                yield first, cell


def _between_policies(runs: Sequence[RunCells]) -> Iterator[tuple[Cell, Cell]]:
    for one, other in combinations(runs, 2):
        if one.env != other.env:
            continue
        defaults = (one.default_executor, other.default_executor)
        for first, second in product(_plain(one), _plain(other)):
            run_by = (first.setting.executor, second.setting.executor)
            if _place(first) == _place(second) and (run_by == defaults or run_by[0] == run_by[1]):
                yield first, second


def _plain(run: RunCells) -> list[Cell]:
    return [cell for cell in run.cells.values() if cell.setting.variant == PLAIN]


def _place(cell: Cell) -> tuple[int, int]:
    return cell.setting.delay, cell.setting.execution_horizon


def _outcomes(cell: Cell) -> list[str]:
    return [record.outcome for record in cell.records]
