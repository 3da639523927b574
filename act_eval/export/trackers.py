"""Weights & Biases and Trackio: rates and metrics of every condition, and a table of all episodes."""

import hashlib
import json
from importlib import import_module
from types import ModuleType
from typing import Any

from act_eval.errors import ExportError
from act_eval.results.run import StoredRun

_COLUMNS = (
    *("condition", "episode", "seed", "outcome"),
    *("steps", "grasp_choice", "chunk_switches", "underrun_steps", "error"),
)


def log_to_wandb(run: StoredRun, project: str) -> str:
    """Log a run, with its videos; a repeated call updates the same W&B run.

    Args:
        run: Finished.
        project: W&B project. Everything else, such as `WANDB_MODE=offline`, comes from W&B's own settings.

    Returns:
        Where it is to be seen: an address, or the folder of an offline run.

    Raises:
        ExportError: if wandb is not installed or fails.
    """
    wandb = _imported("wandb")
    try:
        with wandb.init(
            project=project,
            id=_digest(run),
            name=run.folder.name,
            dir=str(run.folder),
            config=run.manifest.to_json(),
            resume="allow",
        ) as session:
            session.summary.update(_numbers(run))
            videos = (
                condition.videos.get(r.episode) for condition in run.conditions.values() for r in condition.records
            )
            shown = [None if path is None else wandb.Video(str(path), format="mp4") for path in videos]
            rows = [[*row, video] for row, video in zip(_rows(run), shown, strict=True)]
            session.log({"episodes": wandb.Table(columns=[*_COLUMNS, "video"], data=rows)})
            return session.url or session.dir
    except wandb.errors.Error as error:
        raise ExportError(f"Weights & Biases refused: {error}; `wandb login`, or WANDB_MODE=offline") from error


def log_to_trackio(run: StoredRun, project: str) -> str:
    """Log a run to Trackio, which keeps it on this machine unless its settings (`TRACKIO_SPACE_ID`) say otherwise.

    Args:
        run: Finished. A repeated call adds to the same Trackio run, named by folder and digest.
        project: Trackio project.

    Returns:
        The command that shows it.

    Raises:
        ExportError: if trackio is not installed or fails.
    """
    trackio = _imported("trackio")
    name = f"{run.folder.name}-{_digest(run)[:8]}"
    try:
        session = trackio.init(
            project=project, name=name, config=run.manifest.to_json(), resume="allow", embed=False, auto_log_gpu=False
        )
        table = trackio.Table(columns=list(_COLUMNS), data=_rows(run))
        session.log({**_numbers(run), "episodes": table}, step=0)
        session.finish()
    except ValueError as error:  # such as a project's name
        raise ExportError(f"Trackio refused: {error}") from error
    return f"{name}: trackio show --project {project}"


def _imported(tool: str) -> ModuleType:
    try:
        return import_module(tool)
    except ImportError as error:
        raise ExportError(f"{tool} cannot be imported ({error}): pip install 'act_eval[{tool}]'") from error


def _digest(run: StoredRun) -> str:
    content = json.dumps([run.folder.name, run.manifest.to_json()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _numbers(run: StoredRun) -> dict[str, float]:
    """Return the rates and metrics of all conditions by `CONDITION/NAME`."""
    found: dict[str, float] = {}
    for condition in run.conditions.values():
        interval = condition.rate.wilson()
        rates = {"success": condition.rate.rate, "success_low": interval.low, "success_high": interval.high}
        values = {**condition.metrics, **rates}
        found |= {f"{condition.name}/{name}": value for name, value in values.items() if value is not None}
    return found


def _rows(run: StoredRun) -> list[list[Any]]:
    return [
        [condition.name, *(getattr(record, name) for name in _COLUMNS[1:])]
        for condition in run.conditions.values()
        for record in condition.records
    ]
