"""Checkpoints of the Hugging Face hub, where `huggingface_hub` is installed: `org/name`, or `org/name@revision`."""

import re
from pathlib import Path

from act_eval.errors import CheckpointError

_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_CONFIG = "config.json"


def is_hub_id(name: str) -> bool:
    """Return whether a name has the form of a hub id."""
    return _ID.fullmatch(name) is not None


def fetched(name: str) -> Path:
    """Return the folder of a checkpoint of the hub, fetched unless it was before.

    Nothing but JSON and safetensors is fetched, and nothing of it is run.

    Raises:
        CheckpointError: if it cannot be fetched, or is no checkpoint.
    """
    found = _ID.fullmatch(name)
    assert found is not None
    instead = f"there is no folder {name} here, and as a hub id it could not be fetched"
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as error:
        raise CheckpointError(f"{instead}: huggingface_hub is not installed") from error
    try:
        folder = snapshot_download(
            found["repo"], revision=found["revision"], allow_patterns=["*.json", "*.safetensors"]
        )
    # The hub's errors derive from these: OSError without a network or without the repository, ValueError for names.
    except (OSError, ValueError) as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise CheckpointError(
            f"{instead}: {type(error).__name__}: {first}. Without a network, pass the path of a downloaded folder"
        ) from error
    if not (Path(folder) / _CONFIG).is_file():
        raise CheckpointError(f"{name} of the hub is no checkpoint: it has no {_CONFIG}")
    return Path(folder)
