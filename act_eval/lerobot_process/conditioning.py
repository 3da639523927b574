"""How a policy of LeRobot is told the commands that run during its inference, if at all.

Legend: `N` rows of a request · `R` rows of one call · `C` chunk length · `A` action dim.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from lerobot.policies.rtc.configuration_rtc import RTCConfig  # pyright: ignore[reportMissingImports]
from lerobot.processor import (  # pyright: ignore[reportMissingImports]
    NormalizerProcessorStep,
    TransitionKey,
    create_transition,
)
from torch import Tensor

from act_eval.errors import UsageError
from act_eval.lerobot_process.loading import Loaded, Settings
from act_eval.types import ChunkRequest


class Unconditioned:
    """A policy that reads observations alone."""

    def spec(self, chunk: int) -> dict[str, Any]:
        """Return the fields of the policy's spec that depend on the conditioning."""
        return {"window": "same", "takes_prefix": False, "max_delay": 0}

    def groups(self, request: ChunkRequest) -> Iterator[np.ndarray]:
        """Yield rows of a request (n,) that one call may contain."""
        yield np.arange(len(request.rows))

    def arguments(self, request: ChunkRequest, rows: np.ndarray, batch: dict[str, Tensor]) -> dict[str, Any]:
        """Return further arguments of `predict_action_chunk`; entries of the batch may be added.

        Args:
            request: The request.
            rows: (R,) its rows in this call.
            batch: The preprocessed observations.
        """
        return {}

    def commands(self, request: ChunkRequest, rows: np.ndarray, chunk_RCA: np.ndarray) -> np.ndarray:
        """Return the commands (R, C, A) of the policy's window, given its postprocessed output."""
        return chunk_RCA


class CommittedActions(Unconditioned):
    """`act_smooth` (lerobot-policy-act-smooth): past and committed commands, d = 1 … D; the chunk begins behind them.

    Without a prefix, as at an episode's start, the command before the observation stands for a_t, as the package
    advises: it is also the first command of the chunk.
    """

    def __init__(self, loaded: Loaded) -> None:
        self._past, self._most = loaded.config.length_prefix_past, loaded.config.length_prefix_future
        self._preprocessor, self._device = loaded.preprocessor, loaded.config.device

    def spec(self, chunk: int) -> dict[str, Any]:
        delays = {"min_delay": 1, "max_delay": self._most}
        return {"window": "shifted", "takes_prefix": True, **delays, "past_actions": self._past}

    def arguments(self, request: ChunkRequest, rows: np.ndarray, batch: dict[str, Tensor]) -> dict[str, Any]:
        """Add the commands and their padding to the batch.

        Raises:
            UsageError: if committed commands are hidden from the policy.
        """
        delay = request.estimated_delay[rows]
        if request.prefix_known is not None and (request.prefix_known[rows] < delay).any():
            raise UsageError("act_smooth cannot be conditioned on a delay without the commands (--prefix pad)")
        size, dim = len(rows), request.last_action.shape[1]
        commands = np.full((size, self._past + self._most, dim), np.nan, np.float32)
        if request.past_actions is not None:
            commands[:, : self._past] = request.past_actions[rows]
        slots = min(self._most, request.prefix.shape[1])
        commands[:, self._past : self._past + slots] = request.prefix[rows, :slots]
        commands[:, self._past :][np.arange(self._most) >= delay[:, None]] = np.nan
        commands[delay == 0, self._past] = request.last_action[rows[delay == 0]]
        padded = np.asarray(np.isnan(commands).any(axis=2))
        padded[:, self._past] = False  # a command that is not known is no number, and so is its chunk
        filled = np.where(padded[:, :, None], 0, commands)
        batch["inference_action"] = normalized(self._preprocessor, filled, self._device)
        batch["inference_action_is_pad"] = torch.from_numpy(padded).to(self._device)
        return {}

    def commands(self, request: ChunkRequest, rows: np.ndarray, chunk_RCA: np.ndarray) -> np.ndarray:
        begins = request.estimated_delay[rows] == 0
        before = np.concatenate((request.last_action[rows][:, None], chunk_RCA[:, :-1]), axis=1)
        return np.where(begins[:, None, None], before, chunk_RCA)


