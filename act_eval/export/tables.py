"""Tables of a run: one row per episode, or one row per control step.

Legend: `T` control steps of an episode.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from act_eval.results.records import write_atomically, writing
from act_eval.results.run import StoredRun
from act_eval.types import EpisodeRecord
from act_eval.types.steps import EpisodeSteps

EPISODES_CSV, EPISODES_PARQUET, STEPS_PARQUET = "episodes.csv", "episodes.parquet", "steps.parquet"

_SCALARS = ("chunk", "index", "observed", "requested", "estimated_delay", "actual_delay", "in_flight", "chunk_switch")
_VECTORS = ("command", "ran")
_STATES = ("joints", "gripper_xyz")  # one more than steps: the terminal state's is left out


def write_csv(run: StoredRun, path: Path) -> None:
    """Write the episodes as CSV; lists and mappings are JSON text, undefined values are empty."""
    rows = run.rows()
    text = io.StringIO()
    writer = csv.DictWriter(text, _names(rows), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    with writing(path.parent):
        write_atomically(path, text.getvalue().encode())


def write_episodes(run: StoredRun, path: Path) -> None:
    """Write the episodes as Parquet."""
    rows = run.rows()
    table = pa.table({name: _column([row.get(name) for row in rows]) for name in _names(rows)})
    with writing(path.parent):
        unfinished = path.with_name(path.name + ".part")
        pq.write_table(table, unfinished)
        unfinished.replace(path)


def write_steps(run: StoredRun, path: Path) -> None:
    """Write the control steps of all episodes as Parquet; see docs/file-formats.md for the columns.

    Raises:
        RunFolderError: if an episode's steps are missing or damaged.
    """
    with writing(path.parent):
        unfinished = path.with_name(path.name + ".part")
        episodes = ((one, record) for one in run.conditions.values() for record in one.records)
        tables = (_step_table(one.name, record, one.steps(record.episode)) for one, record in episodes)
        first = next(tables)
        with pq.ParquetWriter(unfinished, first.schema) as writer:
            writer.write_table(first)
            for table in tables:
                writer.write_table(table.cast(first.schema))
        unfinished.replace(path)


def _step_table(condition: str, record: EpisodeRecord, steps: EpisodeSteps) -> pa.Table:
    count = steps.steps
    vectors = {name: getattr(steps, name) for name in _VECTORS}
    vectors |= {name: getattr(steps, name)[:count] for name in _STATES}
    return pa.table(
        {
            "condition": pa.array([condition] * count, pa.string()),
            "episode": pa.array([record.episode] * count, pa.int64()),
            "seed": pa.array([record.seed] * count, pa.int64()),
            "outcome": pa.array([record.outcome] * count, pa.string()),
            "step": pa.array(range(count), pa.int64()),
            **{name: pa.array(getattr(steps, name)) for name in _SCALARS},
            **{name: _lists(values, count) for name, values in vectors.items()},
        }
    )


def _lists(values: np.ndarray, count: int) -> pa.Array:
    """Return (T, A) numbers as T lists; null without values."""
    rows = list(values.astype(np.float32)) if values.ndim == 2 and len(values) == count and values.shape[1] else None
    return pa.array([None] * count if rows is None else rows, pa.list_(pa.float32()))


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns of all rows: conditions may differ in their details."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _column(values: Sequence[Any]) -> pa.Array:
    """Return a column; mixed types, possible in the detail of any environment, become JSON text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else json.dumps(value) for value in values], pa.string())


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | tuple | Mapping) else value
