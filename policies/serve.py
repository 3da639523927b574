"""A trained network behind the `ChunkPolicy` protocol: numpy in, numpy out.

Every call of the network has the same number of rows, padded if fewer are due, so that a row's chunk is the same to
the last bit in any batch.

Legend: `N` rows of a request · `R` rows of one network call · `P` prefix slots · `K` past commands · `A` action dim ·
`C` chunk.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from act_eval.errors import FeatureMismatch, UnknownName, UsageError
from act_eval.policies.act.policy import ACTPolicy
from act_eval.policies.compile import Compiled, compile_ready
from act_eval.policies.normalize import Processor
from act_eval.policies.rtc import ACTRTCPolicy
from act_eval.policies.sensitivity import sensitivity
from act_eval.policies.simple import declared
from act_eval.types import (
    IMAGE_PREFIX,
    LAST_ACTION,
    PAST_ACTIONS,
    STATE,
    ActionChunks,
    BoolArray,
    ChunkRequest,
    FloatArray,
    Observation,
    PolicySpec,
)

Precision = Literal["float32", "bf16"]


class TorchChunkPolicy:
    """Predicts chunks with an ACT or ACT-RTC network in evaluation mode, in float32 by default."""

    remembers = False
    """A chunk depends on its request alone, so a server may be restarted between two requests."""

    def __init__(
        self,
        policy: ACTPolicy | ACTRTCPolicy,
        processor: Processor,
        device: str | torch.device = "cpu",
        rows_per_call: int = 8,
        precision: Precision = "float32",
    ) -> None:
        """Move a network and its normaliser to `device`.

        Args:
            policy: the network; `policy.model` may be compiled.
            processor: its normaliser.
            device: where inference runs.
            rows_per_call: R. It may change the last bits of a chunk, so a run's manifest records it.
            precision: of the network's products, `bf16` by autocast; normalisation stays in float32.

        Raises:
            UsageError: if `rows_per_call` is below 1.
            UnknownName: if there is no such precision.
        """
        if precision not in get_args(Precision):
            raise UnknownName("precision", precision, get_args(Precision))
        if rows_per_call < 1:
            raise UsageError(f"rows_per_call is {rows_per_call}; it must be at least 1")
        self._policy = policy.to(device).eval()
        self._processor = processor.to(device).eval()
        self._device = torch.device(device)
        self.rows_per_call = rows_per_call
        self.precision = precision
        self._spec = _spec(policy)
        self.compiled: Compiled | None = None
        """Result of `compile`; None before it."""

    def compile(self, mode: str) -> None:
        """Compile the network and call it once, so that no request waits for the compiler.

        Args:
            mode: see `act_eval.policies.compile`.

        Raises:
            UnknownName: if there is no such mode.
            CompileError: if compiling fails under another mode than `auto`, naming the part of the model.
        """
        self.compiled = compile_ready(self._policy, mode, self._device, self._call_once)

    def _call_once(self) -> None:
        spec = self._spec
        inputs = {
            key: np.zeros((1, shape[2], *shape[:2]), np.uint8)
            if key.startswith(IMAGE_PREFIX)
            else np.zeros((1, *shape), np.float32)
            for key, shape in spec.inputs.items()
        }
        if (name := {"state": STATE, "last_action": LAST_ACTION}.get(self._processor.anchor or "none")) is not None:
            inputs[name] = np.zeros((1, spec.action_dim), np.float32)
        if spec.past_actions:
            inputs[PAST_ACTIONS] = np.zeros((1, spec.past_actions, spec.action_dim), np.float32)
        prefix = np.zeros((1, spec.max_delay, spec.action_dim), np.float32)
        self._call(inputs, np.zeros(1, np.int64), prefix, np.zeros(1, np.int64))

    @property
    def spec(self) -> PolicySpec:
        return self._spec

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Do nothing: a chunk depends on its request alone."""

    def predict(self, request: ChunkRequest) -> ActionChunks:
        """Return absolute commands (N, C, A) as float32, non-finite values included: the rollout validates them.

        Raises:
            FeatureMismatch: if an observation does not have the declared shape.
            UsageError: if an estimated delay is outside the range of the training.
        """
        raw = self._raw(request.observation, request.last_action, request.past_actions)
        estimated_delay = request.estimated_delay
        known = estimated_delay if request.prefix_known is None else request.prefix_known
        prefix = self._full_prefix(request.prefix, estimated_delay, known)
        size = self.rows_per_call
        chunks = [
            self._call({k: v[i : i + size] for k, v in raw.items()}, estimated_delay[i:], prefix[i:], known[i:])
            for i in range(0, len(estimated_delay), size)
        ]
        empty = np.zeros((0, self._spec.chunk, self._spec.action_dim), dtype=np.float32)
        return ActionChunks(np.concatenate([empty, *chunks]))

    def sensitivity(self, observation: Observation, last_action: np.ndarray) -> dict[str, dict[str, float]]:
        """Return `gradient` and `attention` of each declared input, see `act_eval.policies.sensitivity`.

        Args:
            observation: N rows.
            last_action: (N, A) the commands before them, or the joint angles.
        """
        raw = {
            key: torch.as_tensor(value).to(self._device) for key, value in self._raw(observation, last_action).items()
        }
        return sensitivity(self._policy, self._processor, raw)

    @torch.inference_mode()
    def _call(
        self, raw: dict[str, np.ndarray], estimated_delay: np.ndarray, prefix: np.ndarray, known: np.ndarray
    ) -> np.ndarray:
        rows = min(len(estimated_delay), self.rows_per_call)
        batch = self._processor.prepare({key: self._tensor(value) for key, value in raw.items()})
        anchor_RA = batch.get("anchor")
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            if isinstance(self._policy, ACTRTCPolicy):
                assert anchor_RA is not None
                prefix_RPA = self._processor.prepare_prefix(self._tensor(prefix[:rows]), anchor_RA)
                chunk_RCA = self._policy.predict_action_chunk(
                    batch, self._tensor(estimated_delay[:rows]), prefix_RPA, self._tensor(known[:rows])
                )
            else:
                chunk_RCA = self._policy.predict_action_chunk(batch)
        return self._processor.restore(chunk_RCA, anchor_RA)[:rows].float().cpu().numpy()

    def _tensor(self, value: np.ndarray) -> Tensor:
        """Return the rows of one call, the last one repeated up to R."""
        missing = self.rows_per_call - len(value)
        filled = np.concatenate((value, np.repeat(value[-1:], missing, axis=0))) if missing else value
        return torch.as_tensor(np.ascontiguousarray(filled)).to(self._device)

    def _raw(
        self, observation: Observation, last_action: FloatArray, past_actions: FloatArray | None = None
    ) -> dict[str, np.ndarray]:
        """Return the declared inputs, and anchor and past commands if the network reads them."""
        raw: dict[str, np.ndarray] = {}
        for key, shape in self._spec.inputs.items():
            value = _checked(key, declared(observation, key), shape)
            raw[key] = rearrange(value, "n h w c -> n c h w") if key.startswith(IMAGE_PREFIX) else value
        if self._processor.anchor == "state":
            raw[STATE] = _checked(STATE, observation.agent_pos, (self._spec.action_dim,))
        if self._processor.anchor == "last_action":
            raw[LAST_ACTION] = _checked(LAST_ACTION, last_action, (self._spec.action_dim,))
        if self._spec.past_actions:
            shape = (self._spec.past_actions, self._spec.action_dim)
            given = np.full((len(last_action), *shape), np.nan, np.float32) if past_actions is None else past_actions
            raw[PAST_ACTIONS] = _since_start(_checked(PAST_ACTIONS, given, shape), last_action)
        return raw

    def _full_prefix(self, prefix_NPA: np.ndarray, estimated_delay_N: np.ndarray, known_N: np.ndarray) -> np.ndarray:
        """Return the prefix with the policy's own number of slots, zero beyond the known ones."""
        full = np.zeros((len(estimated_delay_N), self._spec.max_delay, self._spec.action_dim), dtype=np.float32)
        if not self._spec.takes_prefix:
            return full
        _checked("prefix", prefix_NPA, (prefix_NPA.shape[1], self._spec.action_dim))
        longest = estimated_delay_N.max(initial=0)
        if prefix_NPA.shape[1] < longest <= self._spec.max_delay:  # longer ones the network refuses
            raise UsageError(
                f"estimated delays are {estimated_delay_N.tolist()}, "
                f"but the prefix has {prefix_NPA.shape[1]} committed commands"
            )
        slots = min(full.shape[1], prefix_NPA.shape[1])
        full[:, :slots] = prefix_NPA[:, :slots]
        full[np.arange(full.shape[1]) >= known_N[:, None]] = 0
        return full


