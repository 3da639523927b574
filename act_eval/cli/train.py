"""`train`: train a policy on demonstrations of an environment; missing demonstrations are collected first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from act_eval.cli import INTERRUPTED, OK
from act_eval.cli.parsing import parse as parsed
from act_eval.errors import UsageError
from act_eval.training.config import PolicyKind, Preset, TrainConfig, default_config
from act_eval.training.folder import begun_with

Flags = TrainConfig


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and train; return the exit code."""
    words = _whole_line(list(argv))
    config = parse(words, prog)
    if config.correction_rounds:  # what is imported here is slow; help does not need it
        from act_eval.training.rounds import train_in_rounds as train
    else:
        from act_eval.training.run import train
    return INTERRUPTED if train(config, words).stopped else OK


def parse(words: list[str], prog: str = "act-eval train") -> TrainConfig:
    """Return the config of a command line; policy and checkpoint determine the defaults of the other flags."""
    first = _peek(words)
    defaults = default_config(first.policy, first.init_from, first.preset)
    return parsed(TrainConfig, words, prog, default=defaults, config=(tyro.conf.AvoidSubcommands,))


def _whole_line(words: list[str]) -> list[str]:
    """Return the arguments of the resumed training followed by the new ones, which take precedence."""
    resume = _peek(words).resume
    if resume is None:
        return words
    if not resume.is_dir():
        raise UsageError(f"--resume {resume} does not exist; name the folder of a training run")
    return [*begun_with(resume)["arguments"], *words]


def _peek(argv: list[str]) -> "_First":
    if "-h" in argv or "--help" in argv:
        argv = [word for word in argv if word not in ("-h", "--help")]
    return tyro.cli(_First, args=argv, return_unknown_args=True)[0]


@dataclass(frozen=True)
class _First:
    """The flags that determine the defaults of all others."""

    policy: PolicyKind = "act_rtc"
    preset: Preset = "small"
    resume: Path | None = None
    init_from: Path | None = None
