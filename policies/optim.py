"""Settings of the training loop, and how weights move: AdamW, a learning-rate schedule, averaged weights."""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from act_eval.errors import UsageError
from act_eval.policies.compile_mode import resolve_mode


@dataclass(frozen=True)
class OptimConfig:
    """Optimisation settings apart from the policy's own, which are learning rates and weight decay."""

    schedule: Literal["cosine", "constant"] = "cosine"
    """`cosine`: linear warm-up, then half a cosine (one cycle). `constant`: warm-up only."""
    warmup: float = 0.1
    """Share of all steps in which the rate climbs from a 25th to its full value."""
    final_rate: float = 0.001
    """Rate at the last step as a share of the full rate (cosine)."""
    clip: float = 10.0
    """Largest norm of the gradient; longer ones are shortened to it."""
    average: float = 0.999
    """Decay of the averaged weights, which are what is saved, validated and evaluated; 0 turns averaging off."""

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise UsageError(f"warmup is {self.warmup}; it is a share of the steps, from 0 up to below 1")
        if not 0 <= self.final_rate <= 1:
            raise UsageError(f"final rate is {self.final_rate}; it is a share of the full rate, from 0 to 1")
        if self.clip <= 0:
            raise UsageError(f"clip is {self.clip}; the gradient norm's limit must be above 0")
        if not 0 <= self.average < 1:
            raise UsageError(f"average is {self.average}; a decay is 0 (off) or more, and below 1")


@dataclass(frozen=True)
class LoopConfig:
    """Settings of the training loop; the shipped recipe by default."""

    steps: int = 7000
    """Optimiser steps."""
    batch_size: int = 32
    """Samples per step and device."""
    seed: int = 0
    """Seed of initial weights, order of samples, image shifts and dropout."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """bf16 runs forward and backward under autocast; weights and optimiser stay in fp32. auto: bf16 where the device
    computes in it, else fp32."""
    compile: str = "off"
    """torch.compile for the training step: off, a mode of it, or auto (where it pays). On a CPU it needs fp32."""
    shift: int = 4
    """Images are moved by up to this many pixels; 0 turns augmentation off."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Schedule, clipping and averaging."""
    log_every: int = 20
    """Steps between two looks at the metrics (each waits for the device)."""
    save_every: int = 500
    """Steps between two checkpoints."""
    keep: int = 3
    """Newest checkpoints that stay; 0 keeps all."""
    validate_every: int = 500
    """Steps between two validations on held-out episodes; 0 turns them off."""
    validation_batches: int = 16
    """Batches per validation, spread evenly over the held-out frames."""
    evaluate_every: int = 2000
    """Steps between two closed-loop evaluations; 0 turns them off."""
    workers: int = 0
    """Processes that read batches ahead; 0 reads in the training process."""

    def __post_init__(self) -> None:
        resolve_mode(self.compile, "cpu")  # refuses what is no mode
        for name in ("steps", "batch_size", "log_every", "save_every", "validation_batches"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("seed", "shift", "keep", "validate_every", "evaluate_every", "workers"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 0")


_FIRST_RATE = 1 / 25  # as torch's OneCycleLR


def rate_factor(config: OptimConfig, step: int, steps: int) -> float:
    """Return the share of the full learning rate in force at `step` (0 … steps - 1).

    A pure function of the step, so that a resumed run needs no scheduler state.
    """
    warmup = max(1, round(config.warmup * steps))
    if step < warmup and config.warmup > 0:
        return _FIRST_RATE + (1 - _FIRST_RATE) * step / warmup
    if config.schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    return config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))


def make_optimizer(groups: Iterable[dict[str, Any]], rate: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW over parameter groups; a group's own `lr` (the backbone's) wins over `rate`."""
    filled = [group for group in groups if group["params"]]  # without cameras there is no backbone
    optimizer = torch.optim.AdamW(filled, lr=rate, weight_decay=weight_decay, fused=True)
    for group in optimizer.param_groups:
        group["full_lr"] = group["lr"]
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to `factor` times its full rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["full_lr"] * factor


class AveragedWeights:
    """An exponential moving average of a module's parameters; buffers are copied, not averaged.

    The decay grows as (1 + n) / (10 + n) up to its limit, so that the random first weights are soon forgotten
    (the warm-up of TensorFlow's ExponentialMovingAverage, also used by diffusers).
    """

    def __init__(self, source: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(source).requires_grad_(False).eval()
        self._decay = decay
        self._source = source
        self._averages: list[Tensor] = list(self.module.parameters())
        self._weights: list[Tensor] = list(source.parameters())

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Move towards the source's present weights; `updates` counts earlier calls over the whole run."""
        decay = min(self._decay, (1 + updates) / (10 + updates))
        get_ema_multi_avg_fn(decay)(self._averages, self._weights, updates)

    @torch.no_grad()
    def refreshed(self) -> nn.Module:
        """Return the averaged module with the source's present buffers."""
        for average, buffer in zip(self.module.buffers(), self._source.buffers(), strict=True):
            average.copy_(buffer)
        return self.module
