"""Open a run folder to start, resume or grow a run, and reject any other content."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from act_eval.errors import RunFolderError
from act_eval.results.folder import RunFolder
from act_eval.results.locks import LOCK, locked, locked_file, turn
from act_eval.results.manifest import MANIFEST, Manifest
from act_eval.results.records import write_atomically, writing
from act_eval.results.shards import JOBS, SHARDS, Shard, Shards
from act_eval.results.suites import differences

_TURN = ".manifest.lock"
_OURS = (LOCK, _TURN, SHARDS, JOBS, f"{MANIFEST}.part")  # the last one if its writer was killed


@contextmanager
def open_run(path: Path, manifest: Manifest, may_grow: bool = False, shard: Shard | None = None) -> Iterator[RunFolder]:
    """Create a run folder, or resume an interrupted run of the same configuration; nothing is overwritten.

    Args:
        path: the folder.
        manifest: the requested run.
        may_grow: whether conditions may be added to an existing run; its own conditions must be requested unchanged.
        shard: own only this shard, beside processes that own other shards.

    Raises:
        RunFolderError: if the folder holds other files, another run (naming the differences), or is in use.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    _check_is_run_folder(path)  # before any write, the lock file included
    with locked(path, shared=shard is not None), ExitStack() as stack:
        if shard is not None:
            stack.enter_context(_own(path, shard))
        with turn(path / _TURN):
            if (path / MANIFEST).exists():
                manifest = _grow(path, manifest) if may_grow else _resume(path, manifest)
            else:
                _check_is_run_folder(path)
                _write(path, manifest)
        yield RunFolder(path, manifest, shard)


@contextmanager
def _own(path: Path, shard: Shard) -> Iterator[None]:
    """Hold a shard's lock, after checking that the run is split into the same number of shards."""
    with writing(path):
        (path / SHARDS).mkdir(exist_ok=True)
    if other := Shards(path / SHARDS).counts() - {shard.count}:
        raise RunFolderError(
            f"{path} is already split into {min(other)} shards, and --shard is one of {shard.count}; "
            f"choose one of {min(other)}, or another --out"
        )
    with locked_file(path / SHARDS / f".{shard.name}.lock", path / SHARDS / shard.name):
        yield


def _check_is_run_folder(path: Path) -> None:
    """Reject a folder that has other files and no manifest."""
    other = sorted(entry.name for entry in path.iterdir() if entry.name not in _OURS)
    if other and MANIFEST not in other:
        raise RunFolderError(f"{path} is not a run folder and holds {', '.join(other[:5])}; choose another --out")


def _resume(path: Path, requested: Manifest) -> Manifest:
    """Return the folder's own manifest, after checking that the requested run is the same."""
    present = Manifest.read(path)
    lines = [
        line
        for name in ("suite", "configuration", "fingerprint")
        for line in differences(present.to_json()[name], json.loads(json.dumps(requested.to_json()[name])), name)
        if not line.startswith("suite.hash:")
    ]
    if lines:
        raise RunFolderError(
            f"{path} holds another run (existing against requested):\n  "
            + "\n  ".join(lines)
            + "\nChoose another --out, or repeat that run's command to resume it."
        )
    return present


def check_growing_run(path: Path, requested: Manifest) -> None:
    """Check whether `open_run` can grow a folder into the requested run, without changing anything.

    Raises:
        RunFolderError: if the folder holds other files, or another run, naming the differences.
    """
    if path.is_dir():
        _check_is_run_folder(path)
        if (path / MANIFEST).exists():
            _resume_subset(path, requested)


def _resume_subset(path: Path, requested: Manifest) -> Manifest:
    """Return the folder's own manifest, after checking that the requested run only adds conditions."""
    known = set(Manifest.read(path).conditions)
    shared = {name: condition for name, condition in requested.configuration["conditions"].items() if name in known}
    return _resume(path, replace(requested, configuration={**requested.configuration, "conditions": shared}))


def _grow(path: Path, requested: Manifest) -> Manifest:
    """Add the missing requested conditions to the folder's manifest, write it and return it."""
    present = _resume_subset(path, requested)
    conditions = requested.configuration["conditions"]
    if set(present.conditions) == set(conditions):
        return present
    # In the requested order, which is that of the tables.
    grown = replace(
        present,
        configuration={**present.configuration, "conditions": dict(conditions)},
        notes={**present.notes, "grown": [*present.notes.get("grown", ()), dict(requested.notes)]},
    )
    _write(path, grown)
    return grown


def _write(path: Path, manifest: Manifest) -> None:
    with writing(path):
        write_atomically(path / MANIFEST, (json.dumps(manifest.to_json(), indent=2) + "\n").encode())
