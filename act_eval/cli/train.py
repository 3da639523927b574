"""`train`: a policy on demonstrations of an environment, which are collected first where there are none."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from act_eval.cli.parsing import parse as parsed
from act_eval.policies.act.config import ACTConfig, Feature
from act_eval.policies.act.presets import features, small_act, small_act_rtc
from act_eval.policies.checkpoint import load_config
from act_eval.policies.rtc import ACTRTCConfig
from act_eval.policies.training_config import TrainConfig
from act_eval.sources.policies import checkpoint_folder
from act_eval.training.folder import begun_with

_FROM_DATA = Annotated[Mapping[str, Feature], tyro.conf.Suppress]


@dataclass(frozen=True, kw_only=True)
class ACTFlags(ACTConfig):
    """ACT; features come from the data set."""

    input_features: _FROM_DATA = field(default_factory=dict)
    output_features: _FROM_DATA = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ACTRTCFlags(ACTRTCConfig):
    """ACT-RTC; features come from the data set."""

    input_features: _FROM_DATA = field(default_factory=dict)
    output_features: _FROM_DATA = field(default_factory=dict)


@dataclass(frozen=True)
class Flags:
    """Train a policy."""

    policy: Literal["act", "act_rtc"] = "act_rtc"
    """What to train; `--model.*` then offers its configuration."""
    env: tuple[str, ...] = ("confuser_pick",)
    """Environments of the demonstrations and of the closed-loop evaluations; several are trained on together."""
    dataset: tuple[Path, ...] | None = None
    """LeRobotDataset v3 folders; data/ENV for each environment by default. Missing ones are collected."""
    episodes: int | None = None
    """Demonstrations of each folder to train on; all that it has by default, 400 where there is none."""
    held_out: float = 0.05
    """Share of the demonstrations kept for the validation loss."""
    cameras: tuple[str, ...] | None = None
    """Cameras that the policy sees; all of the data set's by default."""
    coordinates: bool = True
    """Whether the policy is told the target's coordinates."""
    init_from: Path | None = None
    """Begin with the weights of this checkpoint or shipped policy, where they fit; its configuration is the default."""
    resume: Path | None = None
    """Folder of a run to continue with the settings that it was started with."""
    out: Path | None = None
    """Folder of the run; outputs/train/POLICY_ENV by default."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: CUDA where there is one."""
    threads: int | None = None
    """CPU threads; torch's choice by default."""
    evaluate_episodes: int = 20
    """Episodes per delay in a closed-loop evaluation; their seeds serve nothing else."""
    evaluate_delays: tuple[int, ...] | None = None
    """Inference delays of a closed-loop evaluation [control steps]; 0 and 4 by default, where possible."""
    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    """How long and how to train."""
    model: ACTFlags | ACTRTCFlags = field(default_factory=ACTRTCFlags)
    """What to train."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and train; return the exit code."""
    words = _whole_line(list(argv))
    flags = parse(words, prog)
    from act_eval.training.run import train  # what trains is heavy, and help needs none of it

    return train(flags, words)


def parse(words: list[str], prog: str = "train.py") -> Flags:
    """Return the settings that a command line means; what it names decides the defaults of the rest."""
    defaults = _defaults(_peek(words))
    return parsed(Flags, words, prog, default=defaults, config=(tyro.conf.AvoidSubcommands,))


def _whole_line(words: list[str]) -> list[str]:
    """Put the command line that a run was begun with before that which resumes it: the later word wins."""
    resume = _peek(words).resume
    return words if resume is None else [*begun_with(resume)["arguments"], *words]


def _peek(argv: list[str]) -> "_First":
    if "-h" in argv or "--help" in argv:
        argv = [word for word in argv if word not in ("-h", "--help")]
    return tyro.cli(_First, args=argv, return_unknown_args=True)[0]


@dataclass(frozen=True)
class _First:
    """What decides the defaults of everything else."""

    policy: Literal["act", "act_rtc"] = "act_rtc"
    resume: Path | None = None
    init_from: Path | None = None


def _defaults(first: _First) -> Flags:
    some = features({"overhead": (96, 96)})  # stand-ins: the data set's features replace them
    config: ACTConfig = small_act_rtc(some) if first.policy == "act_rtc" else small_act(some)
    if first.init_from is not None:
        found = load_config(checkpoint_folder(str(first.init_from), others=()))
        config = found if type(found) is type(config) else config
    flags = ACTRTCFlags if first.policy == "act_rtc" else ACTFlags
    return Flags(policy=first.policy, model=flags(**values(config)))


def values(config: ACTConfig) -> dict[str, Any]:
    """Return the fields of a configuration, to be given to another class."""
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
