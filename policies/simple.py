"""A user's policy behind the `ChunkPolicy` protocol; docs/own-policy.md has an example.

A factory returns a `ChunkPolicy`, or a `SimplePolicy`: three attributes and a method for one environment at a time.
Neither needs torch.
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
    """Protocol of a user's policy. With a method `reset(seed)` it is stateful: each slot then has its own instance.

    Attributes `history` and `history_spacing`, as in `PolicySpec`, ask for earlier observations.
    """

    chunk: int
    """C, actions per chunk."""
    action_dim: int
    """A."""
    inputs: Mapping[str, tuple[int, ...]]
    """Inputs: `observation.state`, `observation.environment_state`, `observation.images.CAMERA` → shape."""

    def predict(self, observation: Mapping[str, np.ndarray]) -> ArrayLike:
        """Return (C, A) absolute commands, the first for the step of the observation.

        Args:
            observation: The inputs, without a batch axis: float32, images uint8 (H, W, 3). With a history above 1 each
                has a time axis in front, oldest first.
        """
        ...


def declared(observation: Observation, key: str) -> np.ndarray:
    """Return one declared input of an observation, N rows.

    Args:
        observation: N rows, with or without a time axis.
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
    """Return the policy of a user's factory as a `ChunkPolicy`.

    Args:
        make: The factory; called once, and again for every further slot of a stateful policy.
        called: Its name, for errors.

    Raises:
        UsageError: if it returns neither of the two, naming the missing attributes.
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
    """Calls a user's policy row by row."""

    def __init__(self, first: SimplePolicy, make: Callable[[], SimplePolicy], spec: PolicySpec) -> None:
        self.spec = spec
        self.version = getattr(first, "version", None)
        self.remembers = callable(getattr(first, "reset", None))
        self.first = first
        """The first instance of the factory."""
        self._unused: SimplePolicy | None = first
        self._make = make
        self._own: dict[int, SimplePolicy] = {}
        self._kept: dict[tuple[int, int], np.ndarray] = {}
        """(row, step) → chunk, until `predict` has returned it."""

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Begin episodes; a stateful policy has an instance per slot."""
        self._kept = {key: chunk for key, chunk in self._kept.items() if key[0] not in rows}
        for row, seed in zip(rows, seeds, strict=True) if self.remembers else ():
            if row not in self._own:
                self._own[row] = self._make() if self._unused is None else self._unused
                self._unused = None
            self._own[row].reset(seed)  # pyright: ignore[reportAttributeAccessIssue]  # `remembers` says it is there

    def predict(self, request: ChunkRequest) -> ActionChunks:
        """Return the chunks unchecked: the rollout validates their shape and numbers.

        If one row raises, the rollout repeats the rows one by one; stored chunks keep a stateful policy's state intact.
        """
        wanted = list(zip(request.rows.tolist(), request.steps.tolist(), strict=True))
        for number, (row, step) in enumerate(wanted):
            if (row, step) not in self._kept:
                self._kept[row, step] = self._chunk(request, number, row)
        chunks = ActionChunks(np.stack([self._kept[key] for key in wanted]))
        for key in wanted:
            del self._kept[key]
        return chunks

    def _chunk(self, request: ChunkRequest, number: int, row: int) -> np.ndarray:
        policy = self._own[row] if self.remembers else self.first
        inputs = {name: declared(request.observation, name)[number].copy() for name in self.spec.inputs}
        chunk = np.array(policy.predict(inputs))  # a copy: the policy may answer from one buffer
        return chunk.astype(np.float32) if chunk.dtype.kind in "iu" else chunk  # a pose may be in integers


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
    return PolicySpec(
        chunk=chunk,
        action_dim=action_dim,
        window="same",
        takes_prefix=False,
        max_delay=0,
        inputs=inputs,
        history=getattr(made, "history", 1),
        history_spacing=getattr(made, "history_spacing", 1),
    )
