"""Where episodes run: flags that commands share, and what they mean."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from act_eval.errors import UsageError

if TYPE_CHECKING:
    from act_eval.launch import Place
    from act_eval.results import Part


@dataclass(frozen=True)
class LaunchFlags:
    """Where the episodes run; nothing of it changes their records."""

    shard: str | None = None
    """Run only this part of every arm's episodes, as in 2/8; `merge` makes one run of all parts."""
    launcher: Literal["local", "ray", "slurm"] = "local"
    """Processes on this machine, actors of a Ray cluster, or an array of Slurm jobs."""
    gpus_per_worker: float = 0.0
    """GPUs that Ray sets aside for each worker; parts of one are possible, as in 0.25."""
    slurm: tuple[str, ...] = ()
    """Parameters of submitit, as in timeout_min=60 slurm_partition=gpu; cluster=local tries it on this machine."""


def part_of(flags: LaunchFlags) -> "Part | None":
    """Return the part of the run that is asked for.

    Raises:
        UsageError: if the flags do not go together, or name no part.
    """
    from act_eval.results import Part

    if flags.shard is not None and flags.launcher == "slurm":
        raise UsageError("--launcher slurm cuts the run into --workers shards itself; leave --shard away")
    if flags.slurm and flags.launcher != "slurm":
        raise UsageError("--slurm holds parameters for --launcher slurm; name that launcher, or leave them away")
    return None if flags.shard is None else Part.parse(flags.shard)


def place_of(flags: LaunchFlags) -> "Place":
    """Return where workers are started.

    Raises:
        UsageError: if there are no GPUs to be set aside.
    """
    from act_eval.launch import Local, Ray

    if flags.gpus_per_worker and flags.launcher != "ray":
        raise UsageError("--gpus-per-worker is for --launcher ray; on Slurm it is --slurm gpus_per_node=1")
    if flags.gpus_per_worker < 0:
        raise UsageError(f"--gpus-per-worker is {flags.gpus_per_worker}; it must be at least 0")
    return Ray(gpus_per_worker=flags.gpus_per_worker) if flags.launcher == "ray" else Local()


def device_here(flags: LaunchFlags, device: str) -> str:
    """Return the device to be checked on this machine: any where the workers' GPUs are elsewhere."""
    return device if flags.launcher == "local" else "auto"


def array_options(flags: LaunchFlags) -> dict[str, Any]:
    """Return submitit's parameters.

    Raises:
        UsageError: naming an entry that is not NAME=VALUE.
    """
    options: dict[str, Any] = {}
    for entry in flags.slurm:
        name, equals, value = entry.partition("=")
        if not (name.isidentifier() and equals and value):
            raise UsageError(f"--slurm takes NAME=VALUE, as in timeout_min=60; got {entry!r}")
        options[name] = _number_or_text(value)
    return options


def _number_or_text(text: str) -> int | float | str:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) else text