def _since_start(past_NKA: FloatArray, last_action_NA: FloatArray) -> FloatArray:
    """Return past commands, those before the episode's start replaced as in training, see `PAST_ACTIONS`."""
    filled_NKA = past_NKA.copy()
    unknown_NK: BoolArray = np.all(np.isnan(past_NKA), axis=2)
    first_N = np.minimum(unknown_NK.sum(axis=1), past_NKA.shape[1] - 1)
    first_NA = past_NKA[np.arange(len(past_NKA)), first_N]
    first_NA = np.where(np.all(unknown_NK, axis=1)[:, None], last_action_NA, first_NA)
    filled_NKA[unknown_NK] = np.broadcast_to(first_NA[:, None], past_NKA.shape)[unknown_NK]
    return filled_NKA


def _spec(policy: ACTPolicy | ACTRTCPolicy) -> PolicySpec:
    config = policy.config
    rtc = policy.config if isinstance(policy, ACTRTCPolicy) else None
    inputs = {
        key: (*f.shape[1:], f.shape[0]) if f.type == "VISUAL" else f.shape for key, f in config.input_features.items()
    }
    return PolicySpec(
        chunk=config.chunk_size,
        action_dim=config.action_dim,
        window="same" if rtc is None else rtc.rtc_window,
        takes_prefix=rtc is not None,
        max_delay=0 if rtc is None else rtc.rtc_max_delay,
        past_actions=0 if rtc is None else rtc.n_past_actions,
        inputs=inputs,
        overhead_projection=config.crop_projection if config.conditioning == "crop" else None,
        n_action_steps=config.n_action_steps,
        temporal_ensemble_coeff=config.temporal_ensemble_coeff,
    )


def _checked(key: str, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    dtype = np.uint8 if key.startswith(IMAGE_PREFIX) else np.float32
    if value.shape[1:] != shape or value.dtype != dtype:
        raise FeatureMismatch(
            f"{key!r} has shape {value.shape[1:]}, {value.dtype}; the policy was made for {shape}, {np.dtype(dtype)}"
        )
    return value
