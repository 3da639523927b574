"""The run folder: its manifest, its layout, and what may be resumed.

`OUT/manifest.json` says how the run was made. While it runs, every process appends to its own file in
`OUT/shards/`; at the end each arm gets `episodes.jsonl` and `timings.jsonl` in suite order and the shards go.
`ARM/steps/` holds per-step arrays and `ARM/videos/` the recordings of single episodes.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import act_eval
from act_eval.errors import RunFolderError, SuiteMismatch
from act_eval.records import METRICS, ShardLine, merge, read_episodes, read_shard, to_line, write_atomically, writing
from act_eval.suites import Suite, differences
from act_eval.timing import Trace, recorded_trace, write_trace
from act_eval.types import EpisodeRecord

SCHEMA = 1
"""Version of the layout and of the manifest's fields."""

_PACKAGES = ("numpy", "scipy", "torch", "torchvision", "gymnasium", "mujoco", "dm-control", "av")
TRACE = "trace.json"
"""File in an arm's folder: the delays of its requests, which `--delay trace:FILE` replays."""
_SHARDS = "shards"
_MANIFEST = "manifest.json"
_LOCK = ".lock"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """How a run was made."""

    suite: Suite
    """What is evaluated on."""
    configuration: Mapping[str, Any]
    """What else decides the records (JSON values): policy, arms by name, precision, compile mode, video mode."""
    fingerprint: Mapping[str, Any]
    """What the numbers may depend on beyond that (JSON values): versions, CPU, threads, renderer."""
    notes: Mapping[str, Any]
    """What decides nothing (JSON values): command, date, git commit, workers, batch size."""

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, in their order."""
        return tuple(self.configuration["arms"])

    def to_json(self) -> dict[str, Any]:
        """Return the content of `manifest.json`."""
        return {
            "schema": SCHEMA,
            "suite": self.suite.to_json(),
            "configuration": dict(self.configuration),
            "fingerprint": dict(self.fingerprint),
            "notes": dict(self.notes),
        }

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of a run folder.

        Raises:
            RunFolderError: if there is none, it is damaged, or it has another schema.
        """
        path = folder / _MANIFEST
        try:
            values = json.loads(path.read_bytes())
            if values["schema"] != SCHEMA:
                raise RunFolderError(f"{path} has schema {values['schema']}; this version reads schema {SCHEMA}")
            parts = {name: dict(values[name]) for name in ("configuration", "fingerprint", "notes")}
            if not isinstance(parts["configuration"].get("arms"), dict):
                raise RunFolderError(f"{path} names no arms")
            return cls(suite=Suite.from_json(values["suite"]), **parts)
        except FileNotFoundError as error:
            raise RunFolderError(f"{folder} is not a run folder: it has no {_MANIFEST}") from error
        except (ValueError, KeyError, TypeError, OSError, SuiteMismatch) as error:
            raise RunFolderError(f"{path} is damaged ({type(error).__name__}: {error})") from error


