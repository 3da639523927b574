"""Write a review page and say where it lies and what is missing in it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import Progress

from act_eval.cli import OK
from act_eval.report import Report, run_folders, write_report
from act_eval.results.suites import Suite

if TYPE_CHECKING:
    from act_eval.cli.report import Flags

_OUR_ENVIRONMENTS = "act_eval/"
_MOST_NAMED = 3


def report(flags: "Flags", stream: TextIO) -> int:
    """Write the page that the flags ask for; return the exit code.

    Raises:
        UsageError: if no run is named, or one twice.
        RunFolderError: if none of the folders holds a run, or the page cannot be written.
    """
    console = Console(file=stream, highlight=False, soft_wrap=True)
    folders = run_folders(flags.runs)
    write_page(folders, flags.out or _default_folder(folders), console, copy_videos=flags.copy_videos)
    return OK


def write_page(folders: Sequence[Path], out: Path, console: Console, *, copy_videos: bool = False) -> Report:
    """Write the page of run folders into a folder, showing how far it is; return what was written.

    Raises:
        RunFolderError: as `write_report`.
    """
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("review page", total=None)
        written = write_report(
            folders,
            out,
            joint_names=joint_names,
            copy_videos=copy_videos,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    for line in written.problems[:_MOST_NAMED]:
        console.print(f"page: {line}", markup=False)
    if (more := len(written.problems) - _MOST_NAMED) > 0:
        console.print(f"page: missing, and named on it: {more} more")
    console.print(f"page    {written.path}", markup=False)
    return written


def joint_names(suite: Suite) -> Sequence[str]:
    """Return the names of the joints of our own environments; others have none that are known here."""
    if not suite.env.startswith(_OUR_ENVIRONMENTS):
        return ()
    from act_eval.scenes.arm import JOINTS  # MuJoCo takes its time to load

    return JOINTS


def _default_folder(folders: Sequence[Path]) -> Path:
    if len(folders) == 1:
        return folders[0]
    names = "\n".join(sorted(str(folder.resolve()) for folder in folders))
    return Path("outputs") / "report" / hashlib.sha256(names.encode()).hexdigest()[:8]
