"""`study`: where mode collapse comes from, and what helps: collect, train, probe and evaluate cell by cell."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from act_eval.cli.parsing import parse
from act_eval.cli.studies.cells import Budget

ACT_EVAL = (sys.executable, "-m", "act_eval")
"""The command line, by this interpreter."""


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
    """Begin nothing new after this time; what was begun is finished or kept. The same command continues."""
    budget: Annotated[Budget, tyro.conf.arg(name="")] = field(default_factory=Budget)
    """What every cell gets."""


def run(argv: Sequence[str], prog: str, program: Sequence[str] = ACT_EVAL) -> int:
    """Parse the flags and study; return the exit code.

    Args:
        argv: the flags.
        prog: how the command is called.
        program: what runs a stage, before the words of its command.
    """
    flags = parse(Flags, argv, prog)
    from act_eval.cli.studies.studying import study  # reads records, and help needs none of it

    return study(flags, program)
