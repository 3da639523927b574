"""ACT-RTC as a policy of LeRobot's: act_eval's network between LeRobot's pipelines.

What comes in and goes out is LeRobot's: absolute commands, normalised as its pipelines do it. Inside they are relative
to the anchor.

Legend: `B` rows · `T` commands of a training sample · `C` chunk · `A` action dim · `d` inference delay · `P` slots of
the prefix.
"""

import logging
from collections import deque
from pathlib import Path
from typing import Any

import torch
from lerobot.policies.pretrained import PreTrainedPolicy  # pyright: ignore[reportMissingImports]
from safetensors.torch import load_file, save_file
from torch import Tensor

from act_eval.errors import CheckpointError, UsageError
from act_eval.policies.checkpoint import MODEL_FILE, load_config
from act_eval.policies.normalize import Normalizer, Processor
from act_eval.policies.pipeline import read_processor
from act_eval.policies.rtc import ANCHOR
from act_eval.policies.rtc import ACTRTCPolicy as OurPolicy
from act_eval.sources.hub import fetched, is_hub_id
from act_eval.types import ACTION, LAST_ACTION, STATE
from lerobot_policy_act_rtc.configuration_act_rtc import ACTRTCConfig
from lerobot_policy_act_rtc.processor_act_rtc import make_statistics_relative

IS_PAD = "action_is_pad"
_NETWORK = "network."
_LOG = logging.getLogger(__name__)


class TemporalEnsemble:
    """Running average of all predictions for a step, weights exp(-coeff · i), i = 0 the oldest (ACT, algorithm 2)."""

    def __init__(self, coeff: float, chunk_size: int) -> None:
        self._weights = torch.exp(-coeff * torch.arange(chunk_size))
        self._chunks: list[Tensor] = []

    def update(self, chunk_BCA: Tensor) -> Tensor:
        """Take the newest chunk and return this step's action (B, A)."""
        # `_chunks` holds, oldest first, each earlier prediction for this step and later ones.
        self._chunks = [chunk[:, 1:] for chunk in self._chunks if chunk.shape[1] > 1]
        self._chunks.append(chunk_BCA)
        now_IBA = torch.stack([chunk[:, 0] for chunk in self._chunks])
        weights_I = self._weights[: len(now_IBA)].to(now_IBA)
        return torch.einsum("iba,i->ba", now_IBA, weights_I) / weights_I.sum()


