"""Make one sweep of its parts: run folders of the same name become one."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from act_eval.cli import OK
from act_eval.cli.sweeps.beginning import check_names
from act_eval.errors import RunFolderError, UsageError
from act_eval.results import Source, check_parts, merge_runs


def is_sweep(path: Path) -> bool:
    """Return whether a path is the folder of a sweep: it is no run folder, and holds some."""
    return path.is_dir() and not (path / "manifest.json").exists() and bool(_runs(path))


def merge_sweeps(folders: Sequence[Path], out: Path, console: Console) -> int:
    """Merge the runs of sweeps, after checking all of them; return the exit code.

    Args:
        folders: that together cover every episode of every cell exactly once.
        out: a new folder; or the only one, which is merged in its place.
        console: where it is said.

    Raises:
        UsageError: if a folder is none of a sweep.
        RunFolderError: if a run is not in all folders or they do not become one, naming it; nothing is merged then.
    """
    runs = {name: [Source(folder / name) for folder in folders] for name in _common_runs(folders)}
    check_names(out, runs)
    for name, parts in runs.items():
        try:
            check_parts(parts, out / name)
        except RunFolderError as error:
            raise RunFolderError(f"{name}: {error}") from error
    for name, parts in runs.items():
        merge_runs(parts, out / name)
        console.print(f"merged  {', '.join(str(part.run) for part in parts)}", markup=False)
    console.print(f"results {out}; its sweep's command with --out {out}, without --shard, makes the tables")
    return OK


def _common_runs(folders: Sequence[Path]) -> list[str]:
    if other := [folder for folder in folders if not is_sweep(folder)]:
        raise UsageError(f"{other[0]} is no folder of a sweep, as others of these are; merge sweeps, or parts of a run")
    holders = {name: folder for folder in folders for name in _runs(folder)}
    for folder in folders:
        if lacking := sorted(holders.keys() - set(_runs(folder))):
            name = lacking[0]
            raise RunFolderError(f"{folder} holds no {name}, which {holders[name]} holds: it ran another grid")
    return sorted(holders)


def _runs(folder: Path) -> list[str]:
    return [path.parent.name for path in folder.glob("*/manifest.json")]
