"""What importing act_eval costs and what each room refuses to pull in."""

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import act_eval

ROOT = Path(act_eval.__file__).resolve().parent.parent
ROOMS = ("envs", "policies", "scenes")


def run_python(code: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter, so that what other tests imported does not count."""
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)


def modules_loaded_by(statement: str) -> set[str]:
    """Return the top-level modules in `sys.modules` after `statement`."""
    report = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = run_python(f"{statement}\n{report}")
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def modules_of(package: str) -> list[str]:
    """Return the names of all modules of a package, found on disk."""
    parent = importlib.import_module(package)
    return [package, *(found.name for found in pkgutil.walk_packages(parent.__path__, f"{package}."))]


def test_importing_act_eval_is_light() -> None:
    loaded = modules_loaded_by("import act_eval")
    assert "act_eval" in loaded
    assert not loaded & {"torch", "mujoco", "gymnasium", "dm_control"}


def test_importing_act_eval_takes_less_than_0_3_s() -> None:
    code = "import time; t = time.perf_counter(); import act_eval; print(time.perf_counter() - t)"
    seconds = min(float(run_python(code).stdout) for _ in range(3))  # the best of three: other processes run too
    assert seconds < 0.3


@pytest.mark.parametrize(
    ("room", "refused"),
    [
        ("envs", {"torch"}),
        ("scenes", {"torch", "gymnasium"}),
        ("policies", {"mujoco", "gymnasium", "dm_control", "lerobot"}),
    ],
)
def test_room_does_not_load_what_it_must_not_know(room: str, refused: set[str]) -> None:
    names = modules_of(f"act_eval.{room}")
    assert len(names) > 1, f"act_eval.{room} has no modules"
    loaded = modules_loaded_by("\n".join(f"import {name}" for name in names))
    assert not loaded & refused


@pytest.mark.parametrize("room", ROOMS)
def test_room_refuses_its_bare_name(room: str) -> None:
    done = run_python(f"import {room}")
    assert done.returncode == 1
    assert f"import `act_eval.{room}`; the folder `{room}` is not a package of its own" in done.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_room_is_the_folder_at_the_top(room: str) -> None:
    link = ROOT / "act_eval" / room
    assert link.is_symlink()
    assert os.readlink(link) == f"../{room}"
    assert importlib.import_module(f"act_eval.{room}").__name__ == f"act_eval.{room}"


_LEROBOT = ("conditioning", "loading", "policy", "serve")
_EXTRAS = {"act_eval.launch.ray": "ray", **{f"act_eval.lerobot_process.{name}": "lerobot" for name in _LEROBOT}}
"""Modules that need an extra, and its package."""


def test_every_public_name_exists() -> None:
    names = [name for name in modules_of("act_eval") if name not in _EXTRAS or find_spec(_EXTRAS[name]) is not None]
    assert len(names) > 10
    modules = {name: importlib.import_module(name) for name in names}
    missing = [
        f"{name}.{public}"
        for name, module in modules.items()
        for public in getattr(module, "__all__", ())
        if not hasattr(module, public)
    ]
    assert not missing


def test_loading_a_policy_does_not_load_the_compiler() -> None:
    """It takes a second of processor time, in every process of a run."""
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys; from pathlib import Path; from act_eval.policies.checkpoint import load_pretrained; "
            "import act_eval.policies as room; load_pretrained(Path(room.__path__[0]) / 'pretrained/act_rtc'); "
            "print('torch._dynamo' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


def test_what_workers_have_imported_before_they_start() -> None:
    """Modules beyond PyTorch's delay the first step, and threads or a simulator's renderer do not survive a fork."""
    done = run_python(
        "import os, sys; from act_eval.processes import WORKER_ENVIRONMENT, EPISODES, NETWORKS\n"
        "os.environ.update(WORKER_ENVIRONMENT); import torch; before = set(sys.modules)\n"
        "for name in (*NETWORKS, *EPISODES): __import__(name)\n"
        "print(len(sys.modules) - len(before), len(os.listdir('/proc/self/task')) if os.path.exists('/proc') else 1)\n"
        "print({'mujoco', 'torch._dynamo', 'scipy.special', 'matplotlib', 'jinja2'} & sys.modules.keys())"
    )
    counts, heavy = done.stdout.splitlines()
    modules, threads = map(int, counts.split())
    assert (threads, heavy) == (1, "set()")
    assert modules < 370  # 339 when this was written
