"""Configurations that are shipped or documented."""

from collections.abc import Mapping

from act_eval.policies.act.config import NARROW, ACTConfig, Feature
from act_eval.policies.rtc import ACTRTCConfig
from act_eval.types import ACTION, ENVIRONMENT_STATE, IMAGE_PREFIX, STATE

_SMALL = {
    "chunk_size": 20,
    "n_action_steps": 10,
    "vision_backbone": NARROW,
    "dim_model": 256,
    "n_heads": 8,
    "dim_feedforward": 1024,
    "n_encoder_layers": 4,
    "n_decoder_layers": 2,
    "use_vae": False,
    "dropout": 0.0,  # a few passes over the data do not overfit, and drawing masks takes 15 % of a step on a CPU
    "camera_embedding": True,
    "optimizer_lr": 3e-4,
    "optimizer_lr_backbone": 3e-4,
}
"""About 5.5 M parameters: learns the picking tasks within half an hour on two cores."""


def features(
    cameras: Mapping[str, tuple[int, ...]], state: int | None = 6, environment_state: int | None = 2
) -> dict[str, Feature]:
    """Return input features.

    Args:
        cameras: name → (height, width).
        state: number of joints, None for a policy that does not see them.
        environment_state: number of coordinates, None for a policy without goal input.
    """
    found: dict[str, Feature] = {}
    if state is not None:
        found[STATE] = Feature("STATE", (state,))
    if environment_state is not None:
        found[ENVIRONMENT_STATE] = Feature("ENV", (environment_state,))
    return found | {IMAGE_PREFIX + name: Feature("VISUAL", (3, *size)) for name, size in cameras.items()}


def small_act(inputs: Mapping[str, Feature], action_dim: int = 6, **changes: object) -> ACTConfig:
    """Return the shipped ACT configuration; `changes` replace fields."""
    return ACTConfig(**_small(inputs, action_dim) | changes)  # pyright: ignore[reportArgumentType]


def small_act_rtc(inputs: Mapping[str, Feature], action_dim: int = 6, **changes: object) -> ACTRTCConfig:
    """Return the shipped ACT-RTC configuration (delays 0 … 8); `changes` replace fields."""
    fields = _small(inputs, action_dim) | {"rtc_prefix_noise": 1.0} | changes
    return ACTRTCConfig(**fields)  # pyright: ignore[reportArgumentType]


def lerobot_act(inputs: Mapping[str, Feature], action_dim: int = 6, **changes: object) -> ACTConfig:
    """Return an ACT that LeRobot can express, to be trained from scratch; `changes` replace fields.

    The shipped configuration with a ResNet-18 without pretrained weights, 16 M parameters.
    """
    own = {name: value for name, value in _small(inputs, action_dim).items() if name not in ACTConfig.added_fields}
    return ACTConfig(**own | {"vision_backbone": "resnet18"} | changes)  # pyright: ignore[reportArgumentType]


def _small(inputs: Mapping[str, Feature], action_dim: int) -> dict[str, object]:
    return {**_SMALL, "input_features": inputs, "output_features": {ACTION: Feature("ACTION", (action_dim,))}}
