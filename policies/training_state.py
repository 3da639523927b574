"""Checkpoints of a training run: written whole or not at all, and enough to continue to the last digit.

    OUT/checkpoints/002000/pretrained_model/    averaged weights, ready to evaluate
                          /training_state/      weights, averages, optimiser, step
    OUT/checkpoints/last                        relative link to the newest one

Random states are not stored: all randomness of a step is a function of (seed, step), see `sampling`.
Nothing is pickled.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from act_eval.decoding import JSON, read_json
from act_eval.errors import CheckpointError
from act_eval.policies.tensor_files import write_json, write_tensors

PRETRAINED = "pretrained_model"
STATE = "training_state"


@dataclass(frozen=True)
class Progress:
    """Progress of a run."""

    step: int
    """Finished steps."""
    seconds: float
    """Wall-clock time spent in training so far, interruptions left out."""


def write_checkpoint(out: Path, step: int, keep: int, write: Callable[[Path], None]) -> Path:
    """Have `write` fill a new folder, put it in its place in one move, point `last` at it, drop old ones.

    Args:
        out: folder of the run.
        step: finished steps; names the folder.
        keep: how many of the newest checkpoints stay; 0 keeps all.
        write: receives the empty temporary folder.
    """
    checkpoints = out / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    for leftover in checkpoints.glob(".[0-9]*.partial"):
        shutil.rmtree(leftover)
    partial = checkpoints / f".{step:06d}.partial"
    partial.mkdir()
    write(partial)
    final = checkpoints / f"{step:06d}"
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    link = checkpoints / ".last.partial"
    link.unlink(missing_ok=True)
    link.symlink_to(final.name)
    os.replace(link, checkpoints / "last")
    if keep:
        steps = sorted((f for f in checkpoints.iterdir() if f.name.isdigit()), key=lambda f: int(f.name))
        # A run that was killed before `last` moved may have left a later folder than this one.
        for old in steps[:-keep]:
            if old != final:
                shutil.rmtree(old)
    return final


def last_checkpoint(out: Path) -> Path:
    """Return the newest checkpoint folder of a run.

    Raises:
        CheckpointError: if the run has none.
    """
    link = out / "checkpoints" / "last"
    if not (link / STATE / "progress.json").is_file():
        raise CheckpointError(f"{out} holds no checkpoint to resume from: {link} is missing or incomplete")
    return link.resolve()


def finished_steps(out: Path) -> int:
    """Return the steps of the newest checkpoint.

    Raises:
        CheckpointError: if there is none, or it is damaged.
    """
    return read_json(last_checkpoint(out) / STATE / "progress.json", Progress, CheckpointError).step


def save_state(
    folder: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write everything that a run needs to go on into `folder`/training_state."""
    state = folder / STATE
    state.mkdir()
    write_tensors(state / "model.safetensors", model.state_dict())
    write_tensors(state / "average.safetensors", average.state_dict())
    packed = optimizer.state_dict()
    tensors = {f"{index}/{name}": value for index, entry in packed["state"].items() for name, value in entry.items()}
    write_tensors(state / "optimizer.safetensors", tensors)
    write_json(state / "optimizer.json", packed["param_groups"])
    write_json(state / "progress.json", asdict(progress))


def load_state(folder: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Restore model, averages and optimiser in place.

    Raises:
        CheckpointError: if a file is missing or damaged, or does not fit the model.
    """
    state = folder / STATE
    progress = read_json(state / "progress.json", Progress, CheckpointError)
    groups = read_json(state / "optimizer.json", list[JSON], CheckpointError)
    path = state / "model.safetensors"
    try:
        model.load_state_dict(load_file(path))
        path = state / "average.safetensors"
        average.load_state_dict(load_file(path))
        path = state / "optimizer.safetensors"
        entries: dict[int, dict[str, Tensor]] = {}
        for key, value in load_file(path).items():
            index, name = key.split("/", 1)
            entries.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": entries, "param_groups": groups})
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} does not fit the policy: {error}") from error
    for parameter, entry in optimizer.state.items():
        for name, value in entry.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                # Files do not keep the memory layout of a moment, which is that of its parameter.
                entry[name] = torch.empty_like(parameter).copy_(value)
    return progress
