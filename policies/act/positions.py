"""Fixed sinusoidal positions, computed once and kept as buffers."""

import math

import torch
from torch import Tensor

_TEMPERATURE = 10000.0


def sinusoid_1d(length: int, dim: int) -> Tensor:
    """Return (length, dim) positions of "Attention is all you need", sine and cosine interleaved.

    Computed in double precision like LeRobot's table, then rounded.
    """
    position = torch.arange(length, dtype=torch.float64)[:, None]
    pair = torch.arange(dim, dtype=torch.float64) // 2
    angle = position / _TEMPERATURE ** (2 * pair / dim)
    angle[:, 0::2] = angle[:, 0::2].sin()
    angle[:, 1::2] = angle[:, 1::2].cos()
    return angle.float()


def sinusoid_2d(height: int, width: int, dim: int) -> Tensor:
    """Return (height * width, dim) positions of a feature map: half for y, half for x, each scaled to 2π (DETR)."""
    y = _axis(height, dim // 2)[:, None, :].expand(height, width, -1)
    x = _axis(width, dim // 2)[None, :, :].expand(height, width, -1)
    return torch.cat((y, x), dim=-1).flatten(0, 1).contiguous()


def _axis(length: int, dim: int) -> Tensor:
    place = torch.arange(1, length + 1, dtype=torch.float32)
    place = place / (place[-1] + 1e-6) * (2 * math.pi)
    pair = torch.arange(dim, dtype=torch.float32) // 2
    angle = place[:, None] / _TEMPERATURE ** (2 * pair / dim)
    return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=-1).flatten(1)
