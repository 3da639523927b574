"""Where an evaluation runs: flags, how many workers, which part; and arrays of jobs, each of them one part."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from act_eval.errors import ActEvalError, LaunchError, UsageError

if TYPE_CHECKING:
    from act_eval.cli.evaluate import Flags
    from act_eval.launch import Place
    from act_eval.runs import Part


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
    from act_eval.runs import Part

    if flags.shard is not None and flags.launcher == "slurm":
        raise UsageError("--launcher slurm cuts the run into --workers shards itself; leave --shard away")
    if flags.slurm and flags.launcher != "slurm":
        raise UsageError("--slurm holds parameters for --launcher slurm; name that launcher, or leave them away")
    return None if flags.shard is None else Part.parse(flags.shard)


def place_of(launcher: str, gpus_per_worker: float) -> "Place":
    """Return where workers are started.

    Raises:
        UsageError: if there are no GPUs to be set aside.
    """
    from act_eval.launch import Local, Ray

    if gpus_per_worker and launcher != "ray":
        raise UsageError("--gpus-per-worker is for --launcher ray; on Slurm it is --slurm gpus_per_node=1")
    if gpus_per_worker < 0:
        raise UsageError(f"--gpus-per-worker is {gpus_per_worker}; it must be at least 0")
    return Ray(gpus_per_worker=gpus_per_worker) if launcher == "ray" else Local()


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


@dataclass(frozen=True)
class ShardTask:
    """What one job of an array does; picklable. It returns an error that was raised on purpose."""

    flags: "Flags"

    def __call__(self, part: "Part") -> ActEvalError | None:
        from act_eval.cli import OK
        from act_eval.cli.evaluations.evaluating import evaluate

        launch = replace(self.flags.launch, launcher="local", slurm=(), shard=f"{part.number}/{part.count}")
        try:
            code = evaluate(replace(self.flags, launch=launch, workers=1), sys.stdout)
        except ActEvalError as error:
            return error
        return None if code == OK else LaunchError(f"shard {part.number}/{part.count} was interrupted")


def parts(count: int) -> "Sequence[Part]":
    """Return all parts of a run that is cut into `count`."""
    from act_eval.runs import Part

    return [Part(number, count) for number in range(1, count + 1)]
