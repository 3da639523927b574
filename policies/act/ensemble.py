"""Temporal ensembling of ACT for `select_action`: a new chunk every step, averaged with the older ones."""

import torch
from torch import Tensor


class TemporalEnsemble:
    """Running average of all predictions for a step, weights exp(-coeff · i), i = 0 the oldest (ACT, algorithm 2)."""

    def __init__(self, coeff: float, chunk_size: int) -> None:
        self._weights = torch.exp(-coeff * torch.arange(chunk_size))
        self._chunks: list[Tensor] = []

    def reset(self) -> None:
        """Forget all chunks."""
        self._chunks.clear()

    def update(self, chunk_BCA: Tensor) -> Tensor:
        """Take the newest chunk and return this step's action (B, A)."""
        # `_chunks` holds, oldest first, what each earlier prediction says of this step and later ones.
        self._chunks = [chunk[:, 1:] for chunk in self._chunks if chunk.shape[1] > 1]
        self._chunks.append(chunk_BCA)
        now_IBA = torch.stack([chunk[:, 0] for chunk in self._chunks])
        weights_I = self._weights[: len(now_IBA)].to(now_IBA)
        return torch.einsum("iba,i->ba", now_IBA, weights_I) / weights_I.sum()
