"""Several run folders that hold parts of one run become one run folder."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from act_eval.decoding import encode_line
from act_eval.errors import RunFolderError
from act_eval.results.folder import RunFolder
from act_eval.results.locks import locked
from act_eval.results.manifest import Manifest
from act_eval.results.opening import open_run
from act_eval.results.records import ShardLine, merge, read_shard, write_atomically, writing
from act_eval.results.shards import SHARDS, Shards
from act_eval.results.steps import path_of
from act_eval.results.suites import differences
from act_eval.types import EpisodeRecord


@dataclass(frozen=True)
class Source:
    """A run folder, or some of its shards."""

    run: Path
    files: tuple[Path, ...] | None = None
    """Its shards; None: all of them."""

    def lines(self) -> Iterator[tuple[Path, ShardLine]]:
        """Yield every line with the file that holds it."""
        if self.files is None:
            yield from Shards(self.run / SHARDS).lines()
        for file in self.files or ():
            for line in read_shard(file):
                yield file, line


def sources(paths: Sequence[Path]) -> list[Source]:
    """Return what paths of run folders and shards mean.

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
            raise RunFolderError(f"{path} does not exist")
    return [Source(run, None if files is None else tuple(files)) for run, files in found.items()]


def merge_runs(parts: Sequence[Source], out: Path) -> tuple[Manifest, dict[str, list[EpisodeRecord]]]:
    """Make one run folder of parts of a run, and return its manifest and the records by condition.

    Args:
        parts: which together cover every episode of every condition exactly once.
        out: a new folder; or that of the only source, which is merged in its place.

    Raises:
        RunFolderError: if they belong to different runs (naming what differs), episodes are missing or there twice
            (naming them, and the files), or a file that belongs to an episode is missing.
    """
    manifest = _manifest(parts)
    if _is_in_place(parts, out):
        with open_run(out, manifest) as folder:
            _check_left(parts[0], manifest)
            return manifest, folder.finish()
    with ExitStack() as stack:
        found = _taken_hold_of(parts, manifest, out, stack)
        folder = stack.enter_context(open_run(out, manifest))
        if not any(folder.finished().values()):
            with writing(out):
                for part in parts:
                    _take(folder, part)
                lines = "".join(encode_line(line) for _, line in found)
                write_atomically(folder.new_shards(1)[0], lines.encode())
        return manifest, folder.finish()


def check_parts(parts: Sequence[Source], out: Path) -> None:
    """Refuse what `merge_runs` refuses of the parts, and change nothing.

    Raises:
        RunFolderError: as `merge_runs` does.
    """
    manifest = _manifest(parts)
    if _is_in_place(parts, out):
        _check_left(parts[0], manifest)
        return
    with ExitStack() as stack:
        _taken_hold_of(parts, manifest, out, stack)


def _taken_hold_of(
    parts: Sequence[Source], manifest: Manifest, out: Path, stack: ExitStack
) -> list[tuple[Path, ShardLine]]:
    """Lock the parts' folders and return their lines, which cover the run exactly once."""
    if any(_same(part.run, out) for part in parts):
        raise RunFolderError(f"{out} is one of the runs that are merged; choose another --out")
    for part in parts:
        stack.enter_context(locked(part.run))
        if finished := [
            condition for condition in manifest.conditions if RunFolder(part.run, manifest).is_merged(condition)
        ]:
            raise RunFolderError(f"{part.run} is merged already ({', '.join(finished)}): it is no part of a run")
    found = [entry for part in parts for entry in part.lines()]
    _check_cover(manifest, found, manifest.conditions)
    return found


def _check_left(part: Source, manifest: Manifest) -> None:
    """Refuse a folder whose shards do not cover the conditions that are not merged yet."""
    folder = RunFolder(part.run, manifest)
    if left := [condition for condition in manifest.conditions if not folder.is_merged(condition)]:
        _check_cover(manifest, list(part.lines()), left)


def _is_in_place(parts: Sequence[Source], out: Path) -> bool:
    return len(parts) == 1 and _same(parts[0].run, out)


def _same(first: Path, second: Path) -> bool:
    return first.resolve() == second.resolve()


def _manifest(parts: Sequence[Source]) -> Manifest:
    """Return the manifest of the parts, after checking that they belong to one run."""
    manifests = {part.run: Manifest.read(part.run) for part in parts}
    (first, manifest), *others = manifests.items()
    for run, other in others:
        lines = [
            line
            for name in ("suite", "configuration", "fingerprint")
            for line in differences(manifest.to_json()[name], other.to_json()[name], name)
            if not line.startswith("suite.hash:")
        ]
        if lines:
            raise RunFolderError(f"{first} and {run} are parts of different runs:\n  " + "\n  ".join(lines))
    merged = [dict(other.notes) for other in manifests.values()]
    return manifest if len(manifests) == 1 else replace(manifest, notes={**manifest.notes, "merged": merged})


def _check_cover(manifest: Manifest, found: Sequence[tuple[Path, ShardLine]], conditions: Sequence[str]) -> None:
    """Refuse lines that do not cover the conditions exactly once, and name the files of those that are there twice."""
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
        raise RunFolderError(f"{len(lines)} episodes are there twice:\n  " + "\n  ".join(lines[:10]) + more)
    for condition in conditions:
        merge([line for _, line in found], condition, manifest.suite.seeds)


def _take(folder: RunFolder, part: Source) -> None:
    """Copy the files of a part's episodes; their names begin with the episode's number."""
    numbers: dict[str, set[int]] = {}
    for _, line in part.lines():
        numbers.setdefault(line.condition, set()).add(line.record.episode)
    for condition, episodes in numbers.items():
        if lost := [
            number for number in sorted(episodes) if not path_of(part.run / condition / "steps", number).is_file()
        ]:
            raise RunFolderError(f"{path_of(part.run / condition / 'steps', lost[0])} is missing; run that shard again")
        for path in sorted((part.run / condition).glob("*/*")):
            number = re.match(r"\d+", path.name)
            if number and int(number[0]) in episodes and path.suffix != ".part" and path.is_file():
                _copy(path, folder.path / path.relative_to(part.run))


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    unfinished = to.with_name(to.name + ".part")
    shutil.copyfile(path, unfinished)
    unfinished.replace(to)
