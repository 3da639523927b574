"""Whatever is done to a file: its reader gives a value, or names the damage. Nothing else is ever raised."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from damage import damaged_bytes, damaged_json
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_runs import make_run, outcomes
from toy_run import run as toy_run

from act_eval.comparison.baselines import Baseline
from act_eval.comparison.sides import Side
from act_eval.errors import ActEvalError
from act_eval.results import Manifest
from act_eval.results.records import read_episodes, read_shard, read_timings
from act_eval.results.run import read_metrics, read_run
from act_eval.results.steps import load
from act_eval.timing import parse_delay

EXAMPLES = 40


@dataclass(frozen=True)
class Reader:
    """A file of a run, and who reads it."""

    file: str
    read: Callable[[Path], Any]
    """Takes the folder that holds the file."""


def a_trace(root: Path) -> Any:
    return parse_delay(f"trace:{root / 'trace.json'}")


READERS = {
    "manifest": Reader("manifest.json", Manifest.read),
    "episodes": Reader("d0/episodes.jsonl", lambda root: read_episodes(root / "d0" / "episodes.jsonl")),
    "timings": Reader("d0/timings.jsonl", lambda root: read_timings(root / "d0" / "timings.jsonl")),
    "metrics": Reader(
        "d0/metrics.jsonl", lambda root: (read_metrics(root / "d0"), read_run(root).conditions["d0"].metrics)
    ),
    "compared": Reader("d0/episodes.jsonl", Side.read),
    "shard": Reader("shards/00000.jsonl", lambda root: list(read_shard(root / "shards" / "00000.jsonl"))),
    "steps": Reader("d0/steps/0000.npz", lambda root: load(root / "d0" / "steps" / "0000.npz")),
    "trace": Reader("trace.json", a_trace),
    "baseline": Reader("baseline.json", lambda root: Baseline.read(root / "baseline.json")),
}
JSON = [name for name, reader in READERS.items() if not reader.file.endswith(".npz")]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of toys, beside the other files that belong to runs."""
    root = tmp_path_factory.mktemp("damaged") / "run"
    toy_run(root, workers=1, episodes=3, pause_s=0)
    lines = []
    for names in zip(*(_lines(root / "d0" / name) for name in ("episodes", "timings", "metrics")), strict=True):
        record, timing, metrics = names
        lines.append(json.dumps({"condition": "d0", "record": record, "timing": timing, "metrics": metrics}) + "\n")
    (root / "shards" / "00000.jsonl").write_text("".join(lines))
    (root / "trace.json").write_text(json.dumps({"steps": [1, 2, None, 3], "episodes": {"7": [1, 2, None], "8": [3]}}))
    made = make_run(root.parent / "made", {"d0": outcomes(3, 2)})
    Baseline.of_run(made, "made").write(root / "baseline.json")
    return root


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()]


@contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def check(reader: Reader, root: Path, content: bytes) -> None:
    with replaced(root / reader.file, content), suppress(ActEvalError):
        reader.read(root)


@pytest.mark.parametrize("name", READERS)
def test_undamaged_files_are_read(root: Path, name: str) -> None:
    READERS[name].read(root)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_are_read_or_named(root: Path, name: str, data: st.DataObject) -> None:
    reader = READERS[name]
    check(reader, root, data.draw(damaged_bytes((root / reader.file).read_bytes())))


@pytest.mark.parametrize("name", JSON)
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_wrong_entries_are_read_or_named(root: Path, name: str, data: st.DataObject) -> None:
    reader = READERS[name]
    check(reader, root, data.draw(damaged_json((root / reader.file).read_bytes())))


@pytest.mark.parametrize("name", READERS)
def test_what_is_missing_or_no_file_is_named(root: Path, name: str) -> None:
    path = root / READERS[name].file
    with replaced(path, b""):
        path.unlink()
        with pytest.raises(ActEvalError, match=path.name):
            READERS[name].read(root)
        path.mkdir()
        with pytest.raises(ActEvalError, match=path.name):
            READERS[name].read(root)
        path.rmdir()


def test_no_reader_runs_what_a_file_says(root: Path, tmp_path: Path) -> None:
    """A pickled object inside an archive of arrays would be run by numpy, were it allowed to."""
    import numpy as np

    mark = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (mark,)

    path = root / "d0" / "steps" / "0000.npz"
    arrays = dict(np.load(path))
    with replaced(path, b""):
        np.savez(path, **{**arrays, "command": np.array([Evil()], dtype=object)})
        with pytest.raises(ActEvalError, match="is damaged"):
            load(path)
    assert not mark.exists()
