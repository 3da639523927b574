"""Study mode collapse: collect, train, probe, evaluate and report, cell by cell; `--help` lists the options.

python scripts/experiments/mode_collapse.py --list     the cells, and how far each is
python scripts/experiments/mode_collapse.py            the cells that carry claims; interrupted, the same continues
python scripts/experiments/mode_collapse.py --report   outputs/study/collapse/report.md on what has finished
"""

import dataclasses
import fcntl
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from act_eval.cli import INTERRUPTED, OK, guarded
from act_eval.cli.parsing import parse
from act_eval.errors import ActEvalError, RunFolderError
from act_eval.results.records import write_atomically
from collapse_cells import STATE, Budget, Cell, chosen, commands
from collapse_report import read_state, write_report

ACT_EVAL = (sys.executable, "-m", "act_eval")
"""The command line, by this interpreter."""
_BUDGET = "study.json"
_IGNORED_INPUT = 3  # exit code of a probe that found one; a finding, not a failure


class StageFailed(ActEvalError):
    """A stage of a cell ended with an error."""


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
    interrupted = not flags.report and _run_all(picked, flags, folder, program, console)
    console.print(f"report {write_report(folder, flags.budget)}", markup=False)
    return INTERRUPTED if interrupted else OK


def _run_all(picked: Sequence[Cell], flags: Flags, folder: Path, program: Sequence[str], console: Console) -> bool:
    """Run what is left of the cells; return whether something is still left."""
    until = None if flags.minutes is None else time.monotonic() + 60 * flags.minutes
    try:
        for cell in picked:
            with _alone(folder / cell.name) as mine:
                if not mine:
                    console.print(f"{cell.name}: another process works on it", markup=False)
                    continue
                if not _run_cell(cell, flags.budget, folder, program, until, console):
                    console.print("time is up; the same command continues")
                    return True
    except KeyboardInterrupt:
        console.print("interrupted; what has finished is kept, the same command continues")
        return True
    return False


def _run_cell(
    cell: Cell, budget: Budget, folder: Path, program: Sequence[str], until: float | None, console: Console
) -> bool:
    """Run the stages that are left; return False where time was up before the last one."""
    own = folder / cell.name
    state = read_state(own)
    for stage, command in commands(cell, budget, folder).items():
        if stage in state:
            continue
        if until is not None and time.monotonic() >= until:
            return False
        console.print(f"{cell.name}: {stage}", markup=False)
        began = time.monotonic()
        if stage == "collect":
            with _alone(folder / "data" / cell.data.name, wait=True):
                _call(command, program, own / f"{stage}.log")
        else:
            _call(_resumed(command, own) if stage == "train" else command, program, own / f"{stage}.log")
        state[stage] = {
            "command": shlex.join(["act-eval", *command]),
            "seconds": round(time.monotonic() - began, 1),
        }
        write_atomically(own / STATE, (json.dumps(state, indent=2) + "\n").encode())
    return True


def _resumed(command: list[str], own: Path) -> list[str]:
    """Return the command that goes on with a training that was begun before."""
    begun = (own / "train" / "checkpoints" / "last").exists()
    return ["train", "--resume", str(own / "train")] if begun else command


def _call(command: Sequence[str], program: Sequence[str], log: Path) -> None:
    """Run a command, its output kept in a file.

    Raises:
        StageFailed: if it fails.
    """
    with log.open("ab") as stream:
        # A process of its own, so that a stage leaves nothing behind: threads, memory, GL contexts.
        process = subprocess.Popen([*program, *command], stdout=stream, stderr=subprocess.STDOUT)
        try:
            code = process.wait()
        except KeyboardInterrupt:  # the whole process group got it: the stage saves what it has
            process.wait()
            raise
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code != OK and not (command[0] == "probe" and code == _IGNORED_INPUT):
        last = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise StageFailed(
            f"{shlex.join(['act-eval', *command])} failed with exit code {code}: {' | '.join(last)}; {log}"
        )


@contextmanager
def _alone(place: Path, wait: bool = False) -> Iterator[bool]:
    """Hold a place against other processes; yield whether it is ours."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not wait:
        place.mkdir(exist_ok=True)
    with place.with_name(f".{place.name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


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
