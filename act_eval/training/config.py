"""Settings of a training run, shared by the command line and the Python API."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from act_eval.config import EnvDeclaration
from act_eval.errors import UsageError
from act_eval.policies.act.config import ACTConfig, Feature
from act_eval.policies.act.presets import features, lerobot_act, small_act, small_act_rtc
from act_eval.policies.checkpoint import load_config
from act_eval.policies.optim import LoopConfig
from act_eval.policies.rtc import ACTRTCConfig
from act_eval.sources.environments import EnvSource, env_source
from act_eval.sources.external_envs import is_foreign
from act_eval.sources.policies import checkpoint_folder

PolicyKind = Literal["act", "act_rtc"]
Preset = Literal["small", "lerobot"]
_FromData = Annotated[Mapping[str, Feature], tyro.conf.Suppress]


@dataclass(frozen=True, kw_only=True)
class ACTModel(ACTConfig):
    """ACT; features come from the data set."""

    input_features: _FromData = field(default_factory=dict)
    output_features: _FromData = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ACTRTCModel(ACTRTCConfig):
    """ACT-RTC; features come from the data set."""

    input_features: _FromData = field(default_factory=dict)
    output_features: _FromData = field(default_factory=dict)


@dataclass(frozen=True)
class TrainConfig:
    """Train a policy."""

    policy: PolicyKind = "act_rtc"
    """Policy type; `--model.*` then sets its configuration."""
    preset: Preset = "small"
    """Configuration that `--model.*` starts from: that of the shipped policies, or one that LeRobot can load (act
    only)."""
    env: tuple[str, ...] = ("confuser_pick",)
    """Environments of the demonstrations and of the closed-loop evaluations, as `evaluate` takes them; several are
    trained on together."""
    dataset: tuple[Path, ...] | None = None
    """LeRobotDataset v3 folders. By default data/ENV for each environment, collected first where it is missing."""
    episodes: int | None = None
    """Demonstrations of each folder to train on; all by default, 400 if they are collected first."""
    held_out: float = 0.05
    """Share of the demonstrations kept for the validation loss."""
    cameras: tuple[str, ...] | None = None
    """Cameras that the policy sees; all of the data set's by default."""
    goal_input: bool = True
    """Whether the policy has the target's coordinates as an input."""
    init_from: Path | None = None
    """Start from the fitting weights of this checkpoint or shipped policy; its configuration is the default."""
    resume: Path | None = None
    """Folder of a run to continue with its own settings."""
    out: Path | None = None
    """Folder of the run; outputs/train/POLICY_ENV by default."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: CUDA if available."""
    threads: int | None = None
    """CPU threads; torch's choice by default."""
    evaluate_episodes: int = 20
    """Episodes per delay in a closed-loop evaluation; their seeds are used for nothing else."""
    evaluate_delays: tuple[int, ...] | None = None
    """Inference delays of a closed-loop evaluation [control steps]; 0 and 4 by default, where possible."""
    correction_share: float = 0.5
    """Share of corrections in a batch where demonstrations are trained on too."""
    correction_rounds: int = 0
    """Rounds of on-policy correction: collect the expert's corrections of the newest checkpoint in every environment,
    then train on all corrections so far. With --init-from they begin at once, and demonstrations are used only where
    --dataset names them; otherwise a training on demonstrations comes first."""
    correction_episodes: int = 200
    """Rollouts per environment and round."""
    correction_steps: int = 1500
    """Optimiser steps per round."""
    correction_delay: str = "uniform:0,8"
    """Inference delay of the rollouts [control steps]."""
    declaration: Annotated[EnvDeclaration, tyro.conf.arg(name="")] = field(default_factory=EnvDeclaration)
    train: Annotated[LoopConfig, tyro.conf.arg(name="")] = field(default_factory=LoopConfig)
    """Optimisation: steps, batch size, schedule."""
    model: ACTModel | ACTRTCModel = field(default_factory=ACTRTCModel)
    """Configuration of the network."""

    def source(self, env: str, options: Mapping[str, Any] | None = None) -> EnvSource:
        """Return one of the environments.

        Args:
            env: its name.
            options: of a built-in one; those of the flags come before them.

        Raises:
            UsageError: or a child of it, naming what does not fit.
        """
        built_in = {} if options is None or is_foreign(env) else options
        return env_source(env, built_in, self.declaration, film=False)

    def labels(self) -> tuple[str, ...]:
        """Return the names of the environments, fit for file names."""
        return tuple(self.source(name).label for name in self.env)

    def __post_init__(self) -> None:
        if not 0 <= self.correction_share <= 1:
            raise UsageError(f"correction_share is {self.correction_share}; it is a share of a batch, 0 to 1")
        if self.preset == "lerobot" and self.policy != "act":
            raise UsageError(f"--preset lerobot is a preset of --policy act, not of {self.policy}")
        if self.correction_rounds < 0:
            raise UsageError(f"correction_rounds is {self.correction_rounds}; it must be at least 0")
        for name in ("correction_episodes", "correction_steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")


def default_config(
    policy: PolicyKind = "act_rtc", init_from: Path | None = None, preset: Preset = "small"
) -> TrainConfig:
    """Return the default recipe of a policy, with the network of `init_from` if given.

    Raises:
        ActEvalError: if there is no such checkpoint or its configuration is damaged.
    """
    placeholder = features({"overhead": (96, 96)})  # the data set's features replace it
    act = lerobot_act if preset == "lerobot" else small_act
    config: ACTConfig = small_act_rtc(placeholder) if policy == "act_rtc" else act(placeholder)
    if init_from is not None:
        found = load_config(checkpoint_folder(str(init_from), others=()))
        config = found if type(found) is type(config) else config
    model = ACTRTCModel if policy == "act_rtc" else ACTModel
    return TrainConfig(policy=policy, model=model(**values(config)))


def values(config: ACTConfig) -> dict[str, Any]:
    """Return the fields of a configuration, for another class."""
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
