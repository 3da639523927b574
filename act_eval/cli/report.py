"""`report`: the review page of one or several runs."""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from act_eval.cli import OK
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
    """Parse the flags and write the page; return the exit code.

    Raises:
        UsageError: if no run is named, or one twice.
        RunFolderError: if none of the folders holds a run, or the page cannot be written.
    """
    flags = parse(Flags, argv, prog)
    from act_eval.report import write_page  # what reads runs is heavy, and help needs none of it
    from act_eval.results.run import run_folders

    folders = run_folders(flags.runs)
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    write_page(folders, flags.out or _default_folder(folders), console, copy_videos=flags.copy_videos)
    return OK


def _default_folder(folders: Sequence[Path]) -> Path:
    if len(folders) == 1:
        return folders[0]
    names = "\n".join(sorted(str(folder.resolve()) for folder in folders))
    return Path("outputs") / "report" / hashlib.sha256(names.encode()).hexdigest()[:8]
