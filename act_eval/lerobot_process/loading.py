"""A LeRobot checkpoint's network and processors, as LeRobot itself loads them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lerobot import __version__  # pyright: ignore[reportMissingImports]
from lerobot.configs.policies import PreTrainedConfig  # pyright: ignore[reportMissingImports]
from lerobot.policies.factory import (  # pyright: ignore[reportMissingImports]
    get_policy_class,
    make_pre_post_processors,
)
from lerobot.utils.import_utils import register_third_party_plugins  # pyright: ignore[reportMissingImports]

from act_eval.errors import CheckpointError, UsageError

_DEVICE, _RENAME = "device_processor", "rename_observations_processor"
_PROCESSOR = "policy_preprocessor.json"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the parent process decides."""

    folder: str
    device: str
    """`auto`: CUDA if available."""
    rows_per_call: int
    threads: int
    task: str = ""
    """Text for policies that read one."""
    rename_map: Mapping[str, str] = field(default_factory=dict)
    """Name of an observation → name that the policy expects; instead of the checkpoint's if it is not empty."""
    rtc: Mapping[str, Any] = field(default_factory=dict)
    """Fields of LeRobot's `RTCConfig`, instead of the checkpoint's."""

    def __post_init__(self) -> None:
        if self.device == "auto":
            object.__setattr__(self, "device", "cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Loaded:
    """A policy with its processors."""

    policy: Any
    config: Any
    preprocessor: Any
    postprocessor: Any
    n_action_steps: int | None
    """As the checkpoint has it; the policy itself returns all of its actions."""


def load(settings: Settings) -> Loaded:
    """Return the policy of a folder, on its device.

    Raises:
        CheckpointError: if the folder is no checkpoint, is of a type that this LeRobot does not know, or its weights do
            not fit its configuration.
        UsageError: if the policy cannot be evaluated here.
    """
    config = _config(settings.folder)
    config.device = settings.device
    if getattr(config, "use_peft", False):
        raise UsageError("the checkpoint is an adapter (use_peft); merge it into its base model first")
    if getattr(config, "pretrained_backbone_weights", None) is not None:
        config.pretrained_backbone_weights = None  # the checkpoint has them; LeRobot would download the initial ones
    n_action_steps = getattr(config, "n_action_steps", None)
    if hasattr(config, "horizon") and n_action_steps is not None:  # diffusion predicts more than it returns
        config.n_action_steps = config.horizon - config.n_obs_steps + 1
    policy = get_policy_class(config.type).from_pretrained(settings.folder, config=config, strict=True)
    preprocessor, postprocessor = make_pre_post_processors(
        config, pretrained_path=settings.folder, preprocessor_overrides=_overrides(settings)
    )
    return Loaded(policy.to(settings.device).eval(), config, preprocessor, postprocessor, n_action_steps)


def _config(folder: str) -> Any:
    register_third_party_plugins()
    kind = json.loads((Path(folder) / "config.json").read_text()).get("type")
    known = PreTrainedConfig.get_known_choices()
    if kind not in known:
        raise CheckpointError(
            f"config.json of {folder} has type {kind!r}, which LeRobot {__version__} here does not know; there are: "
            f"{', '.join(sorted(known))}. Other types come with packages lerobot_policy_NAME, installed in its Python"
        )
    if not (Path(folder) / _PROCESSOR).is_file():
        raise CheckpointError(f"{folder} has no {_PROCESSOR}, without which LeRobot cannot normalise its inputs")
    return PreTrainedConfig.from_pretrained(folder)


def _overrides(settings: Settings) -> dict[str, dict[str, Any]]:
    steps = json.loads((Path(settings.folder) / _PROCESSOR).read_text())["steps"]
    names = {step.get("registry_name") for step in steps}
    overrides: dict[str, dict[str, Any]] = {}
    if _DEVICE in names:
        overrides[_DEVICE] = {"device": settings.device}
    if settings.rename_map:
        if _RENAME not in names:
            raise UsageError(f"rename_map: {_PROCESSOR} of {settings.folder} has no step that renames observations")
        overrides[_RENAME] = {"rename_map": dict(settings.rename_map)}
    return overrides
