"""Small ACT and ACT-RTC networks with random batches, for tests that ask how things hang together."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from act_eval.policies.act import ACTConfig, ACTPolicy, Feature
from act_eval.policies.act.presets import features
from act_eval.policies.normalize import IMAGENET, Processor
from act_eval.policies.rtc import ACTRTCConfig, ACTRTCPolicy
from act_eval.types import ChunkRequest, Observation

ACTIONS = 6
TINY: dict[str, Any] = {
    "output_features": {"action": Feature("ACTION", (ACTIONS,))},
    "chunk_size": 5,
    "n_action_steps": 3,
    "vision_backbone": "resnet_narrow",
    "backbone_widths": (8, 16),
    "dim_model": 32,
    "n_heads": 4,
    "dim_feedforward": 48,
    "n_encoder_layers": 2,
    "n_decoder_layers": 2,
    "n_vae_encoder_layers": 1,
    "latent_dim": 4,
    "dropout": 0.0,
    "camera_embedding": True,
}
CAMERAS = {"overhead": (16, 24), "wrist": (16, 24)}


def tiny_config(**changes: Any) -> ACTConfig:
    return ACTConfig(**{"input_features": features(CAMERAS), **TINY, **changes})


def tiny_rtc_config(**changes: Any) -> ACTRTCConfig:
    return ACTRTCConfig(**{"input_features": features(CAMERAS), "rtc_max_delay": 3, **TINY, **changes})


def tiny_act(**changes: Any) -> ACTPolicy:
    torch.manual_seed(0)
    return ACTPolicy(tiny_config(**changes))


def tiny_rtc(**changes: Any) -> ACTRTCPolicy:
    torch.manual_seed(0)
    policy = ACTRTCPolicy(tiny_rtc_config(**changes))
    torch.nn.init.normal_(policy.model.prefix_pad_embed)  # zeros at first, where a mistake would not show
    return policy


def normalised_batch(config: ACTConfig, rows: int = 4, seed: int = 0) -> dict[str, Tensor]:
    """Inputs and targets as a network takes them; rows 1 and on are padded at the end."""
    generator = torch.Generator().manual_seed(seed)
    read = {k: f for k, f in config.network_inputs.items() if k in config.input_features or f.type == "ACTION"}
    batch = {k: torch.randn(rows, *f.shape, generator=generator) for k, f in read.items()}
    steps = config.target_steps
    batch["action"] = torch.randn(rows, steps, config.action_dim, generator=generator)
    batch["action_is_pad"] = torch.arange(steps) >= steps - torch.arange(rows)[:, None]
    return batch


def raw_batch(config: ACTConfig, rows: int = 4, seed: int = 0) -> dict[str, Tensor]:
    """Inputs and targets as a data set gives them."""
    generator = torch.Generator().manual_seed(seed)
    batch = normalised_batch(config, rows, seed) | {"last_action": torch.randn(rows, ACTIONS, generator=generator)}
    for key, feature in config.image_features.items():
        batch[key] = torch.randint(0, 256, (rows, *feature.shape), dtype=torch.uint8, generator=generator)
    return batch


def stats(config: ACTConfig, seed: int = 0) -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(seed)
    given: dict[str, dict[str, Any]] = {}
    for key, feature in {**config.input_features, **config.output_features}.items():
        mean, std = rng.normal(size=feature.shape), rng.uniform(0.5, 2, size=feature.shape)
        vector = {"mean": mean, "std": std, "min": mean - 2 * std, "max": mean + 2 * std, "count": [7]}
        given[key] = dict(IMAGENET) if feature.type == "VISUAL" else vector
    return given


def processor(policy: ACTPolicy | ACTRTCPolicy) -> Processor:
    return Processor(policy.config, stats(policy.config))


def request(
    rows: int,
    size: tuple[int, int] = (16, 24),
    seed: int = 0,
    slots: int = 3,
    cameras: Iterable[str] = tuple(CAMERAS),
) -> ChunkRequest:
    """Return a request with random numbers, as a rollout sends it."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    pixels = {name: rng.integers(0, 256, (rows, *size, 3)).astype(np.uint8) for name in cameras}
    return ChunkRequest(
        rows=np.arange(rows),
        steps=np.zeros(rows, np.int64),
        observation=Observation(pixels, agent_pos=normal(rows, 6), environment_state=normal(rows, 2)),
        estimated_delay=rng.integers(0, slots + 1, rows),
        prefix=normal(rows, slots, 6),
        last_action=normal(rows, 6),
        past_actions=normal(rows, 2, 6),
    )
