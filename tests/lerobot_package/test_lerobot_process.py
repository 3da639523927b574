"""Real policies of LeRobot by their folder, in a process of their own (`policies_in_lerobot.py` makes them)."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from lerobot_environments import NEW, version_in

import act_eval
from act_eval.errors import CheckpointError, RemoteError, UsageError
from act_eval.policies.checkpoint import load_pretrained
from act_eval.policies.serve import TorchChunkPolicy
from act_eval.run import Run
from act_eval.sources.policies import Network, policy_source
from act_eval.types import ChunkPolicy, ChunkRequest, Observation, PolicySpec

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
CAMERA = "observation.images.overhead"
OPEN: dict[str, Any] = {"video": "none", "progress": False, "horizon": 30, "workers": 1}


class Reach(gym.Env[dict[str, Any], np.ndarray]):
    """Six joints that follow their commands, a goal, and a camera that shows both by its brightness."""

    metadata = {"render_modes": [], "render_fps": 20}  # noqa: RUF012

    def __init__(self) -> None:
        vector, image = gym.spaces.Box(-9, 9, (6,), np.float32), gym.spaces.Box(0, 255, (32, 32, 3), np.uint8)
        self.observation_space = gym.spaces.Dict(
            {
                "pixels": gym.spaces.Dict({"overhead": image}),
                "agent_pos": vector,
                "environment_state": gym.spaces.Box(-9, 9, (2,), np.float32),
            }
        )
        self.action_space = vector

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        self.joints, self.goal = self.np_random.normal(0, 0.3, 6), self.np_random.normal(0, 0.3, 2)
        return self.observed(), {}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        self.joints = self.joints + 0.3 * (action - self.joints)
        return self.observed(), 0.0, False, False, {"is_success": False}

    def hold_action(self, last_command: np.ndarray) -> np.ndarray:
        return last_command

    def observed(self) -> dict[str, Any]:
        image = np.full((32, 32, 3), 100, np.uint8)
        image[:16], image[16:, :, 0] = (
            np.clip(100 + 50 * self.joints[0], 0, 255),
            np.clip(100 + 90 * self.goal[0], 0, 255),
        )
        state = {"agent_pos": self.joints.astype(np.float32), "environment_state": self.goal.astype(np.float32)}
        return {"pixels": {"overhead": image}, **state}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for checkpoints; the plugin with `toy_flow` is installed for processes that begin meanwhile."""
    folder = tmp_path_factory.mktemp("policies")
    plugin = folder / "plugin"
    (plugin / "lerobot_policy_toy_flow-0.dist-info").mkdir(parents=True)
    (plugin / "lerobot_policy_toy_flow-0.dist-info" / "METADATA").write_text(
        "Name: lerobot_policy_toy_flow\nVersion: 0\n"
    )
    (plugin / "lerobot_policy_toy_flow").symlink_to(HERE / "lerobot_policy_toy_flow")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(plugin), *([before] if before else [])])
    yield folder
    os.environ["PYTHONPATH"] = before or ""


@pytest.fixture(scope="module")
def make(lerobot: Path, root: Path) -> Callable[[str], Path]:
    """Make a checkpoint of a kind, unless it is there."""
    if version_in(lerobot) != NEW:
        pytest.skip(f"policies of LeRobot are evaluated with {NEW}")

    def made(kind: str) -> Path:
        if not (root / kind / "config.json").is_file():
            missing = {"diffusion": "diffusers", "act_smooth": "lerobot_policy_act_smooth"}.get(kind)
            if missing is not None and not has(lerobot, missing):
                pytest.skip(f"{lerobot} has no {missing}")
            command = [str(lerobot), str(HERE / "policies_in_lerobot.py"), str(root), kind]
            done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
            assert done.returncode == 0, done.stderr[-3000:]
        return root / kind

    return made


def has(python: Path, module: str) -> bool:
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def load(folder: Path, python: Path, **options: Any) -> Any:
    return policy_source(f"lerobot:{folder}", options, Network(rows_per_call=4), python=str(python)).load()


