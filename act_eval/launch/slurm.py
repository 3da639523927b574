"""The shards of a run as an array of Slurm jobs, through submitit; each job runs one shard into the run folder.

Jobs that are preempted, time out or lose their node are submitted again and resume.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

from act_eval.errors import ActEvalError, LaunchError, UsageError
from act_eval.results import Shard

try:
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError
except ImportError as error:
    raise LaunchError("--launcher slurm needs submitit: pip install 'act_eval[scale]'") from error

Task = Callable[[Shard], ActEvalError | None]
"""Runs a shard; returns an `ActEvalError` instead of raising it. Picklable."""

_ROUNDS = 3
"""Maximum number of submissions of a shard."""
_DEFAULTS = {"name": "act_eval", "timeout_min": 240, "cpus_per_task": 1}
_PAUSE_S = 1.0


class _Resumable(submitit.helpers.Checkpointable):
    """A task that submitit resubmits after preemption or timeout."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def __call__(self, shard: Shard) -> ActEvalError | None:
        return self._task(shard)


def run_array(
    task: Task, shards: Sequence[Shard], folder: Path, options: Mapping[str, Any], watch: Callable[[], None]
) -> None:
    """Run shards as an array of jobs, and wait for them.

    Args:
        task: the work of a job.
        shards: one job each.
        folder: for submitit's files and logs; every node must see it.
        options: submitit's parameters; `cluster` is slurm, local or debug.
        watch: called periodically while waiting.

    Raises:
        UsageError: naming a parameter that submitit does not take.
        LaunchError: if there is no Slurm, or a shard's job died repeatedly.
        ActEvalError: raised by a job.
    """
    executor = _executor(folder, options)
    failed = _round(executor, task, shards, watch)
    for _ in range(_ROUNDS - 1):
        failed = _round(executor, task, list(failed), watch) if failed else {}
    if not failed:
        return
    shard, (error, log) = next(iter(failed.items()))
    raise LaunchError(
        f"the job of shard {shard.number}/{shard.count} died {_ROUNDS} times; the last time: {error} (log: {log}). "
        "Finished episodes are kept: repeat the command to run the others."
    )


def _executor(folder: Path, options: Mapping[str, Any]) -> Any:
    chosen = {**_DEFAULTS, **options}
    cluster = str(chosen.pop("cluster", "slurm"))
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
    except (RuntimeError, ValueError) as error:
        raise LaunchError(f"--launcher slurm: {error}") from error
    try:
        executor.update_parameters(**chosen)
    except (NameError, ValueError, AssertionError, TypeError) as error:
        raise UsageError(f"--launcher-options: {error}") from error
    return executor


def _round(
    executor: Any, task: Task, shards: Sequence[Shard], watch: Callable[[], None]
) -> dict[Shard, tuple[str, Path]]:
    """Run jobs once; return the dead ones with error and log."""
    try:
        jobs = dict(zip(shards, executor.map_array(_Resumable(task), shards), strict=True))
    except (FailedSubmissionError, SubprocessError, OSError) as error:
        raise LaunchError(f"the jobs could not be submitted: {error}") from error
    try:
        while not all(job.done() for job in jobs.values()):
            watch()
            time.sleep(_PAUSE_S)
        watch()
        return _outcomes(jobs)
    except BaseException:  # ctrl-C or an error of one job: stop the others
        for job in jobs.values():
            with suppress(SubprocessError, OSError):
                job.cancel()
        raise


def _outcomes(jobs: Mapping[Shard, Any]) -> dict[Shard, tuple[str, Path]]:
    failed: dict[Shard, tuple[str, Path]] = {}
    for shard, job in jobs.items():
        try:
            found = job.result()
        except (FailedJobError, UncompletedJobError) as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            failed[shard] = (lines[0] if lines else type(error).__name__, job.paths.stderr)
            continue
        if isinstance(found, ActEvalError):
            raise found
    return failed
