"""Study mode collapse: collect, train, probe, evaluate and report, cell by cell; `--help` lists the options.

python scripts/experiments/mode_collapse.py --list     the cells, and how far each is
python scripts/experiments/mode_collapse.py            the cells that carry claims; interrupted, the same continues
python scripts/experiments/mode_collapse.py --report   outputs/study/collapse/report.md on what has finished
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from act_eval.cli import INTERRUPTED, OK, guarded
from act_eval.cli.parsing import parse
from act_eval.errors import RunFolderError
from act_eval.results.records import write_atomically
from collapse_cells import Budget, Cell, chosen, commands
from collapse_report import write_report
from stages import ACT_EVAL, read_state, run_cells

_BUDGET = "study.json"


@dataclass(frozen=True)
class Flags:
    """Study mode collapse. Without any option: the cells that carry claims, one after the other."""

    name: str = "collapse"
    """The study's folder below outputs/study; with another budget take another one."""
    cells: tuple[str, ...] = ("claim",)
    """Which cells, by name; claim: the twelve that run first; all: every one. Cells are independent of each other, so
    several of these commands may share a folder and its work."""
    list: bool = False
    """Only list the cells and how far each is."""
    report: bool = False
    """Only write the report on what has finished."""
    minutes: float | None = None
    """Start no stage after this time; running ones are finished or kept. The same command continues."""
    budget: Annotated[Budget, tyro.conf.arg(name="")] = field(default_factory=Budget)
    """Budget of every cell."""


def study(flags: Flags, program: Sequence[str] = ACT_EVAL) -> int:
    """Run the cells that are left, and write the report; return the exit code.

    Raises:
        ActEvalError: if the folder belongs to another budget, or a stage failed.
    """
    console = Console(highlight=False, soft_wrap=True)
    folder = Path("outputs") / "study" / flags.name
    picked = chosen(flags.cells)
    _claim(folder, flags.budget)
    if flags.list:
        _say_how_far(picked, folder, console)
        return OK
    stages = {folder / cell.name: commands(cell, flags.budget, folder) for cell in picked}
    interrupted = not flags.report and not run_cells(stages, flags.minutes, console, program)
    console.print(f"report {write_report(folder, flags.budget)}", markup=False)
    return INTERRUPTED if interrupted else OK


def _claim(folder: Path, budget: Budget) -> None:
    """Start a study, or check that the existing one has the same budget.

    Raises:
        RunFolderError: naming both budgets.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, wanted = folder / _BUDGET, dataclasses.asdict(budget)
    if not path.is_file():
        write_atomically(path, (json.dumps(wanted, indent=2) + "\n").encode())
        return
    found = json.loads(path.read_text())
    wrong = [
        f"{name} is {found.get(name)}, asked for is {value}"
        for name, value in wanted.items()
        if found.get(name) != value
    ]
    if wrong:
        raise RunFolderError(f"{folder} was begun with another budget: {'; '.join(wrong)}. Take another --name")


def _say_how_far(picked: Sequence[Cell], folder: Path, console: Console) -> None:
    for cell in picked:
        done = read_state(folder / cell.name)
        left = [stage for stage in cell.stages if stage not in done]
        console.print(f"{cell.name:<24} {'left: ' + ', '.join(left) if left else 'finished'}", markup=False)


if __name__ == "__main__":
    sys.exit(guarded(lambda: study(parse(Flags, sys.argv[1:], "mode_collapse.py"))))