def seen(rows: int, history: int = 1, seed: int = 0) -> Observation:
    rng = np.random.default_rng(seed)
    time = () if history == 1 else (history,)
    return Observation(
        pixels={"overhead": rng.integers(0, 255, (rows, *time, 32, 32, 3)).astype(np.uint8)},
        agent_pos=rng.normal(0, 0.3, (rows, *time, 6)).astype(np.float32),
        environment_state=rng.normal(0, 0.3, (rows, *time, 2)).astype(np.float32),
    )


def request_of(spec: PolicySpec, observation: Observation) -> ChunkRequest:
    rows = np.arange(len(observation.agent_pos))
    return ChunkRequest.without_prefix(spec, rows, 10 + rows, observation, observation.latest().agent_pos)


def with_prefix(request: ChunkRequest, spec: PolicySpec, delays: list[int], planned: int = 0) -> ChunkRequest:
    """Return a request with random commands: past ones, d committed ones, and more planned ones."""
    rng, d, rows = np.random.default_rng(1), np.array(delays), len(delays)
    plan = rng.normal(0, 0.3, (rows, max(planned, spec.max_delay), 6)).astype(np.float32)
    prefix = plan[:, : spec.max_delay] * (np.arange(spec.max_delay) < d[:, None])[:, :, None]
    given: dict[str, Any] = {"estimated_delay": d, "prefix": prefix, "prefix_known": d}
    if spec.past_actions:
        given["past_actions"] = rng.normal(0, 0.3, (rows, spec.past_actions, 6)).astype(np.float32)
    if spec.planned_actions:
        full = np.full((rows, spec.planned_actions, 6), np.nan, np.float32)
        full[:, :planned] = plan[:, :planned]
        given["planned_actions"] = full
    return replace(request, **given)


def assert_rows_are_alone(policy: ChunkPolicy, request: ChunkRequest) -> np.ndarray:
    """Return the chunks of a request, which are the same to the last bit row by row and when asked again."""
    count = len(request.rows)
    policy.reset(range(count), range(50, 50 + count))
    chunks = policy.predict(request).actions
    names = [name for name, value in vars(request).items() if isinstance(value, np.ndarray)]
    for row in reversed(range(count)):
        one = {name: getattr(request, name)[[row]] for name in names}
        alone = replace(request, observation=request.observation.take(np.array([row])), **one)
        np.testing.assert_array_equal(policy.predict(alone).actions, chunks[[row]])
    assert np.isfinite(chunks).all()
    return chunks


def commands(run: Run) -> dict[str, list[np.ndarray]]:
    return {
        name: [np.load(path)["command"] for path in sorted((run.folder / name / "steps").glob("*.npz"))]
        for name in run.conditions
    }


def assert_no_faults(run: Run) -> None:
    errors = [record.error for one in run.conditions.values() for record in one.records if record.error]
    assert errors == []


def test_act_gives_the_commands_of_the_native_path(make: Callable[[str], Path], lerobot: Path, tmp_path: Path) -> None:
    folder = make("act")
    policy = load(folder, lerobot)
    native = TorchChunkPolicy(*load_pretrained(folder))
    assert (policy.spec.chunk, policy.spec.n_action_steps) == (8, 4) == (native.spec.chunk, native.spec.n_action_steps)
    request = request_of(policy.spec, seen(6))
    chunks = assert_rows_are_alone(policy, request)
    np.testing.assert_allclose(chunks, native.predict(request).actions, atol=1e-4)
    policy.close()
    settings: dict[str, Any] = {**OPEN, "delays": [0, 2], "episodes": 2, "env": Reach, "probe": False}
    ours = act_eval.evaluate(folder, out=tmp_path / "ours", **settings)
    theirs = act_eval.evaluate(
        f"lerobot:{folder}", out=tmp_path / "theirs", policy_python=str(lerobot), batch=1, **settings
    )
    assert_no_faults(theirs)
    assert list(ours.conditions) == list(theirs.conditions)
    for name, episodes in commands(ours).items():
        for expected, found in zip(episodes, commands(theirs)[name], strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-4)
    again = act_eval.evaluate(f"lerobot:{folder}", out=tmp_path / "theirs", policy_python=str(lerobot), **settings)
    assert again.folder == theirs.folder  # finished already


