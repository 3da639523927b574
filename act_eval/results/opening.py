"""Taking possession of a run folder: what may be begun, resumed or grown, and what is refused."""

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
from act_eval.results.shards import JOBS, SHARDS, Part, Shards
from act_eval.results.suites import differences

_TURN = ".manifest.lock"
_OURS = (LOCK, _TURN, SHARDS, JOBS, f"{MANIFEST}.part")  # the last where its first writer was killed


@contextmanager
def open_run(path: Path, manifest: Manifest, may_grow: bool = False, part: Part | None = None) -> Iterator[RunFolder]:
    """Create a run folder, or take up an interrupted one of the same configuration; nothing is overwritten.

    Args:
        path: the folder.
        manifest: the requested run.
        may_grow: whether conditions may be added to an existing run; its own conditions must be requested unchanged.
        part: own only this shard, beside processes that own other shards.

    Raises:
        RunFolderError: if the folder holds something else, another run (naming what differs), or is in use.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    _refuse_foreign(path)  # before anything is put into it, the lock included
    with locked(path, shared=part is not None), ExitStack() as stack:
        if part is not None:
            stack.enter_context(_own(path, part))
        with turn(path / _TURN):
            if (path / MANIFEST).exists():
                manifest = _grow(path, manifest) if may_grow else _resume(path, manifest)
            else:
                _refuse_foreign(path)
                _write(path, manifest)
        yield RunFolder(path, manifest, part)


@contextmanager
def _own(path: Path, part: Part) -> Iterator[None]:
    """Hold a part's lock, after refusing to cut the run in another way than it is cut already."""
    with writing(path):
        (path / SHARDS).mkdir(exist_ok=True)
    if other := Shards(path / SHARDS).counts() - {part.count}:
        raise RunFolderError(
            f"{path} is cut into {min(other)} shards already, and --shard names one of {part.count}; "
            f"ask for one of {min(other)}, or choose another --out"
        )
    with locked_file(path / SHARDS / f".{part.name}.lock", path / SHARDS / part.name):
        yield


def _refuse_foreign(path: Path) -> None:
    foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in _OURS)
    if foreign and MANIFEST not in foreign:
        raise RunFolderError(f"{path} is not a run folder and holds {', '.join(foreign[:5])}; choose another --out")


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
        if (path / MANIFEST).exists():
            _smaller(path, wanted)


def _smaller(path: Path, wanted: Manifest) -> Manifest:
    """Return the folder's own manifest if the wanted run is the same but for further conditions."""
    known = set(Manifest.read(path).conditions)
    shared = {name: condition for name, condition in wanted.configuration["conditions"].items() if name in known}
    return _resume(path, replace(wanted, configuration={**wanted.configuration, "conditions": shared}))


def _grow(path: Path, wanted: Manifest) -> Manifest:
    """Return the folder's own manifest with the wanted conditions that it lacks, after writing it."""
    present = _smaller(path, wanted)
    conditions = wanted.configuration["conditions"]
    if set(present.conditions) == set(conditions):
        return present
    # In the wanted order, which is that of the tables.
    grown = replace(
        present,
        configuration={**present.configuration, "conditions": dict(conditions)},
        notes={**present.notes, "grown": [*present.notes.get("grown", ()), dict(wanted.notes)]},
    )
    _write(path, grown)
    return grown


def _write(path: Path, manifest: Manifest) -> None:
    with writing(path):
        write_atomically(path / MANIFEST, (json.dumps(manifest.to_json(), indent=2) + "\n").encode())
