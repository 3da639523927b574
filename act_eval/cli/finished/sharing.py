"""Carry out `share`."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from act_eval.cli import OK
from act_eval.cli.finished.choosing import chosen
from act_eval.errors import RunFolderError, ShareError, UnknownName, UsageError
from act_eval.export import (
    EPISODES_CSV,
    EPISODES_PARQUET,
    STEPS_PARQUET,
    FinishedRun,
    log_to_wandb,
    read_finished,
    write_csv,
    write_episodes,
    write_recording,
    write_steps,
    write_tensorboard,
)
from act_eval.results.records import writing
from act_eval.results.steps import load, path_of
from act_eval.results.suites import Suite
from act_eval.sources.replay_env import replaying_env, title_of
from act_eval.video import FPS

if TYPE_CHECKING:
    from act_eval.cli.share import Flags, Tool

_EXTRAS = ("wandb", "rerun")


def share(flags: "Flags", out: TextIO) -> int:
    """Hand a run to the tools that the flags name; return the exit code.

    Raises:
        UsageError: or a child of it, naming the flag and what is allowed.
        RunFolderError: if the run is unfinished or damaged.
        ShareError: if a tool is not installed, or refuses.
    """
    if not flags.to:
        raise UsageError("--to names nothing; allowed: csv, parquet, tensorboard, wandb, rerun")
    check_tools(flags.to)
    run = read_finished(flags.run)
    target = flags.out or flags.run
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
    for tool in dict.fromkeys(flags.to):
        for line in _share(run, tool, target, flags):
            print(line, file=out, flush=True)
    return OK


def check_tools(tools: Sequence["Tool"]) -> None:
    """Refuse tools that are not installed, before anything is made for them.

    Raises:
        ShareError: naming the extra that brings it.
    """
    for tool in tools:
        if tool in _EXTRAS and find_spec(tool) is None:
            raise ShareError(f"{tool} is not installed: pip install 'act_eval[{tool}]'")


def _share(run: FinishedRun, tool: "Tool", target: Path, flags: "Flags") -> list[str]:
    """Hand the run to one tool; return where it lies."""
    match tool:
        case "csv":
            write_csv(run, target / EPISODES_CSV)
            return [str(target / EPISODES_CSV)]
        case "parquet":
            write_episodes(run, target / EPISODES_PARQUET)
            write_steps(run, target / STEPS_PARQUET)
            return [str(target / EPISODES_PARQUET), str(target / STEPS_PARQUET)]
        case "tensorboard":
            write_tensorboard(run, target / "tensorboard")
            return [f"{target / 'tensorboard'}: tensorboard --logdir {target / 'tensorboard'}"]
        case "wandb":
            return [log_to_wandb(run, flags.project)]
        case "rerun":
            return _recordings(run, target, flags)


def _recordings(run: FinishedRun, target: Path, flags: "Flags") -> list[str]:
    names = [arm.name for arm in run.arms]
    for name in flags.arm:
        if name not in names:
            raise UnknownName(f"arm of {run.folder}", name, names)
    suite, lines = run.manifest.suite, []
    env = _env_of(suite)
    for arm in run.arms:
        if flags.arm and arm.name not in flags.arm:
            continue
        for record in chosen(suite, arm.records, flags.episodes, None):
            steps = load(path_of(arm.folder / "steps", record.episode))
            path = target / arm.name / "rerun" / f"{record.episode:04d}_seed{record.seed}_{record.outcome}.rrd"
            has_arm = hasattr(env, "gripper_position") and steps.predicted.size
            write_recording(
                path,
                record,
                steps,
                f"{title_of(run.manifest)} · {arm.name}",
                1 / suite.facts["control_hz"] if "control_hz" in suite.facts else 1 / FPS,
                arm.video(record),
                env.gripper_position(steps.predicted) if has_arm else None,
                env.stage() if hasattr(env, "stage") else None,
            )
            lines.append(str(path))
    if not lines:
        raise UsageError(f"no episode of {run.folder} is meant by --episodes {flags.episodes}; --episodes all are all")
    return lines


def _env_of(suite: Suite) -> Any:
    """Return the environment that says where predictions lead, None where it cannot be had: numbers are shown then."""
    try:
        return replaying_env(suite)
    except (RunFolderError, UsageError):
        return None