def test_diffusion_sees_the_two_frames_of_lerobots_own_loop(
    make: Callable[[str], Path], root: Path, lerobot: Path, tmp_path: Path
) -> None:
    frames = seen(5)
    numbers = [np.random.SeedSequence([77, step]).generate_state(1, np.uint64)[0] >> np.uint64(1) for step in range(5)]
    images = frames.pixels["overhead"].transpose(0, 3, 1, 2).astype(np.float32) / 255
    state = {"observation.state": frames.agent_pos, "observation.environment_state": frames.environment_state}
    np.savez(root / "frames.npz", seeds=np.array(numbers, np.int64), **state, **{CAMERA: images})  # pyright: ignore
    folder = make("diffusion")
    policy = load(folder, lerobot)
    spec = policy.spec
    assert (spec.history, spec.history_spacing, spec.chunk, spec.n_action_steps) == (2, 1, 15, 8)
    steps = np.arange(5)
    stacked = Observation.over_time([frames.take(np.maximum(steps - 1, 0)), frames.take(steps)])
    policy.reset(range(5), [77] * 5)
    request = replace(request_of(spec, stacked), steps=steps)
    np.testing.assert_allclose(policy.predict(request).actions[:, 0], np.load(root / "said.npz")["said"], atol=1e-5)
    assert_rows_are_alone(policy, request)
    policy.close()
    settings: dict[str, Any] = {**OPEN, "delays": [0, 3], "episodes": 3, "policy_python": str(lerobot), "probe": False}
    runs = [
        act_eval.evaluate(f"lerobot:{folder}", Reach, out=tmp_path / f"{size}", batch=size, **settings)
        for size in (1, 3)
    ]
    for run in runs:
        assert_no_faults(run)
        assert list(run.conditions) == ["naive_d0_s8", "naive_d3_s8"]
    for name, episodes in commands(runs[0]).items():
        for expected, found in zip(episodes, commands(runs[1])[name], strict=True):
            np.testing.assert_array_equal(found, expected)


def test_act_smooth_gets_past_and_committed_commands(
    make: Callable[[str], Path], root: Path, lerobot: Path, tmp_path: Path
) -> None:
    folder = make("act_smooth")
    policy = load(folder, lerobot)
    spec = policy.spec
    assert (spec.window, spec.min_delay, spec.max_delay, spec.past_actions) == ("shifted", 1, 4, 2)
    begin = request_of(spec, seen(5))
    chunks = assert_rows_are_alone(policy, begin)
    np.testing.assert_array_equal(chunks[:, 0], begin.last_action)  # stands for a_t; the network's chunk is behind it
    request = with_prefix(begin, spec, [1, 2, 3, 4, 1])
    conditioned = assert_rows_are_alone(policy, request)
    for name in ("prefix", "past_actions"):
        changed = replace(request, **{name: getattr(request, name) + 0.1 * (getattr(request, name) != 0)})
        moved = np.abs(policy.predict(changed).actions - conditioned).max(axis=(1, 2))
        assert (moved > 1e-4).all(), name
    assert policy.predict(replace(request, prefix=request.prefix + 9 * (request.prefix == 0))).actions == pytest.approx(
        conditioned
    ), "commands behind the delay are not read"
    with pytest.raises(UsageError, match="act_smooth cannot be conditioned on a delay without the commands"):
        policy.predict(replace(request, prefix_known=np.zeros(5, np.int64)))
    policy.close()
    run = act_eval.evaluate(
        f"lerobot:{folder}",
        Reach,
        out=tmp_path / "run",
        policy_python=str(lerobot),
        delays=[0, 1, 3],
        episodes=2,
        **OPEN,
    )
    assert_no_faults(run)
    for delay, condition in zip((0, 1, 3), run.conditions.values(), strict=True):
        for record in condition.records:
            assert record.detail["actual_delays"][1:] == [delay] * (record.requests - 1)
            assert record.detail["estimated_delays"] == [0, *[max(1, delay)] * (record.requests - 1)]


