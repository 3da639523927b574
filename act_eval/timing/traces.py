"""Recorded delays in files: JSON that holds everything, CSV for delays that were logged elsewhere.

JSON: `{"steps": [4, 5, null], "episodes": {"SEED": [4, 5]}}`, either part may be absent, or just the list of steps.
CSV: a header with a column `delay` and, for recordings by episode, `seed`; one request a line, in order. A null
or an empty cell is a lost answer. Delays are whole control steps.
"""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from act_eval.errors import TimingError
from act_eval.timing.delays import Trace

_Delays = list[int | None]


def recorded_trace(episodes: Mapping[int, Sequence[int | None]]) -> Trace:
    """Return the trace that replays recorded episodes, and serves others with all of their delays in turn.

    Args:
        episodes: Episode seed → actual delays of its requests, the first chunk's left out; None for a lost answer.
    """
    together = tuple(delay for delays in episodes.values() for delay in delays)
    return Trace(steps=together, episodes={seed: tuple(delays) for seed, delays in episodes.items()})


def write_trace(path: Path, trace: Trace) -> None:
    """Write a trace as JSON; the file appears when it is complete."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(_to_json(trace))
    unfinished.replace(path)


def trace_digest(trace: Trace) -> str:
    """Return a short digest of a trace's delays: equal delays, equal digest, whatever their file."""
    return hashlib.sha256(_to_json(trace).encode()).hexdigest()[:8]


def _to_json(trace: Trace) -> str:
    episodes = {str(seed): delays for seed, delays in sorted(trace.episodes.items())}
    return json.dumps({"steps": trace.steps, "episodes": episodes}) + "\n"


def read_trace(path: Path) -> Trace:
    """Read a trace from a `.json` or `.csv` file.

    Raises:
        TimingError: if the file is missing, has another ending, or is malformed, naming the place.
    """
    if path.suffix not in (".json", ".csv"):
        raise TimingError(f"delay trace {path} ends in {path.suffix!r}; it must end in .json or .csv")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TimingError(f"delay trace {path} cannot be read: {error}") from error
    try:
        return _from_json(text) if path.suffix == ".json" else _from_csv(text)
    except TimingError as error:
        raise TimingError(f"{path}: {error}") from error


def _from_json(text: str) -> Trace:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise TimingError(f"not JSON: {error}") from error
    if isinstance(values, list):
        return Trace(steps=tuple(values))
    if not isinstance(values, dict) or not set(values) <= {"steps", "episodes"}:
        raise TimingError('a delay trace is a list of delays or an object with "steps" and "episodes"')
    steps, episodes = values.get("steps", []), values.get("episodes", {})
    if not isinstance(episodes, dict):
        raise TimingError('"episodes" must be an object: seed → list of delays')
    return Trace(
        steps=_delays('"steps"', steps),
        episodes={_whole("an episode seed", seed): _delays(f"episode {seed}", d) for seed, d in episodes.items()},
    )


def _from_csv(text: str) -> Trace:
    lines = csv.DictReader(text.splitlines())
    if "delay" not in (lines.fieldnames or ()):
        raise TimingError(f"the header has no column 'delay'; its columns are {list(lines.fieldnames or ())}")
    steps: _Delays = []
    episodes: dict[int, _Delays] = {}
    for line in lines:
        cell = (line["delay"] or "").strip()
        delay = None if not cell else _whole(f"the delay in line {lines.line_num}", cell)
        if "seed" in line:
            seed = _whole(f"the seed in line {lines.line_num}", line["seed"] or "")
            episodes.setdefault(seed, []).append(delay)
        else:
            steps.append(delay)
    return Trace(steps=tuple(steps), episodes={seed: tuple(delays) for seed, delays in episodes.items()})


def _delays(name: str, values: Any) -> tuple[int | None, ...]:
    if not isinstance(values, list):
        raise TimingError(f"{name} must be a list of delays, got {values!r}")
    return tuple(values)


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise TimingError(f"{name} is {text!r}; it must be a whole number") from None
