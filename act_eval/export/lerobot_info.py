"""`eval_info.json` of a condition, as `lerobot-eval` writes it (LeRobot 0.6.1, `lerobot/scripts/lerobot_eval.py`)."""

import json
from collections.abc import Sequence
from pathlib import Path

from act_eval.results.records import write_atomically, writing
from act_eval.results.run import StoredCondition
from act_eval.types import INVALID, SUCCESS

EVAL_INFO = "eval_info.json"


def write_eval_info(condition: StoredCondition, path: Path) -> None:
    """Write a condition as the only task of its environment.

    Invalid episodes are left out, as from every rate. Rewards are there if the run recorded returns, as in foreign
    environments; what a run does not know is null or an empty list.
    """
    records = [record for record in condition.records if record.outcome != INVALID]
    returns = [record.detail.get("return") for record in records]
    metrics = {
        "sum_rewards": [] if None in returns else returns,
        "max_rewards": [],
        "successes": [record.outcome == SUCCESS for record in records],
        "video_paths": [str(condition.videos[r.episode]) for r in records if r.episode in condition.videos],
        "predicted_video_paths": [],
    }
    videos = {name: metrics[name] for name in ("video_paths", "predicted_video_paths")}
    aggregate = {
        "avg_sum_reward": _mean(metrics["sum_rewards"]),
        "avg_max_reward": None,
        "pc_success": _mean([100 * success for success in metrics["successes"]]),
        "n_episodes": len(records),
    }
    group = condition.suite.env
    info = {
        "per_task": [{"task_group": group, "task_id": 0, "metrics": metrics}],
        "per_group": {group: {**aggregate, **videos}},
        "overall": {**aggregate, "eval_s": None, "eval_ep_s": None, **videos},
    }
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (json.dumps(info, indent=2, allow_nan=False) + "\n").encode())


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
