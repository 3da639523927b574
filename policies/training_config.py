"""How long and how to train; the shipped recipe is the default."""

from dataclasses import dataclass, field
from typing import Literal

from act_eval.errors import UsageError
from act_eval.policies.compile_mode import resolve_mode
from act_eval.policies.optim import OptimConfig


@dataclass(frozen=True)
class TrainConfig:
    """How long and how to train; the shipped recipe by default."""

    steps: int = 7000
    """Optimiser steps."""
    batch_size: int = 32
    """Samples per step and device."""
    seed: int = 0
    """Of initial weights, order of samples, image shifts and dropout."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """bf16 runs forward and backward under autocast; weights and optimiser stay in fp32."""
    compile: str = "off"
    """torch.compile for the training step: off, a mode of it, or auto (where it pays). On a CPU it needs --precision
    fp32."""
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
