"""TensorBoard: a condition's rates and metrics, and its episodes one after another."""

import json
from pathlib import Path

from act_eval.results.records import writing
from act_eval.results.run import StoredCondition, StoredRun

_PER_EPISODE = ("steps", "grasp_choice", "chunk_switches", "underrun_steps")


def write_tensorboard(run: StoredRun, folder: Path) -> None:
    """Write event files to `folder/CONDITION`, replacing those of an earlier call."""
    with writing(folder):
        for condition in run.conditions.values():
            place = folder / condition.name
            place.mkdir(parents=True, exist_ok=True)
            for old in place.glob("events.out.tfevents.*"):
                old.unlink()
            _write_condition(run, condition, place)


def _write_condition(run: StoredRun, condition: StoredCondition, place: Path) -> None:
    from torch.utils.tensorboard.writer import SummaryWriter  # torch takes seconds to load

    with SummaryWriter(str(place)) as board:
        interval = condition.rate.wilson()
        rates = {"rate": condition.rate.rate, "low": interval.low, "high": interval.high}
        for name, value in rates.items():
            board.add_scalar(f"success/{name}", value, 0)
        for name, value in condition.metrics.items():
            if value is not None:
                board.add_scalar(f"metrics/{name}", value, 0)
        counts = dict.fromkeys(sorted({record.outcome for record in condition.records}), 0)
        for number, record in enumerate(condition.records):
            counts[record.outcome] += 1
            board.add_scalar("episode/success", float(record.outcome == "success"), number)
            for name in _PER_EPISODE:
                if (value := getattr(record, name)) is not None:
                    board.add_scalar(f"episode/{name}", value, number)
        board.add_text("outcomes", _table(counts), 0)
        board.add_text("manifest", f"    {json.dumps(run.manifest.to_json(), indent=1)}".replace("\n", "\n    "), 0)


def _table(counts: dict[str, int]) -> str:
    return "\n".join(["| outcome | episodes |", "|---|---|", *(f"| {name} | {n} |" for name, n in counts.items())])
