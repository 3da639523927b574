"""Whatever is done to the files of a run: every command that reads it answers, and raises nothing."""

import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from damage import damaged_bytes, damaged_json
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reviewed_runs import make_reviewed_run

from act_eval.cli import main
from act_eval.results.integrity import DIGESTS

CONDITIONS = {"rtc_d0_s10": ["success", "missed"], "rtc_d4_s10": ["success", "wrong_block"]}
FILES = (
    "manifest.json",
    *(f"rtc_d0_s10/{name}" for name in ("episodes.jsonl", "metrics.jsonl", "timings.jsonl", DIGESTS)),
)
COMMANDS = (
    ["report", "RUN"],
    ["export", "RUN", "--to", "csv", "parquet", "tensorboard"],
    ["compare", "RUN", "MADE"],
    ["baseline", "RUN", "b.json", "--reason", "x"],
    ["merge", "RUN"],
    ["render", "RUN", "--workers", "1"],
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reviewed_run(tmp_path_factory.mktemp("damaged") / "MADE", CONDITIONS, lengths=(12,), films=False)


@pytest.mark.parametrize("file", FILES)
@settings(max_examples=5, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_every_command_answers_for_a_damaged_run(
    file: str, made: Path, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    monkeypatch.chdir(made.parent)
    run = made.parent / "RUN"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(made, run)
    if data.draw(st.booleans(), label="without digests"):  # else the change itself is what is noticed
        (run / "rtc_d0_s10" / DIGESTS).unlink()
        manifest = json.loads((run / "manifest.json").read_text())
        del manifest["notes"]["digests"]
        (run / "manifest.json").write_text(json.dumps(manifest))
    path = run / file
    if path.exists():
        how = damaged_bytes if data.draw(st.booleans(), label="bytes") else damaged_json
        path.write_bytes(data.draw(how(path.read_bytes())))
    for words in COMMANDS:
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(out):
            assert main(list(words)) in (0, 1, 2, 3), words
