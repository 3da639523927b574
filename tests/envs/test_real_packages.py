"""Other people's environments as they are published, in environments of Python that these tests build.

gym-aloha 0.1.5 asks for MuJoCo 3.8.1 and dm_control 1.0.41 and shares an environment with act_eval and gym-pusht;
Meta-World asks for MuJoCo 3.3.0 and gets one of its own, where act_eval is put beside it without its own wish.
Everything heavy that they share with this environment is taken from here, after their own packages.
"""

import json
import os
import site
import subprocess
import sys
from pathlib import Path

import av
import pytest
from toy_checkpoints import write_act

from act_eval.results.records import read_episodes

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PATIENCE_S = 1200
ALOHA, PUSHT = "gym_aloha/AlohaTransferCube-v0", "gym_pusht/PushT-v0"
STILL = ("--policy", "foreign_envs:Still", "--policy-options")


def run(*command: object) -> str:
    """Run a command where the tests' modules are found; return its standard output."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in ("PYTHONWARNINGS", "MUJOCO_GL"):
        environment.pop(name, None)
    done = subprocess.run(
        [*map(str, command)], cwd=ROOT / "tests", env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def python_with(folder: Path, *packages: str) -> Path:
    """Build an environment with packages, and what else they do not bring from this one; return its interpreter."""
    run(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    places = run(python, "-c", "import site; print(site.getsitepackages()[0])").strip()
    (Path(places) / "zz_shared.pth").write_text("\n".join([str(ROOT), *site.getsitepackages()]) + "\n")
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages)
    return python


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared") / "venv"
    return python_with(folder, "gym-aloha==0.1.5", "gym-pusht", "gymnasium-robotics")


def evaluate(python: Path, *arguments: object) -> str:
    return run(python, ROOT / "scripts" / "evaluate.py", "--workers", 1, *arguments)


def test_the_whole_of_act_eval_resolves_beside_gym_aloha_and_gym_pusht(tmp_path: Path):
    report = tmp_path / "report.json"
    wanted = ("gym-aloha==0.1.5", "gym-pusht", str(ROOT))
    run(sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed", "--report", report, *wanted)
    found = {one["metadata"]["name"]: one["metadata"]["version"] for one in json.loads(report.read_text())["install"]}
    assert found["gym-aloha"] == "0.1.5"
    assert (found["mujoco"], found["dm_control"]) == ("3.8.1", "1.0.41")
    assert {"act_eval", "gym-pusht", "torch"} <= set(found)


def test_our_own_environments_run_there(shared: Path, tmp_path: Path):
    versions = run(shared, "-c", "import mujoco; print(mujoco.__version__)")
    assert versions.strip() == "3.8.1"
    evaluate(shared, "--policy", "expert", "--env", "pick", "--episodes", 2, "--out", tmp_path / "run")
    assert {r.outcome for r in read_episodes(tmp_path / "run" / "expert" / "episodes.jsonl")} == {"success"}


@pytest.mark.parametrize(
    ("env", "option", "camera", "state", "fps"),
    [
        (PUSHT, "obs_type=pixels_agent_pos", {"image": (96, 96)}, (2, 2), 10),
        (ALOHA, "obs_type=pixels_agent_pos", {"top": (480, 640)}, (14, 14), 50),
    ],
)
def test_a_network_is_evaluated_there_under_delay(
    shared: Path, tmp_path: Path, env: str, option: str, camera: dict, state: tuple[int, int], fps: int
):
    checkpoint = write_act(tmp_path / "act", state=state[0], action_dim=state[1], cameras=camera, spread=0.3)
    shared_flags = ("--policy", checkpoint, "--env", env, "--env-options", option, "--episodes", 2, "--horizon", 7)
    for out, more in (("one", ()), ("other", ("--batch", 1, "--video", "none"))):
        evaluate(shared, *shared_flags, "--delay", 0, 2, "--no-probe", "--out", tmp_path / out, *more)
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    package = env.partition("/")[0].replace("_", "-")
    assert manifest["fingerprint"][package]
    assert manifest["fingerprint"]["mujoco"] == "3.8.1"
    assert manifest["suite"]["horizon"] == 7
    for arm in ("naive_d0_s4", "naive_d2_s4"):
        records = read_episodes(tmp_path / "one" / arm / "episodes.jsonl")
        assert [(r.outcome, r.steps) for r in records] == [("timeout", 7)] * 2
        assert len({r.detail["initial_state"] for r in records}) == 2
        (first, _) = sorted((tmp_path / "one" / arm / "videos").iterdir())
        with av.open(str(first)) as video:
            assert video.streams.video[0].average_rate == fps
            assert sum(1 for _ in video.decode(video=0)) > 7
        for name in ("episodes.jsonl", "steps/0000.npz", "steps/0001.npz"):
            assert (tmp_path / "one" / arm / name).read_bytes() == (tmp_path / "other" / arm / name).read_bytes()


def test_a_goal_environment_of_gymnasium_robotics_runs_there(shared: Path, tmp_path: Path):
    flags = ("--env", "gymnasium_robotics:FetchReach-v4", "--hold", "0,0,0,repeat", "--horizon", 20)
    policy = (*STILL, "state=10", "action_dim=4")
    evaluate(shared, *policy, *flags, "--delay", 2, "--episodes", 3, "--video", "none", "--out", tmp_path / "run")
    records = read_episodes(tmp_path / "run" / "naive_d2_s4" / "episodes.jsonl")
    assert {r.outcome for r in records} <= {"success", "timeout"}
    assert len({r.detail["initial_state"] for r in records}) == 3


def test_metaworld_gets_an_environment_of_its_own(tmp_path: Path):
    python = python_with(tmp_path / "venv", "metaworld==3.1.1")
    assert run(python, "-c", "import mujoco; print(mujoco.__version__)").strip() == "3.3.0"
    flags = ("--env", "metaworld:Meta-World/MT1", "--env-options", "env_name=reach-v3", "--horizon", 20)
    policy = (*STILL, "state=39", "action_dim=4")
    out = evaluate(python, *policy, *flags, "--hold", "zero", "--delay", 2, "--episodes", 3, "--out", tmp_path / "run")
    records = read_episodes(tmp_path / "run" / "naive_d2_s4" / "episodes.jsonl")
    assert {r.outcome for r in records} <= {"success", "timeout"}
    assert "hold: zero; 12.5 ms a step, at most 20 steps" in out
    assert len(list((tmp_path / "run" / "naive_d2_s4" / "videos").iterdir())) == 3
