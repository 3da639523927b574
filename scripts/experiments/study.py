"""Run the commands of a study: each once, and again from where it stood after an interruption.

python scripts/experiments/study.py prefix_data.toml            the file's cells, one after the other
python scripts/experiments/study.py prefix_data.toml --list     how far each is
python scripts/experiments/study.py prefix_data.toml --table    the successes measured so far

A [[cells]] table has a name and commands of act-eval. Every list of `each` is expanded, and {…} in a text is replaced:
by a value of `each`, by an entry of the file's [words], by {out}, the cell's folder, and {study}, that of all cells.
"""

import re
import shlex
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from act_eval import load_run
from act_eval.cli import INTERRUPTED, OK, guarded
from act_eval.cli.parsing import parse
from act_eval.errors import UnknownName, UsageError
from act_eval.results.tables import Table
from act_eval.stats import SuccessRate
from stages import ACT_EVAL, output_of, read_state, run_cells

HERE = Path(__file__).parent
_SEED = re.compile(r"_seed\d+$")


@dataclass(frozen=True)
class Flags:
    """Run the commands of a study; without any option all cells, one after the other."""

    file: tyro.conf.Positional[Path]
    """TOML file, by its path or by its name in scripts/experiments."""
    cells: tuple[str, ...] = ()
    """Beginnings of the names of cells; all by default."""
    list: bool = False
    """Only list the cells and how far each is."""
    table: bool = False
    """Only show the successes of the finished evaluations; cells that differ in their training seed share a row."""
    minutes: float | None = None
    """Start no command after this time; the same command continues."""


def study(flags: Flags, program: Sequence[str] = ACT_EVAL) -> int:
    """Run the cells that are left; return the exit code.

    Raises:
        ActEvalError: if the file or a cell's name is wrong, or a command failed.
    """
    console = Console(highlight=False, soft_wrap=True)
    file = flags.file if flags.file.is_file() else HERE / flags.file
    found = cells_of(file)
    for wanted in flags.cells:
        if not any(name.startswith(wanted) for name in found):
            raise UnknownName("cell", wanted, list(found))
    folder = folder_of(file)
    picked = {
        folder / name: stages for name, stages in found.items() if not flags.cells or name.startswith(flags.cells)
    }
    if flags.list:
        for own, stages in picked.items():
            left = [stage for stage in stages if stage not in read_state(own)]
            console.print(f"{own.name:<24} {'left: ' + ', '.join(left) if left else 'finished'}", markup=False)
        return OK
    if flags.table:
        console.print(successes(picked, console.width), markup=False)
        return OK
    return OK if run_cells(picked, flags.minutes, console, program) else INTERRUPTED


def successes(cells: Mapping[Path, Mapping[str, Sequence[str]]], width: int) -> str:
    """Return a table of the successes in each condition of the cells' finished evaluations.

    Args:
        cells: folder of each → its stages, each the arguments of `act-eval`.
        width: of the terminal [columns].
    """
    found: dict[tuple[str, str, str], list[SuccessRate]] = defaultdict(list)
    for own, stages in cells.items():
        finished = read_state(own)
        for stage, command in stages.items():
            if command[0] == "evaluate" and stage in finished:
                for name, condition in load_run(output_of(command)).conditions.items():
                    found[_SEED.sub("", own.name), stage, name].append(condition.rate)
    rows = [(*key, _side_by_side(rates)) for key, rates in found.items()]
    return Table(heads=("cell", "stage", "condition", "successes"), rows=tuple(rows), keys=3).text(width)


def _side_by_side(rates: Sequence[SuccessRate]) -> str:
    """Return successes of as many episodes as `9, 4 of 12`, of different numbers (invalid ones) as `9/12, 4/11`."""
    trials = {rate.trials for rate in rates}
    if len(trials) > 1:
        return ", ".join(f"{rate.successes}/{rate.trials}" for rate in rates)
    return f"{', '.join(str(rate.successes) for rate in rates)} of {trials.pop()}"


def folder_of(file: Path) -> Path:
    """Return the folder of a study's cells."""
    return Path("outputs") / "study" / file.stem


def cells_of(file: Path) -> dict[str, dict[str, list[str]]]:
    """Return the cells of a file: name → stage → arguments of `act-eval`.

    Raises:
        UsageError: if the file cannot be read, or names something that it does not say.
    """
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8"))
        return dict(cell for table in given["cells"] for cell in _expanded(table, given.get("words", {}), file))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise UsageError(f"{file} is no study: {type(error).__name__}: {error}") from error


def _expanded(
    table: Mapping[str, Any], words: Mapping[str, str], file: Path
) -> Iterator[tuple[str, dict[str, list[str]]]]:
    lists = table.get("each", {})
    for chosen in product(*lists.values()):
        values = {**words, **dict(zip(lists, chosen, strict=True)), "study": str(folder_of(file))}
        name = table["name"].format_map(values)
        values["out"] = str(folder_of(file) / name)
        yield name, {stage: _words(command, values) for stage, command in table["commands"].items()}


def _words(command: str, values: Mapping[str, Any]) -> list[str]:
    """Return the words of a command; what stands for {…} may itself contain {…}.

    Raises:
        ValueError: if one contains itself.
    """
    for _ in range(len(values) + 1):
        if "{" not in command:
            return shlex.split(command)
        command = command.format_map(values)
    raise ValueError(f"{command[:80]!r} contains itself")


if __name__ == "__main__":
    sys.exit(guarded(lambda: study(parse(Flags, sys.argv[1:], "study.py"))))
