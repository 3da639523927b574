"""A user's policy behind the `ChunkPolicy` protocol, from the few lines that docs/own-policy.md asks for.

What a factory makes is either a `ChunkPolicy`, or a `SimplePolicy`: three attributes and a method that sees one
environment at a time. Neither needs torch.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from act_eval.errors import FeatureMismatch, UsageError
from act_eval.types import (
    ENVIRONMENT_STATE,
    IMAGE_PREFIX,
    STATE,
    ActionChunks,
    ChunkPolicy,
    ChunkRequest,
    Observation,
    PolicySpec,
)


class SimplePolicy(Protocol):
    """What a user writes. With a method `reset(seed)` it remembers its episode: every slot then gets one of its own."""

    chunk: int
    """C, actions in one answer."""
    action_dim: int
    """A."""
    inputs: Mapping[str, tuple[int, ...]]
    """What it reads: `observation.state`, `observation.environment_state`, `observation.images.CAMERA` → shape."""

    def predict(self, observation: Mapping[str, np.ndarray]) -> ArrayLike:
        """Return (C, A) absolute commands, the first for the step of the observation.

        Args:
            observation: the inputs, without a batch axis: float32, images uint8 (H, W, 3).
        """
        ...


def declared(observation: Observation, key: str) -> np.ndarray:
    """Return one declared input of an observation, N rows.

    Args:
        observation: N rows.
        key: `observation.state`, `observation.environment_state` or `observation.images.CAMERA`.

    Raises:
        FeatureMismatch: if the observation lacks it.
    """
    if key == STATE:
        return observation.agent_pos
    if key == ENVIRONMENT_STATE:
        if observation.environment_state is None:
            raise FeatureMismatch(f"the policy reads {key!r}, but the environment has no coordinates")
        return observation.environment_state
    camera = key.removeprefix(IMAGE_PREFIX)
    if camera not in observation.pixels:
        raise FeatureMismatch(f"the policy reads camera {camera!r}; the environment has {sorted(observation.pixels)}")
    return observation.pixels[camera]


def chunk_policy(make: Callable[[], Any], called: str) -> ChunkPolicy:
    """Return what a user's factory makes as a `ChunkPolicy`.

    Args:
        make: the factory; called once, and again for every further slot of a policy that remembers.
        called: its name, for errors.

    Raises:
        UsageError: if what it makes is neither of the two, naming what is missing.
    """
    made = make()
    if isinstance(getattr(made, "spec", None), PolicySpec) and callable(getattr(made, "predict", None)):
        return made
    missing = [name for name in ("chunk", "action_dim", "inputs") if not hasattr(made, name)]
    missing += [] if callable(getattr(made, "predict", None)) else ["predict(observation)"]
    if missing:
        raise UsageError(
            f"{called} made a {type(made).__name__} without {', '.join(missing)}; a policy has chunk, action_dim, "
            "inputs and predict(observation), or is a ChunkPolicy with spec, reset and predict (docs/own-policy.md)"
        )
    return SimpleChunkPolicy(made, make, _spec(made, called))


class SimpleChunkPolicy:
    """Asks a user's policy row by row."""

    def __init__(self, first: SimplePolicy, make: Callable[[], SimplePolicy], spec: PolicySpec) -> None:
        self.spec = spec
        self.version = getattr(first, "version", None)
        self.remembers = callable(getattr(first, "reset", None))
        self.first = first
        """The instance that was made first."""
        self._unused: SimplePolicy | None = first
        self._make = make
        self._own: dict[int, SimplePolicy] = {}
        self._kept: dict[tuple[int, int], np.ndarray] = {}
        """(row, step) → answer, until it has been handed out."""

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Begin episodes, each in an instance of its slot's own where the policy remembers."""
        self._kept = {key: answer for key, answer in self._kept.items() if key[0] not in rows}
        for row, seed in zip(rows, seeds, strict=True) if self.remembers else ():
            if row not in self._own:
                self._own[row] = self._make() if self._unused is None else self._unused
                self._unused = None
            self._own[row].reset(seed)  # pyright: ignore[reportAttributeAccessIssue]  # `remembers` says it is there

    def predict(self, request: ChunkRequest) -> ActionChunks:
        """Return the answers as they are: the rollout judges their shape and numbers.

        Where one row's policy raises, all rows are asked again one by one; a policy that remembers must not notice.
        """
        asked = list(zip(request.rows.tolist(), request.steps.tolist(), strict=True))
        for number, (row, step) in enumerate(asked):
            if (row, step) not in self._kept:
                self._kept[row, step] = self._answer(request, number, row)
        chunks = ActionChunks(np.stack([self._kept[key] for key in asked]))
        for key in asked:
            del self._kept[key]
        return chunks

    def _answer(self, request: ChunkRequest, number: int, row: int) -> np.ndarray:
        policy = self._own[row] if self.remembers else self.first
        seen = {name: declared(request.observation, name)[number].copy() for name in self.spec.inputs}
        answer = np.asarray(policy.predict(seen))
        return answer.astype(np.float32) if answer.dtype.kind in "iu" else answer  # a pose may be written in integers


def _spec(made: SimplePolicy, called: str) -> PolicySpec:
    try:
        inputs = {str(name): tuple(map(int, shape)) for name, shape in made.inputs.items()}
        chunk, action_dim = int(made.chunk), int(made.action_dim)
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"{called}: chunk and action_dim must be whole numbers, inputs names with shapes: {error}"
        ) from error
    unknown = [n for n in inputs if n not in (STATE, ENVIRONMENT_STATE) and not n.startswith(IMAGE_PREFIX)]
    if unknown or not inputs:
        raise UsageError(
            f"{called}: inputs are some of {STATE}, {ENVIRONMENT_STATE} and {IMAGE_PREFIX}CAMERA, got {list(inputs)}"
        )
    return PolicySpec(chunk=chunk, action_dim=action_dim, window="same", takes_prefix=False, max_delay=0, inputs=inputs)
