"""A policy of LeRobot behind the `ChunkPolicy` protocol.

Observations go through LeRobot's preprocessor, moment by moment and R rows at once, and chunks through its
postprocessor. A call of the network has R rows, filled up where fewer are due, and each row's noise comes from its
episode's seed and its step, so that a row's chunk is the same in any batch and at any repetition.

Legend: `N` rows of a request · `R` rows of one call · `C` chunk length · `A` action dim.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from lerobot.policies.utils import populate_queues  # pyright: ignore[reportMissingImports]
from torch import Tensor

from act_eval.errors import UsageError
from act_eval.lerobot_process.conditioning import conditioning_of
from act_eval.lerobot_process.loading import Loaded, Settings
from act_eval.lerobot_process.noise import RowNoise
from act_eval.policies.simple import declared
from act_eval.types import ENVIRONMENT_STATE, IMAGE_PREFIX, STATE, ActionChunks, ChunkRequest, Observation, PolicySpec

_ONE_IMAGE, _IMAGES, _ACTION = "observation.image", "observation.images", "action"


class LeRobotPolicy:
    """Predicts chunks with a loaded policy; `remembers` the seeds of its episodes."""

    remembers = True

    def __init__(self, loaded: Loaded, settings: Settings) -> None:
        """Predict once, to learn the length of a chunk and whether rows can be drawn apart.

        Raises:
            UsageError: if the policy reads or returns what cannot be evaluated.
        """
        self._loaded, self._settings = loaded, settings
        self._seeds: dict[int, int] = {}
        self._sources = _sources(loaded.config, _renamed(loaded.preprocessor))
        self._size = settings.rows_per_call
        self.rows_alone = False
        """Whether rows are computed one by one, since the policy draws numbers that no row can be given alone."""
        history, spacing = _history(loaded.config)
        action_dim = loaded.config.output_features[_ACTION].shape[0]
        self._conditioning = conditioning_of(loaded, settings)
        inputs = {ours: _shape(loaded.config.input_features[theirs]) for ours, (theirs, _) in self._sources.items()}
        spec = {"action_dim": action_dim, "inputs": inputs, "history": history, "history_spacing": spacing}
        self.spec = PolicySpec(chunk=1, **spec, **self._conditioning.spec(1))
        chunk = self._first_chunk()
        self.spec = PolicySpec(
            chunk=chunk,
            n_action_steps=loaded.n_action_steps,
            temporal_ensemble_coeff=getattr(loaded.config, "temporal_ensemble_coeff", None),
            **spec,
            **self._conditioning.spec(chunk),
        )

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Begin episodes."""
        self._seeds.update(zip(rows, seeds, strict=True))

    def predict(self, request: ChunkRequest) -> ActionChunks:
        """Return absolute commands (N, C, A), unchecked.

        Raises:
            UsageError: if the policy cannot be conditioned on what the request contains.
        """
        chunks = np.zeros((len(request.rows), self.spec.chunk, self.spec.action_dim), np.float32)
        for rows in self._conditioning.groups(request):
            for begin in range(0, len(rows), self._size):
                part = rows[begin : begin + self._size]
                chunks[part] = self._call(request, part)[: len(part)]
        return ActionChunks(chunks)

    def _first_chunk(self) -> int:
        """Return C, after a call with zeros; rows are then computed alone if they have to be."""
        before = _generator_states()
        chunk = self._call(_zeros(self.spec, self._size), np.arange(self._size))
        if any(not torch.equal(a, b) for a, b in zip(before, _generator_states(), strict=True)):
            self.rows_alone, self._size = True, 1
        expected = (self._settings.rows_per_call, "C", self.spec.action_dim)
        if chunk.ndim != 3 or (chunk.shape[0], chunk.shape[2]) != (expected[0], expected[2]):
            raise UsageError(
                f"policy type {self._loaded.config.type!r} returns actions of shape {chunk.shape}; expected {expected}"
            )
        return chunk.shape[1]

    @torch.no_grad()
    def _call(self, request: ChunkRequest, rows: np.ndarray) -> np.ndarray:
        """Return the commands (R, C, A) of some rows of a request, the last one repeated up to R."""
        rows = np.concatenate((rows, np.repeat(rows[-1:], self._size - len(rows))))
        seeds = [
            np.random.SeedSequence([self._seeds.get(int(request.rows[row]), 0), int(request.steps[row])])
            for row in rows
        ]
        numbers = [int(seed.generate_state(1, np.uint64)[0] >> np.uint64(1)) for seed in seeds]
        policy = self._loaded.policy
        policy.reset()
        batch = self._observed(request.observation, rows)
        given = self._conditioning.arguments(request, rows, batch)
        if self.rows_alone:
            torch.manual_seed(numbers[0])
        with RowNoise(numbers):
            chunk = policy.predict_action_chunk(batch, **given)
        return self._conditioning.commands(request, rows, self._loaded.postprocessor(chunk).float().cpu().numpy())

    def _observed(self, observation: Observation, rows: np.ndarray) -> dict[str, Tensor]:
        """Return the preprocessed batch of the newest moment; earlier ones go into the policy's queues."""
        policy, images = self._loaded.policy, list(getattr(self._loaded.config, "image_features", {}))
        batch: dict[str, Tensor] = {}
        for moment in range(self.spec.history):
            batch = self._loaded.preprocessor(self._raw(observation, rows, moment))
            batch = {name: value for name, value in batch.items() if value is not None and name != _ACTION}
            queues = getattr(policy, "_queues", None)
            if queues:
                if _IMAGES in queues and images:
                    batch[_IMAGES] = torch.stack([batch[name] for name in images], dim=-4)
                policy._queues = populate_queues(queues, batch, exclude_keys=[_ACTION])
        return batch

    def _raw(self, observation: Observation, rows: np.ndarray, moment: int) -> dict[str, Any]:
        """Return one moment as LeRobot's robots and environments give it, with R rows."""
        raw: dict[str, Any] = {"task": [self._settings.task] * len(rows), "robot_type": ""}
        for ours, (_, sent) in self._sources.items():
            value = declared(observation, ours)[rows]
            value = value[:, moment] if self.spec.history > 1 else value
            tensor = torch.from_numpy(np.ascontiguousarray(value))
            if ours.startswith(IMAGE_PREFIX):
                tensor = tensor.permute(0, 3, 1, 2).contiguous().float() / 255
            raw[sent] = tensor.to(self._settings.device)
        return raw