class PlanGuidance(Unconditioned):
    """LeRobot's real-time chunking of flow policies: the denoising is guided by the commands planned from a_t on.

    The d committed ones weigh 1, those behind them less and less up to LeRobot's `execution_horizon`. Unlike LeRobot's
    own engine, plans are never filled up with zeros, which would be the mean pose.
    """

    def __init__(self, loaded: Loaded, settings: Settings) -> None:
        try:
            given = RTCConfig(**settings.rtc) if settings.rtc else getattr(loaded.config, "rtc_config", None)
        except (TypeError, ValueError) as error:
            raise UsageError(f"rtc={dict(settings.rtc)!r} is no RTCConfig of LeRobot: {error}") from error
        self._config = RTCConfig() if given is None else given
        self._config.enabled = True
        loaded.config.rtc_config = self._config
        if hasattr(loaded.policy, "init_rtc_processor"):
            loaded.policy.init_rtc_processor()
        self._preprocessor, self._device = loaded.preprocessor, loaded.config.device

    def spec(self, chunk: int) -> dict[str, Any]:
        most = min(chunk - 1, self._config.execution_horizon)
        return {"window": "same", "takes_prefix": True, "max_delay": most, "planned_actions": chunk}

    def groups(self, request: ChunkRequest) -> Iterator[np.ndarray]:
        """Yield rows of equal delay and equally long plans, which are one number for LeRobot."""
        keys = [(int(d), len(self._plan(request, row))) for row, d in enumerate(request.estimated_delay)]
        for key in sorted(set(keys)):
            yield np.flatnonzero([one == key for one in keys])

    def arguments(self, request: ChunkRequest, rows: np.ndarray, batch: dict[str, Tensor]) -> dict[str, Any]:
        plans = np.stack([self._plan(request, row) for row in rows])
        if not plans.shape[1]:
            return {}
        left_over = normalized(self._preprocessor, plans, self._device)
        return {"inference_delay": int(request.estimated_delay[rows[0]]), "prev_chunk_left_over": left_over}

    def _plan(self, request: ChunkRequest, row: int) -> np.ndarray:
        """Return the (n, A) commands that guide a row: the prefix that it may read, then the plan behind it."""
        delay = int(request.estimated_delay[row])
        known = delay if request.prefix_known is None else int(request.prefix_known[row])
        prefix = request.prefix[row, :known]
        if request.planned_actions is None or known < delay:
            return prefix[: self._config.execution_horizon]
        plan = request.planned_actions[row]
        unknown = np.isnan(plan).any(axis=1)
        behind = plan[delay : int(unknown.argmax()) if unknown.any() else len(plan)]
        return np.concatenate((prefix, behind))[: self._config.execution_horizon]


def normalized(preprocessor: Any, commands: np.ndarray, device: str) -> Tensor:
    """Return absolute commands (R, n, A) as the network reads them, after the observations of the same rows."""
    transition = create_transition(action=torch.from_numpy(commands).to(device))
    for step in preprocessor.steps:
        if hasattr(step, "get_cached_state") and step.enabled:
            # Relative to the newest state, which the step keeps.
            state, mask = step.get_cached_state().to(device), step._build_mask(commands.shape[-1])
            kept = torch.tensor(mask, dtype=state.dtype, device=device)
            transition[TransitionKey.ACTION] = (
                transition[TransitionKey.ACTION] - (state[..., : len(mask)] * kept)[:, None]
            )
        elif isinstance(step, NormalizerProcessorStep):
            transition = step(transition)
    return transition[TransitionKey.ACTION]


def conditioning_of(loaded: Loaded, settings: Settings) -> Unconditioned:
    """Return how a policy is conditioned on the commands that run.

    Raises:
        UsageError: if `rtc` is set for a policy that LeRobot cannot guide.
    """
    supports_rtc = getattr(loaded.policy, "supports_rtc", None)
    if loaded.config.type == "act_smooth":
        found: Unconditioned = CommittedActions(loaded)
    elif callable(supports_rtc) and supports_rtc():
        return PlanGuidance(loaded, settings)
    else:
        found = Unconditioned()
    if settings.rtc:
        raise UsageError(f"rtc: LeRobot has no real-time chunking for policy type {loaded.config.type!r}")
    return found
