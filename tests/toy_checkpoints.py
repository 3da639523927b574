"""ACT checkpoints with random weights for any environment: real in every respect but skill."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from untrained import SMALL

from act_eval.policies.act.policy import ACTPolicy
from act_eval.policies.act.presets import features, small_act
from act_eval.policies.checkpoint import save_pretrained
from act_eval.policies.normalize import Processor
from act_eval.types import ACTION, ENVIRONMENT_STATE, IMAGE_PREFIX, STATE


def write_act(
    folder: Path,
    *,
    action_dim: int,
    state: int | None = None,
    environment_state: int | None = None,
    cameras: Mapping[str, tuple[int, int]] | None = None,
    spread: float = 1.0,
) -> Path:
    """Write an `act` checkpoint for these inputs, with chunks of 8; its actions scatter by `spread` about 0."""
    inputs = features(cameras or {}, state, environment_state)
    torch.manual_seed(0)
    policy = ACTPolicy(small_act(inputs, action_dim, **SMALL))
    stats = {
        name: {"mean": np.full((3, 1, 1), 0.5), "std": np.full((3, 1, 1), 0.25)}
        for name in inputs
        if name.startswith(IMAGE_PREFIX)
    }
    for name, size in ((STATE, state), (ENVIRONMENT_STATE, environment_state), (ACTION, action_dim)):
        if size is not None:
            stats[name] = {"mean": np.zeros(size), "std": np.full(size, spread)}
    save_pretrained(folder, policy, Processor(policy.config, stats))
    return folder
