"""`probe`: which declared inputs move a policy's output, and which block it then chooses."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from act_eval.cli.parsing import parse
from act_eval.config import EnvDeclaration, EnvOptions
from act_eval.diagnostics.observation_set import EPISODES, EVERY, PER_EPISODE


@dataclass(frozen=True)
class Flags:
    """Tell which declared inputs move a policy's output. Exit code 0: no input is ignored; 3: at least one is."""

    policy: str = "act_rtc"
    """A shipped policy, a checkpoint folder, a hub id, module:factory, or a server, as `evaluate` takes it."""
    policy_options: tuple[str, ...] = ()
    """Given to module:factory or to a server's client, each as NAME=VALUE."""
    env: str = "confuser_pick"
    """Environment."""
    bank: Literal["expert", "policy"] | None = None
    """Who acts while observations are collected: the scripted expert by default, the policy itself where there is
    none."""
    episodes: int = EPISODES
    """Episodes that observations are taken from."""
    per_episode: int = PER_EPISODE
    """Observations of each, from its beginning."""
    every: int = EVERY
    """Control steps between two observations."""
    seed: int = 0
    """Decides the episodes."""
    short: bool = False
    """Only what the verdicts rest on."""
    json: Path | None = None
    """File for all numbers."""
    device: str = "auto"
    """Where the network runs: cpu, cuda, or auto (cuda where there is one)."""
    environment: Annotated[EnvOptions, tyro.conf.arg(name="")] = field(default_factory=EnvOptions)
    declaration: Annotated[EnvDeclaration, tyro.conf.arg(name="")] = field(default_factory=EnvDeclaration)


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and probe; return the exit code."""
    flags = parse(Flags, argv, prog)
    from act_eval.cli.probing import probe_policy  # loads torch and MuJoCo, and help needs neither

    return probe_policy(flags, sys.stdout)
