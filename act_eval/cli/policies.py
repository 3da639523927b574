"""Which policy a name on the command line means."""

import hashlib
from pathlib import Path
from typing import Any

from act_eval.errors import CheckpointError, UnknownName
from act_eval.types import PolicySpec

EXPERT = "expert"
"""Name of the scripted expert, which needs no checkpoint."""

SHIPPED = Path(__file__).parent.parent / "policies" / "pretrained"
"""Where the shipped policies lie, a folder each."""
_CONFIG = "config.json"


def shipped() -> list[str]:
    """Return the names of the policies that come with this package."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{_CONFIG}"))


def checkpoint_folder(name: str) -> Path:
    """Return the checkpoint folder of a shipped policy's name, or of a path.

    Raises:
        CheckpointError: if the path is a folder without a checkpoint.
        UnknownName: if there is neither a shipped policy nor a folder of this name.
    """
    for folder in (SHIPPED / name, Path(name), Path(name) / "pretrained_model"):
        if (folder / _CONFIG).is_file():
            return folder
    if Path(name).is_dir():
        raise CheckpointError(f"{name} is a folder without a checkpoint: it has no {_CONFIG}")
    raise UnknownName("policy", name, [*shipped(), EXPERT, "or the path of a checkpoint folder"])


def label(name: str) -> str:
    """Return a short name, fit for a file name, of what was asked for."""
    path = Path(name)
    parts = [part for part in path.parts if part not in ("/", ".", "..", "pretrained_model")]
    return parts[-1] if parts else "policy"


def digest(folder: Path) -> str:
    """Return a digest of a checkpoint's files: equal content, equal policy, whatever its place."""
    content = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.suffix in (".json", ".safetensors"):
            content.update(path.name.encode())
            content.update(hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()[:16]


def policy_entry(name: str, folder: Path, spec: PolicySpec) -> dict[str, Any]:
    """Return a policy's entry in a manifest (JSON values).

    Args:
        name: What it is called.
        folder: Of its checkpoint.
        spec: What it says of itself.
    """
    return {
        "name": name,
        "digest": digest(folder),
        "chunk": spec.chunk,
        "window": spec.window,
        "max_delay": spec.max_delay if spec.takes_prefix else None,
    }
