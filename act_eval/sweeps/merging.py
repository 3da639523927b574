"""Merge shards into one run, or several sweep folders into one sweep."""

from collections.abc import Sequence
from pathlib import Path

from act_eval.config import MergeConfig
from act_eval.errors import RunFolderError, UsageError
from act_eval.evaluation.finish import FinishedRun, finish_run
from act_eval.evaluation.reporter import Reporter
from act_eval.results import Source, check_sources, merge_runs, parse_sources
from act_eval.sweeps.run import check_names


def merge(config: MergeConfig, reporter: Reporter) -> FinishedRun | Path:
    """Merge sources; return the finished run, or the folder of the merged sweep.

    Raises:
        ActEvalError: if the config or the sources are invalid.
    """
    if not config.sources:
        raise UsageError("nothing to merge; name run folders, or shards as in RUN/shards/2-of-8.jsonl")
    if any(map(is_sweep, config.sources)):
        folders = list(dict.fromkeys(config.sources))
        return _merge_sweeps(folders, _folder(config.out, folders), reporter)
    sources = parse_sources(config.sources)
    out = _folder(config.out, [source.run for source in sources])
    records = merge_runs(sources, out)
    reporter.line(f"merged  {', '.join(str(source.run) for source in sources)}")
    return finish_run(out, records, reporter)


def is_sweep(path: Path) -> bool:
    """Return whether a path is a sweep folder: not a run folder, but holding some."""
    return path.is_dir() and not (path / "manifest.json").exists() and bool(_runs(path))


def _folder(out: Path | None, folders: Sequence[Path]) -> Path:
    if out is None and len(folders) > 1:
        raise UsageError(f"--out is needed: the shards are in {len(folders)} folders ({folders[0]}, {folders[1]}, …)")
    return out or folders[0]


def _merge_sweeps(folders: Sequence[Path], out: Path, reporter: Reporter) -> Path:
    """Merge the runs of sweeps, after checking all of them; return `out`, a new folder or the only one of `folders`."""
    runs = {name: [Source(folder / name) for folder in folders] for name in _common_runs(folders)}
    check_names(out, runs)
    for name, sources in runs.items():
        try:
            check_sources(sources, out / name)
        except RunFolderError as error:
            raise RunFolderError(f"{name}: {error}") from error
    for name, sources in runs.items():
        merge_runs(sources, out / name)
        reporter.line(f"merged  {', '.join(str(source.run) for source in sources)}")
    return out


def _common_runs(folders: Sequence[Path]) -> list[str]:
    if other := [folder for folder in folders if not is_sweep(folder)]:
        raise UsageError(f"{other[0]} is not a sweep folder, unlike others; merge either sweeps or shards of a run")
    holders = {name: folder for folder in folders for name in _runs(folder)}
    for folder in folders:
        if lacking := sorted(holders.keys() - set(_runs(folder))):
            name = lacking[0]
            raise RunFolderError(f"{folder} holds no {name}, which {holders[name]} holds: it ran another grid")
    return sorted(holders)


def _runs(folder: Path) -> list[str]:
    return [path.parent.name for path in folder.glob("*/manifest.json")]
