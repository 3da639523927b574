"""The errors of act_eval.

A message names the thing, the value received, and the allowed values or the command that fixes the problem. The
command line prints only the message; a traceback indicates a bug in act_eval.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class ActEvalError(Exception):
    """Base of all errors. Pickling keeps the type and the message, so that a worker's error reaches its parent."""

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, (type(self), str(self))


def restored(kind: type[ActEvalError], text: str) -> ActEvalError:
    """Return an error of a type with a message, whatever its constructor takes."""
    error = kind.__new__(kind)
    error.args = (text,)
    return error


class UsageError(ActEvalError):
    """An argument has a value that is not allowed."""


class UnknownName(UsageError):
    """A name is unknown."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        close = get_close_matches(name, names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"unknown {kind} {name!r}; there are: {', '.join(names) or 'none'}.{hint}")


class TimingError(UsageError):
    """Delay, execution horizon and chunk length do not fit together."""


class FeatureMismatch(UsageError):
    """An environment, data set or checkpoint declares other shapes than its counterpart."""


class SuiteMismatch(UsageError):
    """Two runs used different suites."""


class DeclarationError(UsageError):
    """An environment breaks what it declares, such as its success signal: its rate would be wrong, so the run stops."""


class ActionError(ActEvalError):
    """An action is not finite or has the wrong shape."""


class SimulationError(ActEvalError):
    """The simulation produced numbers that are not finite; the episode is invalid, not failed."""


class CheckpointError(ActEvalError):
    """A checkpoint is missing, incomplete or does not fit its configuration."""


class DatasetError(ActEvalError):
    """A demonstration data set is missing, incomplete or malformed."""


class TrainingError(ActEvalError):
    """Training cannot continue: the loss is not finite."""


class RunFolderError(ActEvalError):
    """A run folder is missing, damaged, or of another run than requested."""


class MissingRun(UsageError, RunFolderError):
    """A path given as a run folder does not exist, or is no folder."""


class UnmeasuredRun(RunFolderError):
    """A run lacks requested data, such as metrics."""


class CompileError(ActEvalError):
    """`torch.compile` failed in an explicitly requested mode."""


class RemoteError(ActEvalError):
    """A server cannot be reached, was lost, or violates the protocol; the policy or environment is not at fault."""


class LaunchError(ActEvalError):
    """A worker process died or failed."""


class RenderError(ActEvalError):
    """The OpenGL context for off-screen rendering is missing or lost; the episode is not at fault."""


class ExportError(ActEvalError):
    """A run could not be exported: the tool is not installed, or failed."""


class Interrupted(KeyboardInterrupt):
    """A run was interrupted by ctrl-C; its finished episodes are kept."""