class ACTRTCPolicy(PreTrainedPolicy):
    """ACT with real-time chunking by action-prefix conditioning, for `lerobot-train` and `lerobot-eval`."""

    config_class = ACTRTCConfig
    name = "act_rtc"

    def __init__(
        self,
        config: ACTRTCConfig,
        dataset_meta: Any = None,
        statistics: dict[str, dict[str, Any]] | Normalizer | None = None,
        **_: Any,
    ) -> None:
        """Build the policy; LeRobot's `make_policy` calls this.

        Args:
            config: the features among it.
            dataset_meta: LeRobot's metadata of the data set that is trained on; its statistics become relative.
            statistics: a checkpoint's, where nothing is trained.

        Raises:
            UsageError: if a field's value is not allowed, or there is neither a data set nor a checkpoint.
        """
        super().__init__(config)
        ours = config.ours()
        if dataset_meta is not None:
            make_statistics_relative(ours, dataset_meta)
            statistics = dataset_meta.stats
        if statistics is None:
            raise UsageError(
                "ACT-RTC needs statistics to normalise with: those of a data set (lerobot-train --dataset.repo_id=…) "
                "or of a checkpoint (--policy.path=…)"
            )
        self.network = OurPolicy(ours, load_backbone_weights=config.pretrained_path is None)
        # LeRobot keeps the optimiser's state in safetensors, which refuse the layout that narrow backbones like best.
        self.network.to(memory_format=torch.contiguous_format)
        self.normalizer = Processor(ours, statistics)
        self.reset()

    @classmethod
    def from_pretrained(
        cls, pretrained_name_or_path: str | Path, *, dataset_meta: Any = None, **kwargs: Any
    ) -> "ACTRTCPolicy":
        """Load a checkpoint, of act_eval or of LeRobot, from a folder or from the hub.

        Args:
            pretrained_name_or_path: `pretrained_model` folder or hub id.
            dataset_meta: the data set that it is trained on further, whose statistics LeRobot then normalises with.
            **kwargs: as for every policy of LeRobot's.

        Raises:
            CheckpointError: if a file is missing or malformed.
        """
        if dataset_meta is None:
            folder = _folder(pretrained_name_or_path)
            kwargs["statistics"] = read_processor(folder, load_config(folder)).before
        return super().from_pretrained(pretrained_name_or_path, dataset_meta=dataset_meta, **kwargs)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Return the loss and its parts.

        Args:
            batch: from LeRobot's pipeline: normalised observations, `action` (B, T, A) of the steps that
                `action_delta_indices` names, `action_is_pad` (B, T).
        """
        raw = self._raw(batch)
        raw[ACTION], raw[IS_PAD] = self.normalizer.denormalize(ACTION, batch[ACTION]), batch[IS_PAD]
        if self.normalizer.anchor == LAST_ACTION:
            before_BA, at_start_B1 = raw[ACTION][:, 0], batch[IS_PAD][:, :1]
            raw[LAST_ACTION] = torch.where(at_start_B1, raw[STATE], before_BA)
            raw[ACTION], raw[IS_PAD] = raw[ACTION][:, 1:], raw[IS_PAD][:, 1:]
        loss, metrics = self.network(self.normalizer.prepare(raw))
        return loss, {name: float(value) for name, value in metrics.items()}

    # lerobot-rollout compiles this method: again for each new delay, and the time counts as latency from then on.
    @torch.compiler.disable()  # pyright: ignore[reportUntypedFunctionDecorator]
    @torch.no_grad()
    def predict_action_chunk(
        self,
        batch: dict[str, Tensor],
        inference_delay: int | None = None,
        prev_chunk_left_over: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """Return a chunk (B, C, A) that begins at the observation; with a delay its first d are the committed ones.

        Args:
            batch: normalised observations.
            inference_delay: d, steps that pass before the chunk acts, as LeRobot's real-time chunking tells it.
            prev_chunk_left_over: (T, A) or (B, T, A) what is left of the chunk before, as this method returned it, with
                or without zeros behind it. If nothing is left, the last command of that chunk is held.

        Raises:
            UsageError: if d is outside the range of the training, or LeRobot passes fewer commands.
        """
        raw = self._raw(batch)
        raw[LAST_ACTION] = raw[STATE] if self._last_BA is None else self._last_BA
        prepared = self.normalizer.prepare(raw)
        anchor_BA = prepared[ANCHOR]
        committed_BdA = self._committed(inference_delay or 0, prev_chunk_left_over, len(anchor_BA))
        delay = committed_BdA.shape[1]
        slots = self.config.rtc_max_delay
        filled_BPA = torch.cat((committed_BdA, anchor_BA[:, None].expand(-1, slots - delay, -1)), dim=1)
        chunk_BCA = self.network.predict_action_chunk(
            prepared,
            torch.full((len(anchor_BA),), delay, device=anchor_BA.device),
            self.normalizer.prepare_prefix(filled_BPA, anchor_BA),
        )
        chunk_BCA = self.normalizer.restore(chunk_BCA, anchor_BA)
        from_BCA = chunk_BCA if self.config.rtc_window == "shifted" else chunk_BCA[:, delay:]  # below d untrained
        chunk_BCA = torch.cat((committed_BdA, from_BCA), dim=1)
        self._held_BA = chunk_BCA[:, -1]
        return self.normalizer.normalize(ACTION, chunk_BCA)

    @torch.no_grad()
    def select_action(self, batch: dict[str, Tensor], **_: Any) -> Tensor:
        """Return the next command (B, A); a new chunk is predicted every `n_action_steps` calls, without delay."""
        if self._ensemble is not None:
            action_BA = self._ensemble.update(self.predict_action_chunk(batch))
        else:
            if not self._queue:
                chunk_BCA = self.predict_action_chunk(batch)
                self._queue.extend(chunk_BCA[:, : self.config.n_action_steps].unbind(1))
            action_BA = self._queue.popleft()
        self._last_BA = self.normalizer.denormalize(ACTION, action_BA)
        return action_BA

    def reset(self) -> None:
        """Forget what is queued, when the environments are reset."""
        coeff = self.config.temporal_ensemble_coeff
        self._queue: deque[Tensor] = deque()
        self._ensemble = None if coeff is None else TemporalEnsemble(coeff, self.config.chunk_size)
        self._last_BA: Tensor | None = None
        self._held_BA: Tensor | None = None
        """The command that a robot holds when it has run the newest chunk to its end."""

    def supports_rtc(self) -> bool:
        """Whether `lerobot-rollout --inference.type=rtc` runs it; it passes no command before the observation."""
        return self.config.rtc_anchor != "last_action"

    def get_optim_params(self) -> list[dict[str, Any]]:
        """Return the parameter groups; the backbone has its own rate."""
        return [group for group in self.network.get_optim_params() if group["params"]]

    def _raw(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the observation in its own units, the joints also where the network does not read them."""
        raw = {key: self.normalizer.denormalize(key, batch[key]) for key in self.network.config.input_features}
        return {STATE: batch[STATE], **raw} if STATE in batch else raw

    def _committed(self, delay: int, left_over: Tensor | None, rows: int) -> Tensor:
        """Return the commands (B, d, A) that run while the chunk is computed, absolute; none if there was no chunk."""
        delay = self._known(delay)
        nothing = torch.zeros((0, self.network.config.action_dim), device=next(self.network.parameters()).device)
        left_BTA = (nothing if left_over is None else left_over).expand(rows, -1, -1)
        # lerobot-rollout fills the rest of a chunk up with zeros, which would mean the mean pose.
        used = left_BTA.ne(0).any(2).any(0).nonzero()
        if len(used):
            left_BTA = self.normalizer.denormalize(ACTION, left_BTA[:, : int(used[-1]) + 1])
        elif delay and self._held_BA is not None:
            left_BTA = self._held_BA[:, None]
        else:
            return nothing.expand(rows, -1, -1)
        steps_d = torch.arange(delay, device=left_BTA.device)
        return left_BTA[:, steps_d.clamp(max=left_BTA.shape[1] - 1)]  # the robot holds the last one

    def _known(self, delay: int) -> int:
        """Return a delay that the policy was trained for and whose commands LeRobot passes.

        Raises:
            UsageError: naming the limit and the flag that helps.
        """
        longest = self.config.rtc_max_delay
        if delay > longest and self.config.rtc_clip_delay:
            _LOG.warning("inference_delay is %d steps, taken for %d: rtc_clip_delay", delay, longest)
            delay = longest
        if not 0 <= delay <= longest:
            raise UsageError(
                f"inference_delay is {delay} steps; the policy was trained for 0 to {longest}. LeRobot takes the "
                f"longest latency so far for every request; with --policy.rtc_clip_delay=true that counts as {longest}"
            )
        passed = getattr(getattr(self.config, "rtc_config", None), "execution_horizon", delay)  # lerobot-rollout's
        if delay > passed:
            raise UsageError(
                f"inference_delay is {delay} steps, and LeRobot passes {passed} of the commands that run meanwhile; "
                f"needed: --inference.rtc.execution_horizon={longest}"
            )
        return delay

    def _save_pretrained(self, save_directory: Path, state_dict: dict[str, Tensor] | None = None) -> None:
        """Write configuration and weights, the network's alone.

        Args:
            save_directory: exists.
            state_dict: the whole policy's, where LeRobot has gathered it from several processes.
        """
        self.config._save_pretrained(save_directory)
        whole = self.state_dict() if state_dict is None else state_dict
        weights = {
            name.removeprefix(_NETWORK): value.detach().cpu().contiguous()
            for name, value in whole.items()
            if name.startswith(_NETWORK)
        }
        save_file(weights, save_directory / MODEL_FILE, metadata={"format": "pt"})

    @classmethod
    def _load_as_safetensor(
        cls, model: "ACTRTCPolicy", model_file: str, map_location: str, strict: bool
    ) -> "ACTRTCPolicy":
        """Load weights under the names that act_eval gives them; every one must fit, whatever `strict` says."""
        weights = {name: value.float() for name, value in load_file(model_file, device=map_location).items()}
        model.network.load_state_dict(weights)
        return model


def _folder(name: str | Path) -> Path:
    if Path(name).is_dir():
        return Path(name)
    if is_hub_id(str(name)):
        return fetched(str(name))
    raise CheckpointError(f"{name} is neither a folder nor a hub id (org/name)")
