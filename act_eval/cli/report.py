"""`report`: write the review page of one or several runs."""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.progress import Progress

from act_eval.cli import OK
from act_eval.cli.parsing import parse


@dataclass(frozen=True)
class Flags:
    """Write the review page of one or several runs: report.html, which needs no server."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run folders of `evaluate`, finished or not, or a folder of run folders such as that of `sweep`."""
    out: Path | None = None
    """Output folder; by default the run folder, or for several runs a folder below outputs/report."""
    copy_videos: bool = False
    """Copy the videos beside the page, so that its folder is self-contained."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and write the page; return the exit code.

    Raises:
        UsageError: if no run is named, or one twice.
        RunFolderError: if none of the folders holds a run, or the page cannot be written.
    """
    flags = parse(Flags, argv, prog)
    from act_eval.cli.screen import console_for, page_lines  # slow to import; help does not need it
    from act_eval.report import write_report
    from act_eval.results.run import run_folders

    folders, console = run_folders(flags.runs), console_for(sys.stdout)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("review page", total=None)
        written = write_report(
            folders,
            flags.out or _default_folder(folders),
            copy_videos=flags.copy_videos,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    for line in page_lines(written):
        console.print(line, markup=False)
    return OK


def _default_folder(folders: Sequence[Path]) -> Path:
    if len(folders) == 1:
        return folders[0]
    names = "\n".join(sorted(str(folder.resolve()) for folder in folders))
    return Path("outputs") / "report" / hashlib.sha256(names.encode()).hexdigest()[:8]
