"""Checkpoints of small networks with random weights: real in every respect but skill."""

from pathlib import Path

import numpy as np
import torch

from act_eval.policies.act.policy import ACTPolicy
from act_eval.policies.act.presets import features, small_act, small_act_rtc
from act_eval.policies.checkpoint import save_pretrained
from act_eval.policies.normalize import Processor
from act_eval.policies.rtc import ACTRTCPolicy
from act_eval.types import ACTION, ENVIRONMENT_STATE, IMAGE_PREFIX, STATE

SMALL = {
    "chunk_size": 8,
    "n_action_steps": 4,
    "dim_model": 32,
    "n_heads": 2,
    "dim_feedforward": 32,
    "n_encoder_layers": 1,
    "n_decoder_layers": 1,
    "backbone_widths": (8, 8, 8),
}


def write_checkpoint(folder: Path, kind: str, image_size: int = 32, **changes) -> Path:
    """Write an `act` or `act_rtc` checkpoint for both cameras, joints and coordinates."""
    inputs = features({"overhead": (image_size, image_size), "wrist": (image_size, image_size)})
    torch.manual_seed(0)
    if kind == "act":
        policy = ACTPolicy(small_act(inputs, **{**SMALL, **changes}))
    else:
        policy = ACTRTCPolicy(small_act_rtc(inputs, **{**SMALL, "rtc_max_delay": 4, **changes}))
    save_pretrained(folder, policy, Processor(policy.config, _stats(policy.config.input_features)))
    return folder


def _stats(inputs) -> dict[str, dict[str, np.ndarray]]:
    """Wide enough that random outputs move the condition, and with it what the network sees."""
    stats = {
        name: {"mean": np.full((3, 1, 1), 0.5), "std": np.full((3, 1, 1), 0.25)}
        for name in inputs
        if IMAGE_PREFIX in name
    }
    for name, size in ((STATE, 6), (ACTION, 6), (ENVIRONMENT_STATE, 2)):
        stats[name] = {"mean": np.zeros(size), "std": np.full(size, 0.3)}
    return stats
