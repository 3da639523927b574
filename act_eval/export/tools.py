"""Exports a finished run to other tools."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

from act_eval.config import Tool
from act_eval.errors import ExportError, RunFolderError, UsageError
from act_eval.export.lerobot_info import EVAL_INFO, write_eval_info
from act_eval.export.rerun_log import write_recording
from act_eval.export.tables import EPISODES_CSV, EPISODES_PARQUET, STEPS_PARQUET, write_csv, write_episodes, write_steps
from act_eval.export.tensorboard_log import write_tensorboard
from act_eval.export.trackers import log_to_trackio, log_to_wandb
from act_eval.results.choosing import chosen
from act_eval.results.records import writing
from act_eval.results.run import StoredCondition, StoredRun
from act_eval.results.suites import Suite
from act_eval.sources.replay_env import replaying_env, title_of
from act_eval.types.env_hooks import hooks_of
from act_eval.video import FPS

TOOLS: tuple[Tool, ...] = get_args(Tool)

_EXTRAS = ("wandb", "trackio", "rerun")


def check_tools(tools: Sequence[Tool]) -> None:
    """Refuse tools that are not installed, before any work for them.

    Raises:
        ExportError: naming the extra to install.
    """
    for tool in tools:
        if tool in _EXTRAS and find_spec(tool) is None:
            raise ExportError(f"{tool} is not installed: pip install 'act_eval[{tool}]'")


def export_run(
    run: StoredRun,
    tool: Tool,
    target: Path | None = None,
    *,
    episodes: str = "failures",
    conditions: Sequence[str] = (),
    project: str = "act_eval",
) -> list[str]:
    """Export a finished run to one tool; return one line per result.

    Args:
        run: The run.
        tool: The tool.
        target: Folder of the files; the run folder by default.
        episodes: Episodes for `rerun`: `failures`, `all`, an outcome, or numbers separated by commas.
        conditions: Conditions for `rerun`; all by default.
        project: Project of Weights & Biases or Trackio.

    Raises:
        UsageError: or a subclass, naming the missing item and the available ones.
        RunFolderError: if the run is unfinished or damaged.
        ExportError: if the tool is not installed or fails.
    """
    run.check_complete()
    chosen_conditions = [run.conditions[name] for name in conditions or run.conditions]
    chosen(run.suite, (), episodes, None)  # raises for an unknown selection, whatever the tool
    target = target or run.folder
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
    match tool:
        case "csv":
            write_csv(run, target / EPISODES_CSV)
            return [str(target / EPISODES_CSV)]
        case "parquet":
            write_episodes(run, target / EPISODES_PARQUET)
            write_steps(run, target / STEPS_PARQUET)
            return [str(target / EPISODES_PARQUET), str(target / STEPS_PARQUET)]
        case "lerobot":
            paths = {one.name: target / one.name / EVAL_INFO for one in run.conditions.values()}
            for name, path in paths.items():
                write_eval_info(run.conditions[name], path)
            return [str(path) for path in paths.values()]
        case "tensorboard":
            write_tensorboard(run, target / "tensorboard")
            return [f"{target / 'tensorboard'}: tensorboard --logdir {target / 'tensorboard'}"]
        case "wandb":
            return [log_to_wandb(run, project)]
        case "trackio":
            return [log_to_trackio(run, project)]
        case "rerun":
            return _recordings(run, target, episodes, chosen_conditions)


def _recordings(run: StoredRun, target: Path, episodes: str, conditions: Sequence[StoredCondition]) -> list[str]:
    lines: list[str] = []
    hooks = hooks_of(_env_of(run.suite))
    for condition in conditions:
        for record in chosen(run.suite, condition.records, episodes, None):
            steps = condition.steps(record.episode)
            path = target / condition.name / "rerun" / f"{record.episode:04d}_seed{record.seed}_{record.outcome}.rrd"
            placed = hooks.gripper_position if steps.predicted.size else None
            write_recording(
                path,
                record,
                steps,
                f"{title_of(run.manifest)} · {condition.name}",
                1 / run.suite.facts.get("control_hz", FPS),
                condition.videos.get(record.episode),
                None if placed is None else placed(steps.predicted),
                None if hooks.stage is None else hooks.stage(),
            )
            lines.append(str(path))
    if not lines:
        raise UsageError(f"no episode of {run.folder} is meant by --episodes {episodes}; --episodes all are all")
    return lines


def _env_of(suite: Suite) -> Any:
    """Return the environment for the kinematics of predictions; None if it cannot be made."""
    try:
        return replaying_env(suite, {})  # kinematics, which no perturbation changes
    except (RunFolderError, UsageError):
        return None
