"""Weights & Biases: rates and metrics of every condition, and a table of all episodes with their videos."""

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
    """Log a run; a repeated call updates the same W&B run.

    Args:
        run: Finished.
        project: W&B project. Everything else, such as `WANDB_MODE=offline`, comes from W&B's own settings.

    Returns:
        Where it is to be seen: an address, or the folder of an offline run.

    Raises:
        ExportError: if wandb is not installed or fails.
    """
    try:
        wandb = import_module("wandb")
    except ImportError as error:
        raise ExportError(f"wandb cannot be imported ({error}): pip install 'act_eval[wandb]'") from error
    content = json.dumps([run.folder.name, run.manifest.to_json()], sort_keys=True)
    try:
        with wandb.init(
            project=project,
            id=hashlib.sha256(content.encode()).hexdigest()[:16],
            name=run.folder.name,
            dir=str(run.folder),
            config=run.manifest.to_json(),
            resume="allow",
        ) as session:
            for condition in run.conditions.values():
                interval = condition.rate.wilson()
                rates = {"success": condition.rate.rate, "success_low": interval.low, "success_high": interval.high}
                for name, value in {**condition.metrics, **rates}.items():
                    if value is not None:
                        session.summary[f"{condition.name}/{name}"] = value
            session.log({"episodes": _table(wandb, run)})
            return session.url or session.dir
    except wandb.errors.Error as error:
        raise ExportError(f"Weights & Biases refused: {error}; `wandb login`, or WANDB_MODE=offline") from error


def _table(wandb: ModuleType, run: StoredRun) -> Any:
    table = wandb.Table(columns=[*_COLUMNS, "video"])
    for condition in run.conditions.values():
        for record in condition.records:
            path = condition.videos.get(record.episode)
            video = None if path is None else wandb.Video(str(path), format="mp4")
            table.add_data(condition.name, *(getattr(record, name) for name in _COLUMNS[1:]), video)
    return table
