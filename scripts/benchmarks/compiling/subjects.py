"""Subjects of the benchmark: our policies by network name, LeRobot's ACT if installed, and batches for both."""

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from act_eval.errors import UsageError
from act_eval.policies.act.config import ACTConfig, Feature
from act_eval.policies.act.policy import ACTPolicy
from act_eval.policies.act.presets import features, small_act, small_act_rtc
from act_eval.policies.checkpoint import Policy, load_pretrained
from act_eval.policies.rtc import ACTRTCConfig, ACTRTCPolicy
from act_eval.types import ACTION

Network = Literal["lerobot", "small"]
Kind = Literal["act", "act_rtc"]
Batch = dict[str, Tensor]
_CAMERAS = ("overhead", "wrist")


@dataclass(frozen=True)
class Subject:
    """A policy with the weights that every contender gets."""

    name: str
    policy: Policy
    lerobot: nn.Module | None
    """LeRobot's policy with the same weights; None where it is not installed or cannot express the network."""


def make_subject(
    kind: Kind, network: Network, image: tuple[int, int], checkpoint: Path | None, device: str, seed: int = 0
) -> Subject:
    """Build a policy from a checkpoint, or with random weights.

    Args:
        kind: which policy.
        network: `lerobot` for LeRobot's default (512 wide, ResNet-18, VAE, dropout), `small` for the shipped one.
        image: (height, width) of the two cameras.
        checkpoint: a `pretrained_model` folder; `kind`, `network` and `image` say nothing then.
        device: where it will run.
        seed: of random weights.
    """
    torch.manual_seed(seed)
    if checkpoint is not None:
        policy, _ = load_pretrained(checkpoint, device)
        name = f"{policy.config.type} from {checkpoint.name}"
    else:
        policy, name = _fresh(kind, network, image).to(device), f"{kind}, {network} network"
    return Subject(name, policy, lerobot_twin(policy, device))


def _fresh(kind: Kind, network: Network, image: tuple[int, int]) -> Policy:
    inputs = features(dict.fromkeys(_CAMERAS, image))
    if network == "small":
        return ACTPolicy(small_act(inputs)) if kind == "act" else ACTRTCPolicy(small_act_rtc(inputs))
    outputs = {ACTION: Feature("ACTION", (6,))}
    if kind == "act":
        return ACTPolicy(ACTConfig(input_features=inputs, output_features=outputs))
    return ACTRTCPolicy(ACTRTCConfig(input_features=inputs, output_features=outputs))


def training_batch(config: ACTConfig, rows: int, device: str, seed: int) -> Batch:
    """Return normalised random numbers; the last quarter of every second chunk is beyond its episode's end."""
    generator = torch.Generator().manual_seed(seed)
    batch = {k: torch.randn(rows, *f.shape, generator=generator) for k, f in config.network_inputs.items()}
    steps = config.target_steps
    batch[ACTION] = torch.randn(rows, steps, config.action_dim, generator=generator)
    late_T = torch.arange(steps) >= steps - steps // 4
    batch["action_is_pad"] = late_T & (torch.arange(rows)[:, None] % 2 == 1)
    return {key: value.to(device) for key, value in batch.items()}


def observation_of(batch: Batch) -> Batch:
    """Return a training batch without its targets."""
    return {key: value for key, value in batch.items() if not key.startswith(ACTION)}


def lerobot_version() -> str | None:
    """Return the version of LeRobot that is installed, None if none is."""
    try:
        return importlib.metadata.version("lerobot")
    except importlib.metadata.PackageNotFoundError:
        return None


def lerobot_twin(policy: Policy, device: str) -> nn.Module | None:
    """Return LeRobot's own ACT with a policy's weights, None where there can be none.

    Raises:
        UsageError: if LeRobot is installed but cannot be imported.
    """
    if lerobot_version() is None or policy.config.type != "act":
        return None
    try:
        modeling: Any = importlib.import_module("lerobot.policies.act.modeling_act")
        settings: Any = importlib.import_module("lerobot.policies.act.configuration_act")
        kinds: Any = importlib.import_module("lerobot.configs.types")
    except ImportError as error:
        raise UsageError(f"lerobot {lerobot_version()} is installed but cannot be imported: {error}") from error
    make: Callable[..., Any] = kinds.PolicyFeature
    both = (policy.config.input_features, policy.config.output_features)
    inputs, outputs = ({k: make(kinds.FeatureType[f.type], f.shape) for k, f in side.items()} for side in both)
    twin = modeling.ACTPolicy(
        settings.ACTConfig(
            input_features=inputs,
            output_features=outputs,
            device=device,
            **{name: getattr(policy.config, name) for name in _SHARED},
        )
    )
    twin.load_state_dict(policy.state_dict())
    return twin.to(device)


_SHARED = (
    *("chunk_size", "n_action_steps", "vision_backbone", "pretrained_backbone_weights", "pre_norm", "dim_model"),
    *("n_heads", "dim_feedforward", "feedforward_activation", "n_encoder_layers", "n_decoder_layers", "use_vae"),
    *("latent_dim", "n_vae_encoder_layers", "dropout", "kl_weight", "replace_final_stride_with_dilation"),
)
"""Fields of a configuration that LeRobot has under the same names."""
