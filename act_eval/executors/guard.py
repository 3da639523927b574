"""Checks around a user-defined method: its exceptions and invalid results become errors that name it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from act_eval.errors import ActEvalError, UsageError
from act_eval.timing import Method
from act_eval.types import Chunk, FloatArray


@dataclass(frozen=True)
class GuardedMethod(Method):
    """A method with checked results.

    A method serves every episode, so its errors end the run instead of one episode.
    """

    method: Method

    def __post_init__(self) -> None:
        object.__setattr__(self, "several_in_flight", self.method.several_in_flight)

    def install(self, installed: Sequence[Chunk], new: Chunk, step: int) -> list[Chunk]:
        """Return the installed chunks of the method.

        Raises:
            UsageError: if it raises, or returns a chunk of another shape or with non-finite actions.
        """
        with self._named("merge"):
            chunks = self.method.install(installed, new, step)
            for chunk in chunks:
                self._check("merge", chunk.actions, new.actions.shape)
            return chunks

    def action_at(self, chunks: Sequence[Chunk], step: int) -> FloatArray:
        """Return the method's command.

        Raises:
            UsageError: if it raises, or the command has another shape or is not finite.
        """
        with self._named("action_at"):
            command = np.asarray(self.method.action_at(chunks, step), np.float32)
        self._check("action_at", command, chunks[-1].actions.shape[1:])
        return command

    def actions_from(self, chunks: Sequence[Chunk], step: int) -> FloatArray:
        with self._named("actions_from"):
            return self.method.actions_from(chunks, step)

    @contextmanager
    def _named(self, hook: str) -> Iterator[None]:
        try:
            yield
        except ActEvalError:
            raise
        except Exception as error:  # user code may raise anything
            raise UsageError(f"executor {self.method.name}: {hook} raised {type(error).__name__}: {error}") from error

    def _check(self, hook: str, actions: FloatArray, expected: tuple[int, ...]) -> None:
        if np.shape(actions) != expected or not np.isfinite(actions).all():
            found = f"shape {np.shape(actions)}" if np.shape(actions) != expected else "non-finite numbers"
            raise UsageError(f"executor {self.method.name}: {hook} gives {found}; expected finite {expected}")


def guarded(method: Method) -> GuardedMethod:
    """Return a user-defined method with checked results."""
    return GuardedMethod(method.execution_horizon, method)
