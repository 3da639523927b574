"""Merge several run folders with shards of one run into one run folder."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from act_eval.errors import MissingRun, RunFolderError
from act_eval.results.folder import RunFolder, open_run
from act_eval.results.locks import locked
from act_eval.results.manifest import Manifest
from act_eval.results.records import ShardLine, merge, read_shard, write_lines, writing
from act_eval.results.shards import SHARDS, Shards
from act_eval.results.steps import path_of
from act_eval.types import EpisodeRecord


@dataclass(frozen=True)
class Source:
    """A run folder, or some of its shards."""

    run: Path
    files: tuple[Path, ...] | None = None
    """Its shards; None: all of them."""

    def lines(self) -> Iterator[tuple[Path, ShardLine]]:
        """Yield every line with its file."""
        if self.files is None:
            yield from Shards(self.run / SHARDS).lines()
        for file in self.files or ():
            for line in read_shard(file):
                yield file, line


def parse_sources(paths: Sequence[Path]) -> list[Source]:
    """Return the sources of paths of run folders and shards.

    Raises:
        RunFolderError: naming a path that is neither.
    """
    found: dict[Path, list[Path] | None] = {}
    for path in paths:
        if path.is_dir():
            found[path] = None
        elif path.is_file() and path.suffix == ".jsonl" and path.parent.name == SHARDS:
            files = found.setdefault(path.parent.parent, [])
            if files is not None:
                files.append(path)
        elif path.exists():
            raise RunFolderError(f"{path} is neither a run folder nor one of its shards (RUN/{SHARDS}/2-of-8.jsonl)")
        else:
            raise MissingRun(f"{path} does not exist")
    return [Source(run, None if files is None else tuple(files)) for run, files in found.items()]


def merge_runs(sources: Sequence[Source], out: Path) -> dict[str, list[EpisodeRecord]]:
    """Merge sources of one run into one run folder; return the records by condition.

    Args:
        sources: must cover every episode of every condition exactly once.
        out: a new folder; or the folder of the only source, which is merged in place.

    Raises:
        RunFolderError: if the sources belong to different runs (naming the differences), episodes are missing or
            duplicated (naming them and their files), or a file of an episode is missing.
    """
    manifest = _manifest(sources)
    if _is_in_place(sources, out):
        with open_run(out, manifest) as folder:
            _check_left(sources[0], manifest)
            return folder.finish()
    with ExitStack() as stack:
        found = _lock_and_read(sources, manifest, out, stack)
        folder = stack.enter_context(open_run(out, manifest))
        if not any(folder.finished().values()):
            with writing(out):
                for source in sources:
                    _take(folder, source)
                write_lines(folder.new_shards(1)[0], [line for _, line in found])
        return folder.finish()


def check_sources(sources: Sequence[Source], out: Path) -> None:
    """Check sources for `merge_runs` without changing anything.

    Raises:
        RunFolderError: as `merge_runs`.
    """
    manifest = _manifest(sources)
    if _is_in_place(sources, out):
        _check_left(sources[0], manifest)
        return
    with ExitStack() as stack:
        _lock_and_read(sources, manifest, out, stack)


def _lock_and_read(
    sources: Sequence[Source], manifest: Manifest, out: Path, stack: ExitStack
) -> list[tuple[Path, ShardLine]]:
    """Lock the sources' folders and return their lines, after checking that they cover the run exactly once."""
    if any(_same(source.run, out) for source in sources):
        raise RunFolderError(f"{out} is one of the runs that are merged; choose another --out")
    for source in sources:
        stack.enter_context(locked(source.run))
        if finished := [
            condition for condition in manifest.conditions if RunFolder(source.run, manifest).is_merged(condition)
        ]:
            raise RunFolderError(f"{source.run} is merged already ({', '.join(finished)}): it is not a shard of a run")
    found = [entry for source in sources for entry in source.lines()]
    _check_cover(manifest, found, manifest.conditions)
    return found


def _check_left(source: Source, manifest: Manifest) -> None:
    """Check that the shards of a folder cover the conditions that are not merged yet."""
    folder = RunFolder(source.run, manifest)
    if left := [condition for condition in manifest.conditions if not folder.is_merged(condition)]:
        _check_cover(manifest, list(source.lines()), left)


def _is_in_place(sources: Sequence[Source], out: Path) -> bool:
    return len(sources) == 1 and _same(sources[0].run, out)


def _same(first: Path, second: Path) -> bool:
    return first.resolve() == second.resolve()


def _manifest(sources: Sequence[Source]) -> Manifest:
    """Return the manifest of the sources, after checking that they belong to one run."""
    manifests = {source.run: Manifest.read(source.run) for source in sources}
    (first, manifest), *others = manifests.items()
    for run, other in others:
        if lines := manifest.differences(other):
            raise RunFolderError(f"{first} and {run} belong to different runs:\n  " + "\n  ".join(lines))
    merged = [dict(other.notes) for other in manifests.values()]
    return manifest if len(manifests) == 1 else replace(manifest, notes={**manifest.notes, "merged": merged})


def _check_cover(manifest: Manifest, found: Sequence[tuple[Path, ShardLine]], conditions: Sequence[str]) -> None:
    """Check that lines cover the conditions exactly once; an error names the files of duplicated episodes."""
    places: dict[tuple[str, int], list[Path]] = {}
    for path, line in found:
        if line.condition in conditions:
            places.setdefault((line.condition, line.record.episode), []).append(path)
    doubled = {key: files for key, files in places.items() if len(files) > 1}
    if doubled:
        lines = [
            f"{condition}, episode {number}: {', '.join(map(str, files))}"
            for (condition, number), files in doubled.items()
        ]
        more = f"\n  … and {len(lines) - 10} more" if len(lines) > 10 else ""
        raise RunFolderError(f"{len(lines)} episodes are duplicated:\n  " + "\n  ".join(lines[:10]) + more)
    for condition in conditions:
        merge([line for _, line in found], condition, manifest.suite.seeds)


def _take(folder: RunFolder, source: Source) -> None:
    """Copy the files of a source's episodes; their names begin with the episode's number."""
    numbers: dict[str, set[int]] = {}
    for _, line in source.lines():
        numbers.setdefault(line.condition, set()).add(line.record.episode)
    for condition, episodes in numbers.items():
        paths = [path_of(source.run / condition / "steps", number) for number in sorted(episodes)]
        if missing := [path for path in paths if not path.is_file()]:
            raise RunFolderError(f"{missing[0]} is missing; run that shard again")
        for path in sorted((source.run / condition).glob("*/*")):
            number = re.match(r"\d+", path.name)
            if number and int(number[0]) in episodes and path.suffix != ".part" and path.is_file():
                _copy(path, folder.path / path.relative_to(source.run))


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    unfinished = to.with_name(to.name + ".part")
    shutil.copyfile(path, unfinished)
    unfinished.replace(to)
