"""`serve-env` and `--env ws://…`: the run is the local one byte for byte, and a lost server stops it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import user_faults

from act_eval.cli import main
from act_eval.policies.serving.server import PolicyServer
from act_eval.policies.simple import chunk_policy
from act_eval.results.manifest import Manifest
from act_eval.serving.exposure import Exposure

TESTS = Path(__file__).parents[1]
TOKEN = "open sesame, please"
RUN = ("--policy", "foreign_envs:Seeker", "--horizon", 12, "--episodes", 4, "--delay", 0, 3, "--video", "none")
_ADDRESS = re.compile(r"serving (\S+) at (ws://\S+) \((.*)\)")


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, (*RUN, *arguments))])


def start(*arguments: object, token: str = "") -> tuple[subprocess.Popen[str], str]:
    environment = {
        **os.environ,
        "ACT_EVAL_TOKEN": token,
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
    }
    words = [sys.executable, "-m", "act_eval", "serve-env", "--port", "0", *map(str, arguments)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if found := _ADDRESS.match(line):
            return process, found[2]
    raise AssertionError(f"the server ended with {process.wait()}")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    process, where = start("--env", "foreign_envs:Reach", "--env-options", "fails_at=9", token=TOKEN)
    with process:
        yield where
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, "ctrl-C is how a server ends"


def test_a_served_environment_gives_the_local_run(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACT_EVAL_TOKEN", TOKEN)
    assert evaluate("--env", address, "--workers", 2, "--out", tmp_path / "there") == 0
    local = ("--env", "foreign_envs:Reach", "--env-options", "fails_at=9", "--workers", 1)
    assert evaluate(*local, "--out", tmp_path / "here") == 0
    for condition in ("naive_d0_s4", "naive_d3_s4"):
        for name in ("episodes.jsonl", "metrics.jsonl", "steps/0001.npz"):
            here, there = (tmp_path / run / condition / name for run in ("here", "there"))
            assert there.read_bytes() == here.read_bytes()
    manifests = [Manifest.read(tmp_path / run) for run in ("here", "there")]
    assert manifests[0].suite == manifests[1].suite
    assert manifests[0].fingerprint == manifests[1].fingerprint
    assert TOKEN not in (tmp_path / "there" / "manifest.json").read_text()


def test_a_wrong_token_is_refused(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("ACT_EVAL_TOKEN", raising=False)
    assert evaluate("--env", address, "--out", tmp_path / "run") == 2
    assert "requires a token in the environment variable ACT_EVAL_TOKEN" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--env-options", "tells=false"), "makes its environment with the options of act-eval serve-env; omit"),
        (("--env-python", sys.executable), "is a server already; --env-python is for environments by name"),
    ],
)
def test_flags_that_the_server_decides_are_refused(
    flags: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert evaluate("--env", "ws://127.0.0.1:9", *flags, "--out", tmp_path / "run") == 2
    assert message in capsys.readouterr().err


def test_a_server_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert evaluate("--env", "ws://127.0.0.1:9", "--out", tmp_path / "run") == 1
    assert "no server answers at ws://127.0.0.1:9" in capsys.readouterr().err


def test_a_server_of_policies_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    server = PolicyServer(chunk_policy(user_faults.Go, "Go"), {}, {}, {}, Exposure(port=0))
    with server.running():
        assert evaluate("--env", server.address, "--out", tmp_path / "run") == 1
    assert "serves no environment; start one with: act-eval serve-env --env NAME" in capsys.readouterr().err


def test_a_lost_server_stops_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("ACT_EVAL_TOKEN", raising=False)
    process, where = start("--env", "own_process:Dies", "--env-options", "how=kill")
    with process:
        arguments = ("--policy", "user_faults:Go", "--batch", 1, "--workers", 1, "--out", tmp_path / "run")
        assert evaluate("--env", where, *arguments) == 1
        assert "was lost" in (shown := capsys.readouterr().err)
        assert "Finished episodes are kept" in shown
        assert process.wait(60) == -signal.SIGKILL


def test_a_host_that_others_reach_needs_a_token(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ACT_EVAL_TOKEN", raising=False)
    assert main(["serve-env", "--env", "foreign_envs:Reach", "--host", "0.0.0.0"]) == 2
    assert "0.0.0.0 can be reached from other machines, so clients must present a token" in capsys.readouterr().err


def test_an_environment_that_cannot_be_made_is_named_before_the_port_is_open(capsys: pytest.CaptureFixture[str]):
    assert main(["serve-env", "--env", "nowhere/Reach-v0"]) == 2
    assert "there is no module 'nowhere'" in capsys.readouterr().err
