"""Every error that act_eval raises on purpose.

A message names the thing, the value that was received, and what was allowed or the command that mends it.
The command line prints the message alone; a traceback means a defect in act_eval.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class ActEvalError(Exception):
    """Base of all errors raised on purpose. A worker's error reaches its parent as what it is, with its text."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), str(self))


def _restore(kind: type[ActEvalError], text: str) -> ActEvalError:
    error = kind.__new__(kind)
    error.args = (text,)
    return error


class UsageError(ActEvalError):
    """An argument is outside what is allowed."""


class UnknownName(UsageError):
    """A name that is looked up in a table is not there."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = get_close_matches(name, names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"unknown {kind} {name!r}; there are: {', '.join(names) or 'none'}.{hint}")


class TimingError(UsageError):
    """Delay, execution horizon and chunk length do not fit together."""


class FeatureMismatch(UsageError):
    """An environment, data set or checkpoint declares other shapes than its partner."""


class SuiteMismatch(UsageError):
    """Two runs were made on different suites."""


class ActionError(ActEvalError):
    """A policy or a caller gave an action that is not finite or has the wrong shape."""


class SimulationError(ActEvalError):
    """The physics left the finite numbers: the episode is invalid, not failed."""


class CheckpointError(ActEvalError):
    """A checkpoint is missing, incomplete or does not fit its configuration."""


class DatasetError(ActEvalError):
    """A demonstration data set is missing, incomplete or malformed."""


class TrainingError(ActEvalError):
    """Training cannot go on: the loss is no longer finite."""


class RunFolderError(ActEvalError):
    """A run folder holds something else than what was asked for, or is damaged."""


class UnmeasuredRun(RunFolderError):
    """A run was made by a version that recorded less than is asked for."""


class CompileError(ActEvalError):
    """`torch.compile` failed where it was asked for by name."""


class RemoteError(ActEvalError):
    """A policy server cannot be reached, was lost, or breaks the protocol: no fault of the policy that it serves."""


class LaunchError(ActEvalError):
    """A worker process died or could not do its part of a run."""


class RenderError(ActEvalError):
    """There is no OpenGL context for off-screen rendering, or no more: no fault of an episode."""


class ExportError(ActEvalError):
    """A run could not be exported: the tool is not installed, or failed."""


class Interrupted(KeyboardInterrupt):
    """A run was interrupted by ctrl-C; its finished episodes are on the disk."""
