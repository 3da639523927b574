"""ACT as a policy: loss for training, chunks for inference.

All tensors here are normalised; `policies/normalize.py` comes before and after.

Legend: `B` batch · `K` delays · `C` chunk · `A` action dim · `L` latent · `E` numbers of the goal.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, distributed, nn

from act_eval.errors import FeatureMismatch
from act_eval.policies.act.config import ACTConfig
from act_eval.policies.act.model import ACT, ACTION_IS_PAD, AuxOutputs, Batch
from act_eval.policies.conditioning import contrastive_hinge
from act_eval.types import ACTION, ENVIRONMENT_STATE

Metrics = dict[str, Tensor]


class ChunkingPolicy(nn.Module):
    """Base of ACT and ACT-RTC. `model` may be replaced by `torch.compile(policy.model)` at any time."""

    model: nn.Module

    def __init__(self, config: ACTConfig) -> None:
        super().__init__()
        self.config = config

    def predict_action_chunk(self, batch: Batch) -> Tensor:
        """Return a normalised chunk (B, C, A) in evaluation mode, without gradients."""
        raise NotImplementedError

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
        for key, feature in self.config.network_inputs.items():
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

    def _whole_loss(
        self,
        l1: Tensor,
        batch: Batch,
        aux: AuxOutputs,
        chunk_BCA: Tensor,
        predict: Callable[[Batch], Tensor],
        metrics: Metrics,
    ) -> Tensor:
        """Return the loss with the terms beside the actions' error.

        Args:
            l1: error of the actions.
            batch: inputs of the chunk.
            aux: auxiliary outputs of the network.
            chunk_BCA: the chunk; those of several delays concatenated.
            predict: returns the chunk of another batch under the same noise, delays and prefix.
            metrics: receives the terms.
        """
        config, loss = self.config, l1
        if aux.latent_mean is not None and aux.latent_log_var is not None:
            metrics["kld_loss"] = latent_divergence(aux.latent_mean, aux.latent_log_var)
            loss = loss + config.kl_weight * metrics["kld_loss"]
        if aux.recovered is not None:
            metrics["coordinate_loss"] = (aux.recovered.float() - batch[ENVIRONMENT_STATE]).abs().mean()
            loss = loss + config.auxiliary_weight * metrics["coordinate_loss"]
        if config.conditioning == "contrastive":
            goal_BE = batch[ENVIRONMENT_STATE]
            others_BE = goal_BE.roll(1, dims=0)  # of another sample
            other_BCA = predict({**batch, ENVIRONMENT_STATE: others_BE})
            metrics["contrastive_loss"] = contrastive_hinge(
                goal_BE, chunk_BCA, others_BE, other_BCA, config.contrastive_margin
            )
            loss = loss + config.contrastive_weight * metrics["contrastive_loss"]
        for name, value in metrics.items():
            metrics[name] = value.detach()
        return loss


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
        noise_BL = self._noise(batch)
        actions_BCA, aux = self.model(batch, noise_BL)
        actions_BCA = actions_BCA.float()
        l1 = masked_l1(actions_BCA, batch[ACTION], ~batch[ACTION_IS_PAD], shared=self.training)
        metrics = {"l1_loss": l1.detach()}
        loss = self._whole_loss(
            l1, batch, aux, actions_BCA, lambda other: self.model(other, noise_BL)[0].float(), metrics
        )
        return loss, metrics

    @torch.no_grad()
    def predict_action_chunk(self, batch: Batch) -> Tensor:
        self.eval()
        self.check_batch(batch)
        return self.model({key: batch[key] for key in self.config.network_inputs})[0].float()


def masked_l1(
    predicted: Tensor, target: Tensor, valid: Tensor, weight: Tensor | None = None, shared: bool = False
) -> Tensor:
    """Return the weighted mean absolute error over the valid entries (LeRobot ≥ 0.6 divides in this way).

    Args:
        predicted: (..., A).
        target: (..., A).
        valid: (...) bool, False if the target is beyond the episode's end or not predicted.
        weight: broadcastable to `valid`; 1 if None.
        shared: whether every process of a training calls this with its part of one batch; see `whole_count`.
    """
    error = (predicted - target).abs().mean(dim=-1)
    share = valid.to(error.dtype) if weight is None else valid * weight
    count = whole_count(share.sum()) if shared else share.sum()
    return (error * share).sum() / count.clamp(min=torch.finfo(error.dtype).tiny)


def whole_count(count: Tensor) -> Tensor:
    """Return the mean of a count over all processes that train together.

    Parts of a batch hold more or less padding. Divided by this, the mean of their losses is the loss of the batch.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return count
    total = count.detach().float()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def l1_per_delay(predicted_BKCA: Tensor, target_BKCA: Tensor, valid_BKC: Tensor, shared: bool = False) -> Tensor:
    """Return (K,) the masked mean absolute error of each delay."""
    error_BKC = (predicted_BKCA - target_BKCA).abs().mean(dim=-1)
    count_K = whole_count(valid_BKC.sum(dim=(0, 2))) if shared else valid_BKC.sum(dim=(0, 2))
    return (error_BKC * valid_BKC).sum(dim=(0, 2)) / count_K.clamp(min=torch.finfo(error_BKC.dtype).tiny)


def latent_divergence(mean_BL: Tensor, log_var_BL: Tensor) -> Tensor:
    """Return the mean over the batch of KL(N(mean, var) || N(0, 1)), in float32 whatever the inputs are."""
    mean_BL, log_var_BL = mean_BL.float(), log_var_BL.float()
    return (-0.5 * (1 + log_var_BL - mean_BL.square() - log_var_BL.exp())).sum(dim=-1).mean()
