"""Checks around a user-defined method: its exceptions and invalid results become errors that name it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from act_eval.errors import UsageError
from act_eval.timing import Method
from act_eval.types import Chunk, FloatArray
from act_eval.user_code import user_code


@dataclass(frozen=True)
class GuardedMethod(Method):
    """A method with checked results.

    A method serves every episode, so its errors (`UsageError`: it raises, or returns another shape or non-finite
    actions) end the run instead of one episode.
    """

    method: Method

    def __post_init__(self) -> None:
        object.__setattr__(self, "several_in_flight", self.method.several_in_flight)

    def install(self, installed: Sequence[Chunk], new: Chunk, step: int) -> list[Chunk]:
        with user_code(f"executor {self.method.name}: merge raised"):
            chunks = self.method.install(installed, new, step)
            for chunk in chunks:
                self._check("merge", chunk.actions, new.actions.shape)
            return chunks

    def action_at(self, chunks: Sequence[Chunk], step: int) -> FloatArray:
        with user_code(f"executor {self.method.name}: action_at raised"):
            command = np.asarray(self.method.action_at(chunks, step), np.float32)
        self._check("action_at", command, chunks[-1].actions.shape[1:])
        return command

    def actions_from(self, chunks: Sequence[Chunk], step: int) -> FloatArray:
        with user_code(f"executor {self.method.name}: actions_from raised"):
            return self.method.actions_from(chunks, step)

    def _check(self, hook: str, actions: FloatArray, expected: tuple[int, ...]) -> None:
        if np.shape(actions) != expected or not np.isfinite(actions).all():
            found = f"shape {np.shape(actions)}" if np.shape(actions) != expected else "non-finite numbers"
            raise UsageError(f"executor {self.method.name}: {hook} gives {found}; expected finite {expected}")
