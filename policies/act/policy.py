"""ACT as a policy: loss for training, chunks for inference, one action at a time for a simple loop.

Everything here speaks normalised tensors; `policies/normalize.py` stands before and after.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from act_eval.errors import FeatureMismatch
from act_eval.policies.act.config import ACTConfig
from act_eval.policies.act.ensemble import TemporalEnsemble
from act_eval.policies.act.loss import latent_divergence, masked_l1
from act_eval.policies.act.model import ACT, ACTION_IS_PAD, Batch, Latent
from act_eval.types import ACTION

Metrics = dict[str, Tensor]


class ChunkingPolicy(nn.Module):
    """What ACT and ACT-RTC share. `model` may be replaced by `torch.compile(policy.model)` at any time."""

    model: nn.Module

    def __init__(self, config: ACTConfig) -> None:
        super().__init__()
        self.config = config
        self._queue: deque[Tensor] = deque()
        coeff = config.temporal_ensemble_coeff
        self._ensemble = None if coeff is None else TemporalEnsemble(coeff, config.chunk_size)

    def predict_action_chunk(self, batch: Batch) -> Tensor:
        """Return a normalised chunk (B, C, A) in evaluation mode, without gradients."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget the queued actions, at the beginning of an episode."""
        self._queue.clear()
        if self._ensemble is not None:
            self._ensemble.reset()

    @torch.no_grad()
    def select_action(self, batch: Batch) -> Tensor:
        """Return the next normalised action (B, A); predicts a new chunk every `n_action_steps` calls."""
        if self._ensemble is not None:
            return self._ensemble.update(self.predict_action_chunk(batch))
        if not self._queue:
            chunk_BCA = self.predict_action_chunk(batch)
            # A copy: the output of a compiled model may be the buffer that its next call writes to.
            self._queue.extend(chunk_BCA[:, : self.config.n_action_steps].clone().unbind(1))
        return self._queue.popleft()

    def get_optim_params(self) -> list[dict[str, Any]]:
        """Return the parameter groups of an optimiser: the backbone has its own learning rate."""
        return [
            {"params": list(self._parameters_where(backbone=False))},
            {"params": list(self._parameters_where(backbone=True)), "lr": self.config.optimizer_lr_backbone},
        ]

    def _parameters_where(self, backbone: bool) -> Iterator[nn.Parameter]:
        for name, parameter in self.named_parameters():
            if name.replace("_orig_mod.", "").startswith("model.backbone.") == backbone and parameter.requires_grad:
                yield parameter

    def check_batch(self, batch: Batch, *targets: str) -> None:
        """Refuse a batch without a declared input or target, or with another shape.

        Raises:
            FeatureMismatch: naming the field, the shape received and the shape declared.
        """
        for key, feature in self.config.input_features.items():
            if key not in batch:
                raise FeatureMismatch(f"the batch has no {key!r}; it holds {sorted(batch)}")
            if tuple(batch[key].shape[1:]) != feature.shape:
                shape = tuple(batch[key].shape[1:])
                raise FeatureMismatch(f"{key!r} has shape {shape} per sample; the policy was made for {feature.shape}")
        for key in targets:
            if key not in batch:
                raise FeatureMismatch(f"a training batch needs {key!r}; it holds {sorted(batch)}")
        if ACTION in targets:
            wanted = (self.config.target_steps, self.config.action_dim)
            if tuple(batch[ACTION].shape[1:]) != wanted:
                raise FeatureMismatch(
                    f"{ACTION!r} has shape {tuple(batch[ACTION].shape[1:])} per sample; training needs {wanted}"
                )

    def _noise(self, batch: Batch) -> Tensor | None:
        """Draw the latent's noise outside the model, so that eager and compiled models see the same numbers."""
        if not (self.config.use_vae and self.training):
            return None
        like = batch[ACTION]
        return torch.randn(len(like), self.config.latent_dim, device=like.device)

    def _with_divergence(self, l1: Tensor, parameters: Latent, metrics: Metrics) -> Tensor:
        mean_BL, log_var_BL = parameters
        if mean_BL is None or log_var_BL is None:
            return l1
        divergence = latent_divergence(mean_BL, log_var_BL)
        metrics["kld_loss"] = divergence.detach()
        return l1 + self.config.kl_weight * divergence


class ACTPolicy(ChunkingPolicy):
    """Action chunking with transformers; absolute actions; a chunk starts at the observation's step."""

    def __init__(self, config: ACTConfig, load_backbone_weights: bool = True) -> None:
        """Build the policy; `load_backbone_weights` False leaves out a download that a checkpoint would overwrite."""
        super().__init__(config)
        self.model = ACT(config, load_backbone_weights)

    def forward(self, batch: Batch) -> tuple[Tensor, Metrics]:
        """Return the loss and its parts, in training and in evaluation mode (then without the latent).

        Args:
            batch: normalised features with `action` (B, C, A) and `action_is_pad` (B, C).
        """
        self.check_batch(batch, ACTION, ACTION_IS_PAD)
        actions_BCA, parameters = self.model(batch, self._noise(batch))
        l1 = masked_l1(actions_BCA.float(), batch[ACTION], ~batch[ACTION_IS_PAD])
        metrics = {"l1_loss": l1.detach()}
        return self._with_divergence(l1, parameters, metrics), metrics

    @torch.no_grad()
    def predict_action_chunk(self, batch: Batch) -> Tensor:
        self.eval()
        self.check_batch(batch)
        return self.model({key: batch[key] for key in self.config.input_features})[0].float()