class RunFolder:
    """A run folder that this process owns: nobody else writes into it meanwhile."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    def arm(self, name: str) -> Path:
        """Return an arm's folder."""
        return self.path / name

    def finished(self) -> dict[str, list[EpisodeRecord]]:
        """Return the records of finished episodes by arm, in no particular order."""
        found: dict[str, dict[int, EpisodeRecord]] = {name: {} for name in self.manifest.arms}
        for line in self._lines():
            found.setdefault(line.arm, {})[line.record.episode] = line.record
        for name in self.manifest.arms:
            if (self.arm(name) / "episodes.jsonl").is_file():
                found[name] = {record.episode: record for record in self.episodes(name)}
        return {name: list(records.values()) for name, records in found.items()}

    def done(self) -> dict[str, set[int]]:
        """Return the numbers of finished episodes by arm."""
        return {name: {record.episode for record in records} for name, records in self.finished().items()}

    def new_shards(self, count: int) -> list[Path]:
        """Return the paths of `count` shards that do not exist yet."""
        folder = self.path / _SHARDS
        folder.mkdir(exist_ok=True)
        first = max((int(path.stem) for path in folder.glob("[0-9]*.jsonl")), default=-1) + 1
        return [folder / f"{number:05d}.jsonl" for number in range(first, first + count)]

    def finish(self) -> dict[str, list[EpisodeRecord]]:
        """Merge the shards into every arm's files and return the records by arm.

        Raises:
            RunFolderError: if the shards do not cover the suite exactly once, or the files cannot be written.
        """
        lines = list(self._lines())
        for name in self.manifest.arms:
            if not (self.arm(name) / "episodes.jsonl").is_file():
                with writing(self.path):
                    self._write_arm(name, merge(lines, name, self.manifest.suite.seeds))
        for shard in sorted((self.path / _SHARDS).glob("*.jsonl")):
            shard.unlink()
        return {name: self.episodes(name) for name in self.manifest.arms}

    def episodes(self, arm: str) -> list[EpisodeRecord]:
        """Return a finished arm's records in suite order."""
        records = read_episodes(self.arm(arm) / "episodes.jsonl")
        if [record.seed for record in records] != list(self.manifest.suite.seeds):
            raise RunFolderError(f"{self.arm(arm) / 'episodes.jsonl'} does not hold the seeds of the suite")
        return records

    def _write_arm(self, name: str, lines: list[ShardLine]) -> None:
        self.arm(name).mkdir(exist_ok=True)
        timings = "".join(to_line(line.timing) for line in lines)
        write_atomically(self.arm(name) / "timings.jsonl", timings.encode())
        metrics = "".join(to_line(line.metrics) for line in lines)
        write_atomically(self.arm(name) / METRICS, metrics.encode())
        trace = delays_of([line.record for line in lines]) if self._delays_vary(name) else None
        if trace is not None:
            write_trace(self.arm(name) / TRACE, trace)
        # Last, because its presence says that the arm is finished.
        episodes = "".join(to_line(line.record) for line in lines)
        write_atomically(self.arm(name) / "episodes.jsonl", episodes.encode())

    def _delays_vary(self, name: str) -> bool:
        """Whether an arm's delay model is not constant: its entry names the model instead of a number."""
        return isinstance(self.manifest.configuration["arms"][name].get("delay"), str)

    def _lines(self) -> Iterator[ShardLine]:
        for path in sorted((self.path / _SHARDS).glob("*.jsonl")):
            yield from read_shard(path)


def delays_of(records: Sequence[EpisodeRecord]) -> Trace | None:
    """Return the trace that replays an arm's delays, None where no answer ever came.

    A trace holds the steps from request to answer; records count from the observation, whose age is taken off.
    """
    episodes: dict[int, list[int | None]] = {}
    for record in records:
        actual = record.detail.get("actual_delays", ())
        ages = record.detail.get("observation_ages", [0] * len(actual))
        delays = [None if steps is None else steps - age for steps, age in zip(actual, ages, strict=True)]
        episodes[record.seed] = delays[1:]  # the first chunk draws no delay
    answered = any(delay is not None for delays in episodes.values() for delay in delays)
    return recorded_trace(episodes) if answered else None


