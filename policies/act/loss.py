"""Losses of ACT: masked mean absolute error and the latent's divergence. All return tensors.

Legend: `B` batch · `K` delays · `C` chunk · `A` action dim · `L` latent.
"""

import torch
from torch import Tensor, distributed


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
