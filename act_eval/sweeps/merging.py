"""Make one run or one sweep of its parts: run folders of the same name become one."""

from collections.abc import Sequence
from pathlib import Path

from act_eval.config import MergeConfig
from act_eval.errors import RunFolderError, UsageError
from act_eval.evaluation.finish import FinishedRun, finish_run
from act_eval.evaluation.reporter import Reporter
from act_eval.results import Source, check_parts, merge_runs, sources
from act_eval.sweeps.run import check_names


def merge(config: MergeConfig, reporter: Reporter) -> FinishedRun | Path:
    """Merge parts; return the finished run, or the folder of the merged sweep.

    Raises:
        ActEvalError: with what is wrong with the config or the parts.
    """
    if not config.sources:
        raise UsageError("nothing to merge; name run folders, or shards as in RUN/shards/2-of-8.jsonl")
    if any(map(is_sweep, config.sources)):
        folders = list(dict.fromkeys(config.sources))
        return _merge_sweeps(folders, _folder(config.out, folders), reporter)
    parts = sources(config.sources)
    out = _folder(config.out, [part.run for part in parts])
    manifest, records = merge_runs(parts, out)
    reporter.line(f"merged  {', '.join(str(part.run) for part in parts)}")
    return finish_run(out, manifest, records, reporter)


def is_sweep(path: Path) -> bool:
    """Return whether a path is the folder of a sweep: it is no run folder, and holds some."""
    return path.is_dir() and not (path / "manifest.json").exists() and bool(_runs(path))


def _folder(out: Path | None, folders: Sequence[Path]) -> Path:
    """Return the folder of the merged run or sweep.

    Raises:
        UsageError: if it is not given and the parts lie in several folders.
    """
    if out is None and len(folders) > 1:
        raise UsageError(f"--out is needed: the parts lie in {len(folders)} folders ({folders[0]}, {folders[1]}, …)")
    return out or folders[0]


def _merge_sweeps(folders: Sequence[Path], out: Path, reporter: Reporter) -> Path:
    """Merge the runs of sweeps, after checking all of them; return `out`.

    Args:
        folders: which together cover every episode of every cell exactly once.
        out: a new folder; or the only one, which is merged in its place.
        reporter: receives a line per run.

    Raises:
        UsageError: if one is not the folder of a sweep.
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
        reporter.line(f"merged  {', '.join(str(part.run) for part in parts)}")
    return out


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
