"""`report`: the review page of one or several runs."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from act_eval.cli.parsing import parse


@dataclass(frozen=True)
class Flags:
    """Write the review page of one or several runs: report.html, which needs no server."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run folders of `evaluate`, finished or not, or a folder of them, as `sweep` makes."""
    out: Path | None = None
    """Folder for the page; by default the run folder, or for several runs one below outputs/report."""
    copy_videos: bool = False
    """Copy the videos beside the page, so that its folder can be moved and sent."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and write the page; return the exit code."""
    flags = parse(Flags, argv, prog)
    from act_eval.cli.finished.reporting import report  # what reads runs is heavy, and help needs none of it

    return report(flags, sys.stdout)
