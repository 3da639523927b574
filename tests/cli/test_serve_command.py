"""`serve` and `--policy ws://…`: the run is the local one bit for bit, also when the server is killed on the way."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from untrained import write_checkpoint

import act_eval
from act_eval.cli import main
from act_eval.policies.serving.client import RemotePolicy
from act_eval.policies.serving.server import PolicyServer
from act_eval.results.records import read_episodes
from act_eval.serving.exposure import Exposure
from act_eval.sources.network_sources import CheckpointSource

ROOT = Path(act_eval.__file__).resolve().parent.parent
SMALL = ["--env", "pick", "--image-size", "32", "--video", "none", "--no-probe"]
TOKEN = "open sesame, please"
RUN = ["--seeds", "3,17", "--delay", "0", "2", "--workers", "1"]
_ADDRESS = re.compile(r"serving (\S+) at (ws://\S+) \((.*)\)")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "act_rtc", "act_rtc"))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, policy: str) -> Path:
    out = tmp_path_factory.mktemp("runs") / "local"
    assert evaluate(policy, *RUN, "--out", out) == 0
    return out


def evaluate(policy: str, *arguments: object) -> int:
    return main(["evaluate", "--policy", policy, *map(str, arguments), *SMALL])


def start(policy: str, *arguments: object, token: str = "") -> tuple[subprocess.Popen[str], str]:
    """Start a server of its own process; return it and its address."""
    words = ["--policy", policy, "--compile", "off", *map(str, arguments)]
    process = subprocess.Popen(
        [sys.executable, "-m", "act_eval", "serve", *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "ACT_EVAL_TOKEN": token},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if found := _ADDRESS.match(line):
            return process, found[2]
    raise AssertionError(f"the server ended with {process.wait()}")


@pytest.fixture(scope="module")
def address(policy: str) -> Iterator[str]:
    """A server of its own process that wants `TOKEN`."""
    process, where = start(policy, "--port", 0, token=TOKEN)
    with process:
        yield where
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, "ctrl-C is how a server ends"


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACT_EVAL_TOKEN", TOKEN)


@contextmanager
def served(policy: str, port: int = 0) -> Iterator[PolicyServer]:
    """A server in this process, with what the command would say of the policy."""
    source = CheckpointSource(folder=Path(policy))
    loaded = source.load()
    facts = source.facts(loaded)
    identity = {"name": "act_rtc", **facts.identity}
    with PolicyServer(loaded, identity, facts.run, facts.numeric, Exposure(port=port)).running() as server:
        yield server


def same(run: Path, local: Path) -> None:
    conditions = sorted(path.name for path in local.iterdir() if (path / "episodes.jsonl").is_file())
    assert len(conditions) == 2
    for condition in conditions:
        assert (run / condition / "episodes.jsonl").read_bytes() == (local / condition / "episodes.jsonl").read_bytes()
    configurations = [json.loads((path / "manifest.json").read_text())["configuration"] for path in (run, local)]
    assert configurations[0] == configurations[1]


@pytest.mark.usefixtures("token")
def test_a_served_policy_gives_the_local_run_bit_for_bit(tmp_path: Path, address: str, local: Path):
    assert evaluate(address, *RUN, "--out", tmp_path / "run") == 0
    same(tmp_path / "run", local)
    assert TOKEN not in (tmp_path / "run" / "manifest.json").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("token")
def test_two_workers_with_a_line_each_give_the_same(tmp_path: Path, address: str, local: Path):
    assert evaluate(address, *RUN[:-1], 2, "--out", tmp_path / "run") == 0
    same(tmp_path / "run", local)


def test_a_token_opens_the_door(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for given, text in (("", "requires a token"), ("something quite else", "refuses the token")):
        monkeypatch.setenv("ACT_EVAL_TOKEN", given)
        assert evaluate(address, "--seeds", "3", "--workers", "1", "--out", tmp_path / "run") == 2
        assert text in capsys.readouterr().err


@pytest.mark.usefixtures("token")
def test_a_remote_policys_measured_latency_is_its_delay(tmp_path: Path, address: str):
    measured = ["--delay", "measured:injected_ms=60", "--beyond-max-delay", "clip"]
    assert evaluate(address, "--seeds", "3", "--workers", 1, *measured, "--out", tmp_path / "run") == 0
    (path,) = (tmp_path / "run").glob("*/episodes.jsonl")
    (record,) = read_episodes(path)
    assert record.detail["actual_delays"][1:]
    assert min(record.detail["actual_delays"][1:]) >= 2, "60 ms are two steps at least"


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again_changes_nothing(
    tmp_path: Path, policy: str, local: Path, monkeypatch: pytest.MonkeyPatch
):
    process, address = start(policy, "--port", 0)
    port = address.rpartition(":")[2]
    again: list[subprocess.Popen[str]] = []
    asked, real = [], RemotePolicy.predict

    def predict(self, request):
        asked.append(1)
        if len(asked) == 5:
            process.kill()
            threading.Thread(target=lambda: again.append(start(policy, "--port", port)[0])).start()
        return real(self, request)

    monkeypatch.setattr(RemotePolicy, "predict", predict)
    with process:
        options = ["--policy-options", "patience_s=300"]  # a busy machine takes its time to start one
        assert evaluate(address, *RUN, *options, "--out", tmp_path / "run") == 0
    (second,) = again
    with second:
        second.kill()
    assert len(asked) > 5
    same(tmp_path / "run", local)


def test_a_run_whose_server_never_comes_back_keeps_what_is_finished_and_is_resumed(
    tmp_path: Path, policy: str, local: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    real, gone = RemotePolicy.predict, []

    def predict(self, request):
        if len(shard_lines(tmp_path / "run")) >= 2 and not gone:
            gone.append(server.close())
        return real(self, request)

    monkeypatch.setattr(RemotePolicy, "predict", predict)
    with served(policy) as server:
        options = ["--policy-options", "patience_s=0.2"]
        assert evaluate(server.address, *RUN, *options, "--out", tmp_path / "run") == 1
    error = capsys.readouterr().err
    assert re.search(r"did not come back within 0.2 s.* Finished episodes are kept: repeat the command", error)
    with served(policy) as elsewhere:
        assert evaluate(elsewhere.address, *RUN, "--out", tmp_path / "run") == 0
    assert "2 episodes are finished already; 2 are left to run" in capsys.readouterr().out
    same(tmp_path / "run", local)


def shard_lines(run: Path) -> list[str]:
    return [line for path in run.rglob("*.jsonl") for line in path.read_text().splitlines() if '"episode"' in line]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--policy", "expert"], "the expert reads the simulator's state and cannot be served"),
        (["--policy", "ws://127.0.0.1:9"], "ws://127.0.0.1:9 is served already"),
        (["--policy", "nonsense"], "unknown policy 'nonsense'"),
        (["--host", "0.0.0.0"], "0.0.0.0 can be reached from other machines, so clients must present a token"),
        (["--port", "70000"], "port is 70000; it must be 0 to 65535"),
        (["--threads", "0"], "--threads is 0; it must be at least 1"),
        (["--max-megabytes", "0"], "--max-megabytes is 0; it must be at least 1"),
        (["--policy-options", "a=1"], "--policy-options are for module:factory, lerobot:FOLDER and servers"),
        (["--device", "abacus"], "--device abacus"),
    ],
)
def test_what_cannot_be_served_is_named(
    arguments: list[str], text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("ACT_EVAL_TOKEN", raising=False)
    assert main(["serve", *arguments]) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "options", "text"),
    [
        ("ws://127.0.0.1", [], "is not a server address; it should look like ws://localhost:8000"),
        ("ws://me:secret@127.0.0.1:8000", [], "is not a server address"),
        ("ws://127.0.0.1:99999", [], "is not a server address"),
        ("ws://127.0.0.1:8000?chunk=5", [], "is not a server address"),
        ("ws://127.0.0.1:8000", ["timeout_s=soon"], "timeout_s=soon: it must be a number"),
        ("ws://127.0.0.1:8000", ["timeout_s=0"], "timeout_s is 0.0; it must be above 0"),
        ("ws://127.0.0.1:8000", ["chunk=5"], "add chunk and action_dim, as in chunk=50 action_dim=14 state="),
        ("ws://127.0.0.1:8000", ["chunk=5", "action_dim=2"], "no input of the server at"),
        ("ws://127.0.0.1:8000", ["chunk=5.5", "action_dim=2"], "chunk=5.5: it must be a whole number"),
        ("ws://127.0.0.1:8000", ["chunk=5", "action_dim=2", "state=joints:6"], "an input is our name and its shape"),
        ("ws://127.0.0.1:8000", ["chunk=5", "action_dim=2", "s=observation.stat:6"], "inputs are observation.state,"),
        ("ws://127.0.0.1:8000", ["chunk=5", "action_dim=2", "s=observation.images.a:6"], "images have a shape like"),
        ("ws://127.0.0.1:8000", ["chunk=5", "action_dim=2", "s=observation.state:6:chw"], "images have a shape like"),
    ],
)
def test_what_is_no_address_is_named(
    address: str, options: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    given = ["--policy-options", *options] if options else []
    assert evaluate(address, "--seeds", "3", "--workers", "1", *given, "--out", tmp_path / "run") == 2
    assert text in capsys.readouterr().err


def test_nobody_at_an_address_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert evaluate("ws://127.0.0.1:9", "--seeds", "3", "--workers", "1", "--out", tmp_path / "run") == 1
    assert "no server answers at ws://127.0.0.1:9" in capsys.readouterr().err
