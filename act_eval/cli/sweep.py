"""`sweep`: a grid of delays, execution horizons and executors over policies and environments, as one resumable job."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from act_eval.cli.evaluate import EnvFlags
from act_eval.cli.evaluations.launching import LaunchFlags
from act_eval.cli.parsing import parse
from act_eval.sources.env_declaration import DeclaringFlags
from act_eval.timing import BeyondMaxDelay, Observe


@dataclass(frozen=True)
class Flags:
    """Sweep policies over inference delay. Without any option: the comparison of rtc with naive where delay hurts."""

    policies: tuple[str, ...] = ("act", "act_rtc")
    """Shipped policies, or paths of checkpoint folders."""
    envs: tuple[str, ...] = ("moving_pick", "confuser_swap")
    """Environments, as `evaluate` takes them."""
    delays: tuple[str, ...] = ("0", "1", "2", "4", "8")
    """Inference delays d [control steps]."""
    execute: tuple[str, ...] = ("half",)
    """Control steps s between two requests: numbers, half (of a chunk), delay (s = max(d, 1)) or horizon:N
    (s = N - d, so that no action runs later than N - 1 steps after its observation)."""
    executors: tuple[str, ...] = ("naive", "rtc")
    """How chunks are run: sync, sync_ticking, naive, rtc, ensemble, blend. The first is what the others are compared
    with."""
    told: tuple[str, ...] = ("oracle",)
    """Delays that rtc is told: oracle, numbers, or estimators such as max, p95, average."""
    prefix: tuple[str, ...] = ("own",)
    """Prefixes that rtc shows its policy: own, expert, pad, shuffled, wrong_delay:OFFSET."""
    observe: tuple[Observe, ...] = ("present",)
    """Joints that a policy is handed under naive and rtc: present, predicted, predicted_all."""
    beyond_max_delay: BeyondMaxDelay = "error"
    """A told delay above the policy's largest: not run, told the largest, or asked without a prefix."""
    episodes: int = 200
    """Episodes per cell; the same in every cell of an environment."""
    seed: int = 0
    """Decides the episode seeds."""
    held_out: bool = False
    """Draw the episodes from seeds that no other evaluation uses: for checkpoints that other sweeps chose."""
    out: Path | None = None
    """Folder of the sweep; by default one below outputs/sweep whose name depends on the grid."""
    compile: str = "auto"
    """torch.compile: off, a mode of it, or auto (where it pays)."""
    workers: int | None = None
    """Processes; as many as there are processor cores by default. With --launcher ray: actors; with slurm: jobs."""
    batch: int = 8
    """Episodes that run at a time in each process."""
    device: str = "auto"
    """Where the network runs: cpu, cuda, or auto (cuda where there is one)."""
    env_flags: Annotated[EnvFlags, tyro.conf.arg(name="")] = field(default_factory=EnvFlags)
    launch: Annotated[LaunchFlags, tyro.conf.arg(name="")] = field(default_factory=LaunchFlags)
    declaring: Annotated[DeclaringFlags, tyro.conf.arg(name="")] = field(default_factory=DeclaringFlags)


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and sweep; return the exit code."""
    flags = parse(Flags, argv, prog)
    from act_eval.cli.sweeps.sweeping import sweep  # what sweeps is heavy, and help needs none of it

    return sweep(flags, sys.stdout)
