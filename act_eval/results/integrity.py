"""What a run folder may hold: names that are no paths, and files that nobody has changed.

`CONDITION/digests.json` lists the files of a finished condition with their digests; until then each shard line lists
the files of its episode. A file that changed afterwards is an error, and an episode whose file is gone is run again.
Videos are listed without a digest, because `render` may write them again.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from act_eval.decoding import read_bytes, read_json
from act_eval.errors import RunFolderError

DIGESTS = "digests.json"
"""File in a condition's folder: name of a file → digest of its content, or nothing for a video."""

_RESERVED = ("shards", "jobs", "report", "plots", "tensorboard", "wandb", "manifest.json")
_FILE = re.compile(r"(steps|videos)/\d{4,}[^/\\\0]*")


def digest_of(content: bytes) -> str:
    """Return the first 32 hexadecimal digits of the SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()[:32]


def check_condition_name(name: str, place: str) -> None:
    """Check that a condition's name is the name of a folder and nothing else.

    Raises:
        RunFolderError: naming `place`.
    """
    if not name or name[0] == "." or set(name) & set("/\\:\0") or not name.isprintable() or name in _RESERVED:
        raise RunFolderError(f"{place}: condition {name!r} is not a folder name; it is a plain name such as rtc_d4_s10")


def check_file_names(files: Iterable[str], place: str) -> None:
    """Check that the files of an episode are in the condition's own folders.

    Raises:
        RunFolderError: naming `place`.
    """
    if wrong := [name for name in files if not _FILE.fullmatch(name)]:
        raise RunFolderError(f"{place}: {wrong[0]!r} is not a file of an episode, as steps/0003.npz")


def encode_digests(files: Mapping[str, str]) -> bytes:
    """Return the content of `DIGESTS`: one line per file, sorted by name."""
    return (json.dumps(dict(sorted(files.items())), indent=0) + "\n").encode()


def read_digests(folder: Path) -> dict[str, str] | None:
    """Return the digests of a condition's files; None if the file is missing.

    Raises:
        RunFolderError: if it is damaged.
    """
    path = folder / DIGESTS
    if not path.is_file():
        return None
    digests = read_json(path, dict[str, str])
    check_file_names([name for name in digests if "/" in name or "\\" in name], str(path))
    return digests


def check_unchanged(path: Path) -> None:
    """Check that a file of a condition is as the run wrote it, if the run recorded its digest.

    Raises:
        RunFolderError: if it is not.
    """
    recorded = (read_digests(path.parent) or {}).get(path.name)
    if recorded is not None and recorded != (found := digest_of(read_bytes(path, RunFolderError))):
        raise RunFolderError(
            f"{path} was changed after the run: its digest is {found}, {DIGESTS} has {recorded}. Restore it; or delete "
            "it and repeat the run's command, which runs the episodes of the condition again"
        )