def test_a_flow_policy_is_guided_by_lerobots_real_time_chunking(
    make: Callable[[str], Path], root: Path, lerobot: Path, tmp_path: Path
) -> None:
    observation = seen(1)
    seed = int(np.random.SeedSequence([50, 10]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    plan = np.random.default_rng(1).normal(0, 0.3, (1, 7, 6)).astype(np.float32)[0, :6]
    goal = observation.environment_state
    assert goal is not None
    state = {"observation.state": observation.agent_pos[0], "observation.environment_state": goal[0]}
    np.savez(root / "plan.npz", plan=plan, delay=3, seed=seed, **state)  # pyright: ignore
    folder = make("toy_flow")
    policy = load(folder, lerobot, rtc={"execution_horizon": 7})
    spec = policy.spec
    assert (spec.window, spec.max_delay, spec.planned_actions) == ("same", 7, 8)
    request = with_prefix(request_of(spec, observation), spec, [3], planned=6)
    policy.reset([0], [50])
    guided = policy.predict(request).actions
    np.testing.assert_allclose(guided[0], np.load(root / "said.npz")["said"], atol=1e-5)
    free = policy.predict(request_of(spec, observation)).actions
    gap = [np.abs(chunk[0, :3] - request.prefix[0, :3]).max() for chunk in (guided, free)]
    assert gap[0] < 0.3 * gap[1]
    many = with_prefix(request_of(spec, seen(6)), spec, [0, 1, 3, 3, 7, 1], planned=7)
    assert_rows_are_alone(policy, many)
    policy.close()
    run = act_eval.evaluate(
        f"lerobot:{folder}", Reach, out=tmp_path / "run", policy_python=str(lerobot), delays=[0, 3], episodes=2, **OPEN
    )
    assert_no_faults(run)
    assert list(run.conditions) == ["rtc_d0_s4", "rtc_d3_s4"]


def test_what_lerobot_refuses_is_named(make: Callable[[str], Path], root: Path, lerobot: Path) -> None:
    folder, known = make("act"), "which LeRobot .* does not know; there are: act"
    other = root / "other"
    other.mkdir()
    (other / "config.json").write_text('{"type": "no_such_policy"}')
    with pytest.raises(CheckpointError, match=f"has type 'no_such_policy', {known}"):
        load(other, lerobot)
    (other / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(CheckpointError, match=r"has no policy_preprocessor\.json"):
        load(other, lerobot)
    with pytest.raises(CheckpointError, match="rtc: LeRobot has no real-time chunking for policy type 'act'"):
        load(folder, lerobot, rtc={"execution_horizon": 3})
    with pytest.raises(CheckpointError, match=r"the policy reads 'observation.eye'; observations have"):
        load(folder, lerobot, rename_map={"observation.eye": CAMERA})
    renamed = load(folder, lerobot, rename_map={"observation.images.wrist": CAMERA})
    assert "observation.images.wrist" in renamed.spec.inputs
    renamed.close()


def test_the_process_ends_with_its_policy_with_its_parent_and_is_missed(
    make: Callable[[str], Path], lerobot: Path
) -> None:
    def gone(pid: int) -> bool:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            if subprocess.run(["ps", "-p", str(pid)], capture_output=True, check=False).returncode:
                return True
            time.sleep(0.2)
        return False

    folder = make("act")
    policy = load(folder, lerobot)
    pid = policy._process._process.pid
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(RemoteError, match=r"lerobot:.*: its process \(.*\) ended \(-9\)"):
        policy.predict(request_of(policy.spec, seen(1)))
    policy.close()
    policy = load(folder, lerobot)
    pid = policy._process._process.pid
    policy.close()
    assert gone(pid)
    code = f"""
import os, signal
from act_eval.sources.policies import Network, policy_source
policy = policy_source("lerobot:{folder}", {{}}, Network(), python="{lerobot}").load()
print(policy._process._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert gone(int(done.stdout))
