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

from act_eval.decoding import build, read_json, read_text
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
    missing = f"delay trace {path} cannot be read: No such file"
    if path.suffix == ".json":
        values = read_json(path, object, TimingError, missing=missing)
        recorded = {"steps": values} if isinstance(values, list) else values
        return build(Trace, recorded, str(path), TimingError, use_defaults=True)
    text = read_text(path, TimingError, missing)
    try:
        return _from_csv(text)
    except (TimingError, csv.Error) as error:
        raise TimingError(f"{path}: {error}") from error


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


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise TimingError(f"{name} is {text[:40]!r}; it must be a whole number") from None
