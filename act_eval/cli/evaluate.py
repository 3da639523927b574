"""`evaluate`: a policy in closed loop under inference delay, on a suite of seeded episodes."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from act_eval.cli.evaluations.launching import LaunchFlags
from act_eval.cli.export import Tool
from act_eval.cli.parsing import parse
from act_eval.sources.env_declaration import DeclaringFlags


@dataclass(frozen=True)
class EnvFlags:
    """Options of the environment; what is not given stays as the environment has it."""

    confusers: int | None = None
    """Blocks beside the target."""
    coloured: bool = False
    """Give every confuser a colour of its own."""
    image_size: int | None = None
    """Height and width of the cameras' images [px]."""
    action_noise: float | None = None
    """Standard deviation of noise on the arm's commands, in half of the steps [rad]."""
    slips: float | None = None
    """Chance per step that the gripper disobeys for 10 to 25 steps."""
    coordinates: Literal["target", "none", "confuser", "random"] | None = None
    """What the policy is told as the target's place."""
    swap_blocks: bool = False
    """Let target and first confuser exchange places."""
    robot_meshes: bool = False
    """Show the robot's meshes, from the copy of MuJoCo Menagerie that MENAGERIE_ROOT names, instead of primitives."""


@dataclass(frozen=True)
class Flags:
    """Evaluate a policy in closed loop under inference delay. Without any option: the main job."""

    policy: str = "act_rtc"
    """A shipped policy, the path of a checkpoint folder (ours or LeRobot's ACT), a hub id (org/name), module:factory,
    a server (ws://host:port), or `expert`."""
    policy_options: tuple[str, ...] = ()
    """Given to module:factory or to a server's client, each as NAME=VALUE; a value is JSON or text."""
    env: str = "confuser_pick"
    """A name of ours, a Gymnasium id (gym_aloha/AlohaTransferCube-v0, package:SomeId-v0), module:factory, or
    dm_control:DOMAIN/TASK."""
    episodes: int | None = None
    """Episodes per arm, 50 by default."""
    seed: int = 0
    """Decides the episode seeds."""
    seeds: str | None = None
    """The episode seeds themselves, as in 3,17; instead of --episodes and --seed."""
    held_out: bool = False
    """Draw the episodes from seeds that no other evaluation uses: for the one checkpoint that others chose."""
    delay: tuple[str, ...] | None = None
    """Inference delays; each is an arm on the same seeds. Control steps, or a model: uniform:1,6
    lognormal:shift=1,median=2,sigma=0.5 spikes:calm=1,spike=6,enter=0.1,leave=0.5 dropped:probability=0.1,of=4
    trace:FILE measured measured:injected_ms=100. 0 4 by default."""
    latency_ms: tuple[float, ...] | None = None
    """Inference delays [ms], rounded up to control steps; instead of --delay."""
    execute: int | None = None
    """Control steps between two requests; half a chunk by default."""
    executor: str | None = None
    """How chunks are run while the next one is computed: sync, sync_ticking, naive, rtc, ensemble, blend. By
    default rtc for policies that take a prefix and naive for others."""
    told: str | None = None
    """Delay that rtc is told: oracle, constant:4, max, p95, average. The oracle by default; max under measured."""
    beyond_max_delay: Literal["error", "clip", "naive"] = "error"
    """A told delay above the policy's largest: refused, told the largest, or asked without a prefix."""
    timeout: int | None = None
    """Control steps after which a missing answer is lost; answers are waited for by default."""
    observation_delay: int = 0
    """Control steps by which observations are late."""
    actuation_delay: int = 0
    """Control steps by which commands reach the arm late."""
    prefix: tuple[str, ...] = ("own",)
    """What rtc is shown of the commands that run while it computes; each is an arm. own, or an ablation: expert (what
    the scripted expert would command), pad (nothing), shuffled, wrong_delay:2 (told 2 steps too many)."""
    observe: tuple[Literal["present", "predicted", "predicted_all"], ...] = ("present",)
    """Joints that the policy is handed; each is an arm. present, or those expected when its answer begins to act: the
    last committed command, the gripper as observed (predicted) or not (predicted_all)."""
    out: Path | None = None
    """Run folder; by default one below outputs/evaluate whose name depends on the configuration."""
    compile: str = "auto"
    """torch.compile: off, a mode of it, or auto (where it pays)."""
    precision: Literal["float32", "bf16"] = "float32"
    """Of the network's products; bf16 is faster and moves the commands a little."""
    video: Literal["all", "failures", "none"] = "all"
    """Which episodes are recorded."""
    export: tuple[Tool, ...] = ()
    """Export the finished run to csv, parquet, tensorboard, wandb or rerun, as `act-eval export` does."""
    workers: int | None = None
    """Processes; as many as there are processor cores by default. With --launcher ray: actors; with slurm: jobs."""
    batch: int | None = None
    """Episodes that run at a time in each process; 8 by default, 1 where inference is measured."""
    rows_per_call: int | None = None
    """Rows of every network call, filled up where fewer ask; 8 by default, as many as --batch where inference is
    measured."""
    device: str = "auto"
    """Where the network runs: cpu, cuda, or auto (cuda where there is one)."""
    probe: bool = True
    """Find out first whether an input is dead, and warn (a few seconds)."""
    blind: bool = False
    """Show the policy grey in place of every camera's images, as a control."""
    env_flags: Annotated[EnvFlags, tyro.conf.arg(name="")] = field(default_factory=EnvFlags)
    call_timeout_s: float | None = None
    """Time that a call of the policy or of the environment may take: what hangs longer ends the episode as
    policy_error, or as invalid. Any by default."""
    launch: Annotated[LaunchFlags, tyro.conf.arg(name="")] = field(default_factory=LaunchFlags)
    declaring: Annotated[DeclaringFlags, tyro.conf.arg(name="")] = field(default_factory=DeclaringFlags)


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and evaluate; return the exit code."""
    flags = parse(Flags, argv, prog)
    from act_eval.cli.evaluations.evaluating import evaluate  # what evaluates is heavy, and help needs none of it

    return evaluate(flags, sys.stdout)
