"""`collect`: collect demonstrations of the scripted expert, or its corrections of a policy, as LeRobotDataset v3."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from act_eval.cli import OK
from act_eval.cli.parsing import parse
from act_eval.collect import (
    DEMONSTRATED,
    Collected,
    CollectPlan,
    CollectProgress,
    MakeAttempts,
    collect,
    expert_demonstrator,
    plan_of,
)
from act_eval.collect.corrections import corrector
from act_eval.collect.plan import LabelPrefix
from act_eval.config import EnvDeclaration
from act_eval.datasets import ImageStorage
from act_eval.envs.options import GoalInput, ObsType, Positions
from act_eval.errors import Interrupted, UsageError
from act_eval.sources.environments import env_source
from act_eval.sources.external_envs import is_foreign
from act_eval.timing import parse_delay


@dataclass(frozen=True)
class Flags:
    """Collect demonstrations of the scripted expert, or with --policy its corrections of a policy.

    The outcome rules of the environment verify every demonstration. Repeat the command to resume after an interrupt.
    """

    env: str = "confuser_pick"
    """A built-in environment, or another one, as `evaluate` takes them, with the hook expert_action: metaworld:push-v3.
    --policy needs the hook fork too."""
    episodes: int = 400
    """Successful episodes to keep; rollouts of the policy, whatever their outcome, with --policy."""
    policy: str | None = None
    """Let this policy act, and keep what the expert would have done: a shipped policy, a checkpoint or module:Name."""
    labels: Literal["expert"] = "expert"
    """Who shows what the policy should have done."""
    executor: str | None = None
    """Executor of the policy; rtc, or naive for a policy without a prefix, by default."""
    delay: str = "uniform:0,8"
    """Inference delay of the policy [control steps], as for `evaluate`; bounded."""
    execution_horizon: int | None = None
    """Control steps between two requests of the policy; half of its chunk by default."""
    between: float = 0.2
    """Share of the steps without a request that are labelled too, with a random delay."""
    label_prefix: LabelPrefix = "own"
    """Whose commands run between a label's observation and its first action, in a copy of the simulator: the policy's
    own ones, or the expert's."""
    out: Path | None = None
    """Data set folder; data/ENV by default, data/ENV_corrections with --policy."""
    seed: int = 0
    """Determines every episode."""
    action_noise: float | None = None
    """Standard deviation of noise on the arm's commands, in half of the steps [rad]; labels have no noise. 0.03 for
    demonstrations, 0 for corrections by default."""
    gripper_faults: float | None = None
    """Chance per step that the gripper ignores its command for a while, to demonstrate recovery; labels have no
    faults. 0.008 for demonstrations, 0 for corrections by default."""
    recovery: float = 0.0
    """Share of recovery demonstrations: the expert first approaches an imagined block, and recording starts when it
    turns to the real one."""
    image_size: int | None = None
    """Height and width of the images [px]; 96 by default."""
    confusers: int | None = None
    """Blocks beside the target; the environment's default if omitted."""
    positions: Positions | None = None
    """Start positions of the target: anywhere (continuous, the default), near one place, or near either of two."""
    label_noise: float | None = None
    """Share of the episodes whose goal coordinates are those of the confuser, as in a data set with wrong labels."""
    goal_input: GoalInput | None = None
    """Goal coordinates of the labels' observations; the environment's default if omitted."""
    max_yaw: float | None = None
    """Largest turn of a block to either side at reset [rad]; the environment's default if omitted."""
    obs_type: ObsType | None = None
    """state: no images, and positions and velocities of target and joints in the observation."""
    robot_meshes: bool = False
    """Render the robot's meshes, from the copy of MuJoCo Menagerie at MENAGERIE_ROOT, instead of primitives."""
    image_storage: ImageStorage = "image"
    """image: lossless PNG. video: H.264, smaller and lossy."""
    workers: int = 2
    """Worker processes."""
    declaration: Annotated[EnvDeclaration, tyro.conf.arg(name="")] = field(default_factory=EnvDeclaration)


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags, collect with a progress bar and print the result; return the exit code."""
    flags = parse(Flags, argv, prog)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    began = time.perf_counter()
    built_in = {} if is_foreign(flags.env) else _options(flags)
    source = env_source(flags.env, built_in, flags.declaration, film=False)
    about = plan_of(source, flags.declaration)
    if source.declared is not None:
        _refuse_of_built_in(flags)
    out = flags.out or Path("data") / (source.label if flags.policy is None else f"{source.label}_corrections")
    corrections, make = (None, partial(expert_demonstrator, source, flags.recovery))
    if flags.policy is not None:
        corrections, make = corrector(
            flags.policy,
            source,
            flags.executor,
            flags.execution_horizon,
            parse_delay(flags.delay),
            flags.between,
            flags.label_prefix,
        )
        _refuse_of_demonstrations(flags)
    plan = CollectPlan(
        recovery=flags.recovery,
        seed=flags.seed,
        episodes=flags.episodes,
        images=flags.image_storage,
        corrections=corrections,
        **about,
    )
    try:
        done = _collect(plan, make, out, flags.workers, console)
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"\nInterrupted. Finished episodes are kept in {out}.partial; the same command continues."
        ) from error
    console.print(_summary(done, time.perf_counter() - began, of_policy=flags.policy is not None))
    return OK


_OPTIONS = ("confusers", "positions", "label_noise", "goal_input", "max_yaw", "obs_type")
"""Flags that are options of the built-in environments, without a default here."""


def _options(flags: Flags) -> dict[str, Any]:
    given = {name: getattr(flags, name) for name in _OPTIONS}
    options = {name: value for name, value in given.items() if value is not None}
    options |= {"robot_meshes": True} if flags.robot_meshes else {}
    usual = {**DEMONSTRATED, **({} if flags.policy is None else {"action_noise": 0.0, "gripper_faults": 0.0})}
    chosen = {name: getattr(flags, name) for name in usual}
    return {name: usual[name] if value is None else value for name, value in chosen.items()} | options


def _refuse_of_built_in(flags: Flags) -> None:
    """Refuse options of the built-in environments, which another one would not receive."""
    names, unsaid = (*DEMONSTRATED, *_OPTIONS, "recovery", "robot_meshes"), Flags()
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(flags, name) != getattr(unsaid, name)]
    if given:
        raise UsageError(
            f"{', '.join(given)}: for the built-in environments; {flags.env} takes its own as --env-options NAME=VALUE"
        )


def _refuse_of_demonstrations(flags: Flags) -> None:
    if flags.recovery:
        raise UsageError(f"--recovery {flags.recovery} is for demonstrations; with --policy the policy itself errs")


def _collect(plan: CollectPlan, make: MakeAttempts, out: Path, workers: int, console: Console) -> Collected:
    columns = (
        TextColumn("collecting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[discarded]}"),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=plan.episodes, rate="", discarded="", visible=False)
        start: list[tuple[float, int]] = []  # when the first attempt of this run ended, with the episodes by then

        def show(state: CollectProgress) -> None:
            if not start:
                start.append((time.perf_counter(), state.episodes))
            seconds = time.perf_counter() - start[0][0]
            rate = f"{(state.episodes - start[0][1]) / seconds:.1f} episodes/s" if seconds > 0 else ""
            discarded = sum(state.discarded.values())
            progress.update(
                bar,
                visible=True,
                completed=min(state.episodes, plan.episodes),
                rate=rate,
                discarded=f"{discarded} discarded" if discarded else "",
            )

        return collect(plan, out, make, workers=workers, on_progress=show)


def _summary(done: Collected, seconds: float, of_policy: bool) -> str:
    if of_policy:
        there = "already holds these" if done.existed else "holds"
        return f"{done.root} {there} {done.frames} corrections of {done.episodes} rollouts, in {seconds:.0f} s."
    discarded = ", ".join(f"{count} {outcome}" for outcome, count in done.discarded.items()) or "none"
    if done.existed:
        head = f"{done.root} already holds these {done.episodes} episodes ({done.frames} frames)."
    else:
        head = f"{done.root}: {done.episodes} verified episodes, {done.frames} frames, in {seconds:.0f} s."
    return f"{head}\nThe expert needed {done.attempts} attempts; discarded: {discarded}."
