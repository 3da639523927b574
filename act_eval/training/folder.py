"""The folder of a training run: start and resume checks, and the facts stored with every checkpoint."""

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from act_eval.decoding import JSON, read_json
from act_eval.errors import RunFolderError
from act_eval.policies.tensor_files import write_json
from act_eval.policies.training_state import PRETRAINED
from act_eval.training.config import TrainConfig
from act_eval.training.data import DataPart

CHANGEABLE = (
    *("resume", "out", "dataset", "device", "threads", "compile", "workers", "log_every", "save_every", "keep"),
    *("validate_every", "validation_batches", "evaluate_every", "evaluate_episodes", "evaluate_delays"),
)
"""Settings that a resumed run may change. Of these only device, threads and compile move the loss curve, in its last
digits; the contents of the data set are compared, whatever its path."""

_FILE = "run.json"
_STEPS = "train.steps"


def facts(config: TrainConfig, words: Sequence[str], parts: Sequence[DataPart]) -> dict[str, Any]:
    """Return the facts stored with every checkpoint: command, settings, data, versions.

    Args:
        config: all settings.
        words: the command line.
        parts: the data sets.
    """
    settings = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    for key in ("input_features", "output_features"):  # the data set's; the checkpoint's config.json has them
        del settings["model"][key]
    return {
        "command": shlex.join(["act-eval", "train", *words]),
        "settings": settings,
        "data": [part.facts() for part in parts],
        "versions": {name: version(name) for name in ("act_eval", "torch", "torchvision", "accelerate", "numpy")},
        "threads": torch.get_num_threads(),
    }


def claim(out: Path, words: Sequence[str], noted: Mapping[str, Any]) -> None:
    """Start a run in an empty or new folder.

    Raises:
        RunFolderError: if the folder holds anything.
    """
    if out.exists() and any(out.iterdir()):
        raise RunFolderError(f"{out} is not empty; continue it with --resume {out}, or name another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / _FILE, {"arguments": list(words), "facts": noted})


def is_begun(out: Path) -> bool:
    """Return whether a folder is that of a run that has started."""
    return (out / _FILE).is_file()


def begun_with(out: Path) -> dict[str, Any]:
    """Return `arguments` (the command line) and `facts` of the start of a run.

    Raises:
        RunFolderError: if it is not the folder of a training run.
    """
    path = out / _FILE
    if not path.is_file():
        raise RunFolderError(f"{out} is not the folder of a training run: {path} is missing")
    return read_json(path, JSON)


def check_continues(out: Path, words: Sequence[str], noted: Mapping[str, Any], step: int) -> bool:
    """Refuse to continue with settings or data that would change the loss curve.

    A finished run may be given more steps. Its folder then notes the new settings.

    Args:
        out: folder of the run.
        words: the command line now.
        noted: the facts now.
        step: of the newest checkpoint.

    Returns:
        Whether a finished run is lengthened.

    Raises:
        RunFolderError: naming each of them with both values.
    """
    before = begun_with(out)["facts"]
    then, now = _flat(before["settings"]), _flat(noted["settings"])
    longer = then[_STEPS] == step < now[_STEPS]
    if longer:
        del then[_STEPS]
    wrong = [
        f"{key} was {then[key]!r}, is {now[key]!r}"
        for key in sorted(then.keys() & now.keys())
        if then[key] != now[key] and key.split(".")[-1] not in CHANGEABLE
    ]
    wrong += [
        f"the data set {now['folder']} has changed since the run started"
        for then, now in zip(before["data"], noted["data"], strict=False)
        if then["fingerprint"] != now["fingerprint"]
    ]
    if len(before["data"]) != len(noted["data"]):
        wrong.append(f"there were {len(before['data'])} data sets, there are {len(noted['data'])}")
    if wrong:
        raise RunFolderError(
            f"{out} cannot be continued with other settings: {'; '.join(wrong)}. "
            f"Start a new run with --init-from {out / 'checkpoints' / 'last' / PRETRAINED}"
        )
    if longer:
        write_json(out / _FILE, {"arguments": list(words), "facts": noted})
    return longer


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {before + key: value}
    return flat
