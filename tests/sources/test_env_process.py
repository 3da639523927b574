"""Environments in a process of their own: what it loads, how it ends, and which Pythons it refuses."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from act_eval import evaluate
from act_eval.config import EnvDeclaration
from act_eval.errors import UnknownName, UsageError
from act_eval.results.records import read_episodes
from act_eval.rollout.timeouts import CallTimeout, time_limit
from act_eval.sources.env_process import _check_hello
from act_eval.sources.environments import EnvSource, env_source

TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _modules_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


def source(name: str, python: str | Path = sys.executable, **options: Any) -> EnvSource:
    return env_source(name, options, EnvDeclaration(env_python=Path(python), horizon=12), film=False)


def process_of(env: Any) -> Any:
    return env.unwrapped.env._channel


def gone(pid: int) -> bool:
    """Whether a process has ended within a few seconds."""
    for _ in range(100):
        status = Path(f"/proc/{pid}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            return True
        time.sleep(0.1)
    return False


def test_the_environments_of_a_worker_share_a_process_that_ends_with_the_last_of_them():
    one, other = source("own_process:Loaded").make(), source("own_process:Loaded").make()
    process = process_of(one)
    assert process_of(other) is process
    pid = process._process.pid
    one.reset(seed=1), other.reset(seed=2)
    *_, info = other.step(np.zeros(2, np.float32))
    assert info["pid"] == pid != os.getpid()
    assert info["heavy"] == []  # neither torch nor a simulator nor the network of ours
    one.close()
    assert process._process is not None
    other.close()
    assert process._process is None
    assert gone(pid)


def test_nothing_of_the_shared_memory_is_left_behind():
    before = set(os.listdir("/dev/shm"))
    env = source("own_process:Loaded").make()
    env.reset(seed=1)
    assert not [name for name in set(os.listdir("/dev/shm")) - before if "act_eval" in name or "psm" in name]
    env.close()


@pytest.mark.parametrize("how", ["kill", "leave", "crash"])
def test_a_process_that_dies_makes_its_episode_invalid_and_the_run_goes_on(how: str, tmp_path: Path):
    run = evaluate(
        policy="user_faults:Go",
        env="own_process:Dies",
        env_python=sys.executable,
        env_options=(f"how={how}",),
        horizon=12,
        delays=0,
        episodes=6,
        batch=1,
        workers=1,
        video="none",
        out=tmp_path / "run",
        progress=False,
    )
    records = read_episodes(run.folder / "naive_d0_s5" / "episodes.jsonl")
    ways = {"kill": "was killed by signal SIGKILL", "crash": "was killed by signal SIGSEGV", "leave": "os._exit(3)"}
    broken = [record for record in records if record.outcome == "invalid"]
    assert 0 < len(broken) < 6
    assert all(ways[how] in str(record.error) for record in broken)


def test_a_call_beyond_its_time_limit_ends_the_process_and_the_next_episode_gets_another():
    env = source("own_process:Hangs").make()
    env.reset(seed=0)
    pid = process_of(env)._process.pid
    with pytest.raises(CallTimeout), time_limit(2.0, "the environment's step"):
        env.step(np.zeros(2, np.float32))
    assert gone(pid)
    env.reset(seed=1)
    assert process_of(env)._process.pid != pid
    env.close()


def test_the_process_ends_when_its_parent_is_killed():
    script = (
        "import sys; from pathlib import Path; from act_eval.config import EnvDeclaration; "
        "from act_eval.sources.environments import env_source; "
        "env = env_source('own_process:Hangs', {}, EnvDeclaration(env_python=Path(sys.executable), horizon=5), False)"
        ".make(); env.reset(seed=0); print(env.env._channel._process.pid, flush=True); env.step([0, 0])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert gone(child)


def shell(folder: Path, text: str) -> Path:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_python_without_the_packages_is_named_with_the_line_that_installs_them(tmp_path: Path):
    bare = shell(tmp_path, f'exec "{os.path.realpath(sys.executable)}" -S -E "$@"')
    line = f"--env-python {bare} lacks numpy, gymnasium, msgpack: {bare} -m pip install numpy gymnasium msgpack"
    with pytest.raises(UsageError, match=line):
        source("own_process:Loaded", bare).make()


@pytest.mark.parametrize(
    ("text", "message"),
    [("exit 3", "ended with exit code 3 before it answered: it must be a Python"), ("kill -9 $$", "killed by signal")],
)
def test_a_file_that_is_no_python_is_named(text: str, message: str, tmp_path: Path):
    with pytest.raises(UsageError, match=message):
        source("own_process:Loaded", shell(tmp_path, text)).make()


def test_a_python_that_cannot_be_run_is_named(tmp_path: Path):
    with pytest.raises(UsageError, match=r"--env-python .*nothing: there is no such file"):
        source("own_process:Loaded", tmp_path / "nothing")
    (tmp_path / "text").write_text("no program")
    with pytest.raises(UsageError, match=r"--env-python .*text cannot be run: Permission denied"):
        source("own_process:Loaded", tmp_path / "text").make()


def test_an_old_python_is_refused():
    with pytest.raises(UsageError, match=r"python3.8 is Python 3.8; it must be 3.11 or newer"):
        _check_hello("python3.8", b'{"python": [3, 8], "missing": []}')
    with pytest.raises(UsageError, match="must be a Python interpreter"):
        _check_hello("cat", b"meow")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("no_such_package:make", UsageError, r"no module 'no_such_package'.*python.* -m pip install no_such_package"),
        ("no_such_package/Reach-v0", UsageError, r"no module 'no_such_package'.* -m pip install no_such_package"),
        ("own_process:Lod", UsageError, "own_process has no 'Lod'"),
        ("user_faults:Reach", UsageError, r"does not take the options \{'speed': 3\}"),
        ("CartPole-v9", UnknownName, "unknown Gymnasium id 'CartPole-v9'"),
    ],
)
def test_an_environment_that_is_not_there_is_named_as_in_this_process(name: str, error: type, message: str):
    options = {"speed": 3} if name.startswith("user_faults") else {}
    with pytest.raises(error, match=message):
        source(name, **options).make()


def test_options_that_are_no_json_values_are_refused():
    with pytest.raises(UsageError, match="--env-python: the options of own_process:Loaded must be JSON values"):
        source("own_process:Loaded", speed=object()).make()


def test_objects_are_refused_unless_the_other_python_can_import_them():
    from own_process import Loaded

    flags = EnvDeclaration(env_python=Path(sys.executable), horizon=12)
    assert env_source(Loaded, {}, flags, film=False).env_id == "own_process:Loaded"
    with pytest.raises(UsageError, match=r"env_python takes an environment that .* can import by its name"):
        env_source(Loaded(), {}, flags, film=False)


def test_runs_here_and_there_are_the_same_run(tmp_path: Path):
    options: dict[str, Any] = {"horizon": 12, "delays": [0, 3], "episodes": 4, "workers": 1, "progress": False}
    for name, python in (("here", None), ("there", sys.executable)):
        evaluate("foreign_envs:Seeker", "foreign_envs:Reach", env_python=python, out=tmp_path / name, **options)
    assert (tmp_path / "here" / "naive_d3_s4" / "steps" / "0001.npz").is_file()
    for path in (tmp_path / "here").rglob("*"):
        if path.name in ("episodes.jsonl", "metrics.jsonl") or path.suffix in (".npz", ".mp4"):
            assert (tmp_path / "there" / path.relative_to(tmp_path / "here")).read_bytes() == path.read_bytes(), path