def _sources(config: Any, renamed: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return our input → the policy's feature, and the name before the preprocessor renames it."""
    sources: dict[str, tuple[str, str]] = {}
    before = {theirs: name for name, theirs in renamed.items()}
    for feature in map(str, config.input_features):
        if "empty_camera" in feature:  # the policy fills these itself
            continue
        sent = before.get(feature, feature)
        ours = f"{IMAGE_PREFIX}image" if sent == _ONE_IMAGE else sent
        if ours not in (STATE, ENVIRONMENT_STATE) and not ours.startswith(IMAGE_PREFIX):
            raise UsageError(
                f"the policy reads {sent!r}; observations have {STATE}, {ENVIRONMENT_STATE} and {IMAGE_PREFIX}CAMERA "
                '(--policy-options rename_map=\'{"OURS": "THEIRS"}\' renames)'
            )
        sources[ours] = feature, sent
    return sources


def _renamed(preprocessor: Any) -> Mapping[str, str]:
    maps = [step.rename_map for step in preprocessor.steps if hasattr(step, "rename_map")]
    return {name: theirs for one in maps for name, theirs in one.items()}


def _shape(feature: Any) -> tuple[int, ...]:
    shape = tuple(feature.shape)
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


def _history(config: Any) -> tuple[int, int]:
    """Return how many observations the policy reads, and the steps between them."""
    steps = getattr(config, "observation_delta_indices", None) or [0]
    gaps = {after - before for before, after in pairwise(steps)}
    if steps[-1] != 0 or len(gaps) > 1 or min(gaps, default=1) < 1:
        raise UsageError(
            f"policy type {config.type!r} reads observations of the steps {list(steps)} from now; they must end at 0 "
            "and be equally spaced"
        )
    return len(steps), gaps.pop() if gaps else 1


def _zeros(spec: PolicySpec, rows: int) -> ChunkRequest:
    """Return a request whose observations are zero, without a prefix."""
    time = () if spec.history == 1 else (spec.history,)
    pixels = {
        name.removeprefix(IMAGE_PREFIX): np.zeros((rows, *time, *shape), np.uint8)
        for name, shape in spec.inputs.items()
        if name.startswith(IMAGE_PREFIX)
    }
    state, goal = spec.inputs.get(STATE, (0,)), spec.inputs.get(ENVIRONMENT_STATE)
    observation = Observation(
        pixels=pixels,
        agent_pos=np.zeros((rows, *time, *state), np.float32),
        environment_state=None if goal is None else np.zeros((rows, *time, *goal), np.float32),
    )
    last = np.zeros((rows, spec.action_dim), np.float32)
    return ChunkRequest.without_prefix(spec, np.arange(rows), np.zeros(rows, np.int64), observation, last)


def _generator_states() -> list[Tensor]:
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ())]