@contextmanager
def open_run(path: Path, manifest: Manifest, may_grow: bool = False) -> Iterator[RunFolder]:
    """Create a run folder, or take up an interrupted one of the same configuration; nothing is overwritten.

    Args:
        path: the folder.
        manifest: the run that is wanted.
        may_grow: whether arms may be added to the run that is there; its own arms must all be wanted, unchanged.

    Raises:
        RunFolderError: if the folder holds something else, another run (naming what differs), or is in use.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    _refuse_foreign(path)  # before anything is put into it, the lock included
    with locked(path):
        if (path / _MANIFEST).exists():
            manifest = _grow(path, manifest) if may_grow else _resume(path, manifest)
        else:
            _refuse_foreign(path)
            _write(path, manifest)
        yield RunFolder(path, manifest)


def _refuse_foreign(path: Path) -> None:
    foreign = sorted(entry.name for entry in path.iterdir() if entry.name != _LOCK)
    if foreign and _MANIFEST not in foreign:
        raise RunFolderError(f"{path} is not a run folder and holds {', '.join(foreign[:5])}; choose another --out")


def fingerprint(threads: int, renderer: str, **more: str) -> dict[str, Any]:
    """Return what a run's numbers may depend on beyond its configuration."""
    return {
        "act_eval": act_eval.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        **{name: _version(name) for name in _PACKAGES},
        "threads": threads,
        "renderer": renderer,
        **more,
    }


def notes(**more: Any) -> dict[str, Any]:
    """Return what a reader of the manifest wants to know and no number depends on."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": _git_commit(),
        **more,
    }


def _resume(path: Path, wanted: Manifest) -> Manifest:
    """Return the folder's own manifest if the wanted run is the same."""
    present = Manifest.read(path)
    lines = [
        line
        for name in ("suite", "configuration", "fingerprint")
        for line in differences(present.to_json()[name], json.loads(json.dumps(wanted.to_json()[name])), name)
        if not line.startswith("suite.hash:")
    ]
    if lines:
        raise RunFolderError(
            f"{path} holds another run (there, against asked for):\n  "
            + "\n  ".join(lines)
            + "\nChoose another --out, or repeat that run's command to resume it."
        )
    return present


def check_growing_run(path: Path, wanted: Manifest) -> None:
    """Refuse what `open_run` refuses to grow into the wanted run, and change nothing.

    Raises:
        RunFolderError: if the folder holds something else, or another run, naming what differs.
    """
    if path.is_dir():
        _refuse_foreign(path)
        if (path / _MANIFEST).exists():
            _smaller(path, wanted)


def _smaller(path: Path, wanted: Manifest) -> Manifest:
    """Return the folder's own manifest if the wanted run is the same but for further arms."""
    known = set(Manifest.read(path).arms)
    shared = {name: arm for name, arm in wanted.configuration["arms"].items() if name in known}
    return _resume(path, replace(wanted, configuration={**wanted.configuration, "arms": shared}))


def _grow(path: Path, wanted: Manifest) -> Manifest:
    """Return the folder's own manifest with the wanted arms that it lacks, after writing it."""
    present = _smaller(path, wanted)
    arms = wanted.configuration["arms"]
    if set(present.arms) == set(arms):
        return present
    # In the wanted order, which is that of the tables.
    grown = replace(
        present,
        configuration={**present.configuration, "arms": dict(arms)},
        notes={**present.notes, "grown": [*present.notes.get("grown", ()), dict(wanted.notes)]},
    )
    _write(path, grown)
    return grown


def _write(path: Path, manifest: Manifest) -> None:
    with writing(path):
        write_atomically(path / _MANIFEST, (json.dumps(manifest.to_json(), indent=2) + "\n").encode())


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a folder's lock, which the system releases when the process ends, however it ends.

    Raises:
        RunFolderError: if another process holds it.
    """
    with writing(path):
        file = (path / _LOCK).open("w")
    with file:
        try:
            _lock(file)
        except OSError as error:
            raise RunFolderError(f"{path} is in use by another process; wait for it or choose another --out") from error
        yield


def _lock(file: IO[str]) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _cpu() -> str:
    """Model name of the processor: libraries choose their kernels by it, and kernels round differently."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _git_commit() -> str | None:
    """Commit of the source tree, with a mark if it has changes; None outside a checkout."""
    root = Path(act_eval.__file__).parent.parent
    if not (root / ".git").exists():  # an installed package may lie inside somebody else's repository
        return None
    command = ["git", "-C", os.fspath(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
