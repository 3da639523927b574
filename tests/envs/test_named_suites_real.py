"""Each named suite as its install line makes it, in a Python of its own without PyTorch: episodes and equal starts."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from act_eval.config import EnvDeclaration
from act_eval.envs.expert_executor import ExpertLookahead, expert_of
from act_eval.envs.suites import SUITES
from act_eval.results.records import read_episodes
from act_eval.sources.environments import env_source

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PATIENCE_S = 1500

# suite → (task, size of the state, of an action, further options)
SMOKE = {
    "metaworld": ("push-v3,reach-v3", 4, 4, ("cameras=[\"corner2\"]",)),
    "fetch": ("push", 25, 4, ()),
    "pusht": ("push-t", 2, 2, ()),
    "aloha": ("transfer-cube", 14, 14, ()),
    "so101": ("pick-cube", 14, 4, ()),
    "libero": ("libero_spatial_swap/3", 8, 7, ("image_size=64",)),
}  # fmt: skip


def test_every_suite_has_a_smoke_test_but_lerobot_s_factory():
    assert set(SMOKE) == set(SUITES) - {"lerobot"}  # tests/lerobot_package has LeRobot


def python_with(suite: str, place: Path) -> tuple[Path, tuple[str, ...]]:
    """Return a Python made by the suite's install line, and the packages of that line."""
    python = place / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", place], check=True, timeout=PATIENCE_S)
    packages = (*shlex.split(SUITES[suite].install), "msgpack")
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True, timeout=PATIENCE_S)
    return python, packages


def test_metaworld_s_scripted_policies_are_experts_that_forks_look_ahead_with(tmp_path: Path):
    python, _ = python_with("metaworld", tmp_path / "venv")
    declared = EnvDeclaration(env_python=python)
    for task in ("push-v3", "door-open-v3", "pick-place-v3,drawer-open-v3"):
        env = env_source(f"metaworld:{task}", {}, declared, film=False).make()
        observed, ended, expert = env.reset(seed=3)[0], False, expert_of(env)
        ahead, commands = ExpertLookahead([env])(0, 40), []
        while not ended:
            commands.append(expert())
            assert env.action_space.contains(commands[-1])
            observed, _, ended, _, info = env.step(commands[-1])
        assert info["is_success"], task
        np.testing.assert_array_equal(ahead, np.array(commands[:40]))
        assert observed["environment_state"].shape == (35,)
        env.close()


@pytest.mark.parametrize("suite", SMOKE)
def test_a_suite_runs_as_its_install_line_makes_it(suite: str, tmp_path: Path):
    task, state, action_dim, options = SMOKE[suite]
    python, packages = python_with(suite, tmp_path / "venv")
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode != 0
    out = tmp_path / "run"
    still = ("--policy", "foreign_envs:Still", "--policy-options", f"state={state}", f"action_dim={action_dim}")
    given = ("--env-options", *options) if options else ()
    command = [
        *(sys.executable, ROOT / "scripts" / "evaluate.py", *still, "--env", f"{suite}:{task}", *given),
        *("--env-python", python, "--episodes", 4, "--delay", 0, 2, "--horizon", 12, "--workers", 1, "--batch", 2),
        *("--video", "failures", "--no-probe", "--out", out),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    subprocess.run(list(map(str, command)), cwd=ROOT / "tests", env=environment, check=True, timeout=PATIENCE_S)
    now, late = (read_episodes(out / name / "episodes.jsonl") for name in ("naive_d0_s4", "naive_d2_s4"))
    starts = [[record.detail["initial_state"] for record in records] for records in (now, late)]
    assert starts[0] == starts[1]
    assert len(set(starts[0])) > 1
    assert {record.outcome for record in now} <= {"timeout", "success"}
    assert {record.detail["task"] for record in now} == set(task.split(","))
    assert list((out / "naive_d0_s4" / "videos").glob("*.mp4"))
    fingerprint = json.loads((out / "manifest.json").read_text())["fingerprint"]
    named = {name.replace("_", "-") for name in fingerprint}  # as packages spell themselves
    assert named & {package.split("==")[0] for package in packages}
