"""The parts of a run as an array of Slurm jobs, through submitit; each job runs one part into the run folder.

Jobs that are preempted, time out or die with their node are submitted again and take up what is there.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import SubprocessError
from typing import Any

from act_eval.errors import ActEvalError, LaunchError, UsageError
from act_eval.results import Part

try:
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError, UncompletedJobError
except ImportError as error:
    raise LaunchError("--launcher slurm needs submitit: pip install 'act_eval[scale]'") from error

Task = Callable[[Part], ActEvalError | None]
"""Runs a part; returns an error that was raised on purpose. Picklable."""

_ROUNDS = 3
"""Times that a part may be submitted."""
_DEFAULTS = {"name": "act_eval", "timeout_min": 240, "cpus_per_task": 1}
_PAUSE_S = 1.0


class _Resumable(submitit.helpers.Checkpointable):
    """A task that submitit submits again when it is preempted or out of time: it resumes by itself."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def __call__(self, part: Part) -> ActEvalError | None:
        return self._task(part)


def run_array(
    task: Task, parts: Sequence[Part], folder: Path, options: Mapping[str, Any], watch: Callable[[], None]
) -> None:
    """Run parts as an array of jobs, and wait for them.

    Args:
        task: what a job does.
        parts: one job each.
        folder: for submitit's files and logs; every node must see it.
        options: submitit's parameters; `cluster` chooses among slurm, local and debug.
        watch: called again and again while waiting.

    Raises:
        UsageError: naming a parameter that submitit does not take.
        LaunchError: if there is no Slurm, or a part's job died again and again.
        ActEvalError: what a job raised on purpose.
    """
    executor = _executor(folder, options)
    failed = _round(executor, task, parts, watch)
    for _ in range(_ROUNDS - 1):
        failed = _round(executor, task, list(failed), watch) if failed else {}
    if not failed:
        return
    part, (error, log) = next(iter(failed.items()))
    raise LaunchError(
        f"the job of shard {part.number}/{part.count} died {_ROUNDS} times; the last time: {error} (log: {log}). "
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


def _round(executor: Any, task: Task, parts: Sequence[Part], watch: Callable[[], None]) -> dict[Part, tuple[str, Path]]:
    """Run jobs once; return those that died, with what is known of it."""
    try:
        jobs = dict(zip(parts, executor.map_array(_Resumable(task), parts), strict=True))
    except (FailedSubmissionError, SubprocessError, OSError) as error:
        raise LaunchError(f"the jobs could not be submitted: {error}") from error
    try:
        while not all(job.done() for job in jobs.values()):
            watch()
            time.sleep(_PAUSE_S)
        watch()
        return _outcomes(jobs)
    except BaseException:  # ctrl-C or an error of one job: the others must not go on writing
        for job in jobs.values():
            with suppress(SubprocessError, OSError):
                job.cancel()
        raise


def _outcomes(jobs: Mapping[Part, Any]) -> dict[Part, tuple[str, Path]]:
    failed: dict[Part, tuple[str, Path]] = {}
    for part, job in jobs.items():
        try:
            found = job.result()
        except (FailedJobError, UncompletedJobError) as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            failed[part] = (lines[0] if lines else type(error).__name__, job.paths.stderr)
            continue
        if isinstance(found, ActEvalError):
            raise found
    return failed
