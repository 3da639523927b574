"""Our plugins in the real LeRobot: its commands run, and its numbers are ours."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from lerobot_environments import OLD, version_in

import act_eval
import act_eval.envs  # registers the ids
from act_eval.datasets import Demonstrations, open_cache
from act_eval.policies.act.presets import features, small_act_rtc
from act_eval.policies.checkpoint import fresh_policy, load_pretrained, save_pretrained
from act_eval.policies.data import Windows
from act_eval.policies.rtc import ACTRTCPolicy
from act_eval.policies.serve import TorchChunkPolicy
from act_eval.policies.training_setup import fitted, fresh_processor
from act_eval.sources.policies import SHIPPED
from act_eval.types import ChunkRequest, Observation

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
ROOT = Path(act_eval.__file__).resolve().parent.parent
PLUGINS = ROOT / "plugins"
VARIANTS: dict[str, dict[str, Any]] = {
    "shifted": {},
    "same": {"rtc_window": "same", "rtc_anchor": "last_action", "use_vae": True, "latent_dim": 4},
    "min_max": {"normalization_mapping": {"STATE": "MIN_MAX", "ACTION": "MIN_MAX"}, "rtc_prefix_in": "encoder"},
}
TINY: dict[str, Any] = {
    "chunk_size": 5,
    "n_action_steps": 3,
    "dim_model": 32,
    "n_heads": 4,
    "dim_feedforward": 48,
    "n_encoder_layers": 1,
    "n_decoder_layers": 1,
    "backbone_widths": (8, 16),
    "rtc_max_delay": 2,
}


def ran(python: Path, words: list[str], where: Path, *paths: Path) -> str:
    """Run LeRobot's interpreter and return all that it printed."""
    done = subprocess.run(
        [str(python), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
        cwd=where,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, PLUGINS, *paths))),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        },
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def documented(program: str, changes: dict[str, str]) -> list[str]:
    """Return the words of a program's command on the page, to be run as a module, with other values for some flags."""
    page = (ROOT / "docs" / "lerobot.md").read_text().replace("\\\n", " ")
    (words,) = [shlex.split(line)[1:] for line in page.splitlines() if line.startswith(f"{program} ")]
    flags = dict(word.split("=", 1) for word in words) | changes
    return ["-m", f"lerobot.scripts.{program.replace('-', '_')}", *(f"{flag}={value}" for flag, value in flags.items())]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, make_demos: Callable[..., Any]) -> Demonstrations:
    return make_demos(tmp_path_factory.mktemp("plugins") / "data")[0]


@pytest.fixture(scope="module")
def raw() -> dict[str, np.ndarray]:
    """Raw observations of two rows as LeRobot has them, and what was committed before."""
    rng = np.random.default_rng(3)
    return {
        "observation.state": rng.normal(100, 50, (2, 6)).astype(np.float32),
        "observation.environment_state": rng.normal(size=(2, 2)).astype(np.float32),
        "observation.images.overhead": rng.integers(0, 256, (2, 3, 8, 8)).astype(np.float32) / 255,
        "observation.images.wrist": rng.integers(0, 256, (2, 3, 8, 10)).astype(np.float32) / 255,
        "prefix": rng.normal(100, 50, (2, 2, 6)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def folder(lerobot: Path, data: Demonstrations, raw: dict[str, np.ndarray]) -> Path:
    """What `plugins_in_lerobot.py` was given, and left."""
    root = data.root.parent
    np.savez(root / "raw.npz", **raw)  # pyright: ignore[reportArgumentType]
    for name, changes in VARIANTS.items():
        torch.manual_seed(1)
        config = fitted(small_act_rtc(features({"overhead": (8, 8)}), **TINY | changes), [data])
        save_pretrained(root / "checkpoints" / name, fresh_policy(config), fresh_processor(config, [data]))
    ran(lerobot, [str(HERE / "plugins_in_lerobot.py"), str(root)], root)
    return root


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed distribution by whose name LeRobot finds the plugins."""
    place = tmp_path_factory.mktemp("named")
    shutil.copytree(PLUGINS, place / "plugins", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(place), str(place / "plugins")]
    subprocess.run(build, check=True, capture_output=True, timeout=600)
    (wheel,) = place.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place / "site")]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True, timeout=600)
    return place / "site"


def request(raw: dict[str, np.ndarray], delay: int, prefix: np.ndarray | None = None) -> ChunkRequest:
    """Return the same question for a policy of ours; the prefix is that of `raw` by default."""
    images = {name: raw[f"observation.images.{name}"] for name in ("overhead", "wrist")}
    return ChunkRequest(
        rows=np.arange(2),
        steps=np.zeros(2, np.int64),
        observation=Observation(
            pixels={
                name: (value * 255).round().astype(np.uint8).transpose(0, 2, 3, 1) for name, value in images.items()
            },
            agent_pos=raw["observation.state"],
            environment_state=raw["observation.environment_state"],
        ),
        estimated_delay=np.full(2, delay, np.int64),
        prefix=raw["prefix"][:, :delay] if prefix is None else prefix,
        last_action=raw["observation.state"],
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_lerobot_gets_the_chunks_that_we_get(folder: Path, raw: dict[str, np.ndarray], name: str):
    said = np.load(folder / f"said-{name}.npz")
    policy, processor = load_pretrained(folder / "checkpoints" / name)
    ours = TorchChunkPolicy(policy, processor, rows_per_call=2)
    np.testing.assert_allclose(said["chunk"], ours.predict(request(raw, 0)).actions, rtol=2e-6, atol=2e-4)
    np.testing.assert_array_equal(said["actions"][:, :3], said["chunk"][:, :3])
    prefixes = {
        "delayed": raw["prefix"],
        "clipped": raw["prefix"],
        "held": raw["prefix"][:, [0, 0]],  # one command was left, and the robot holds it
        "dry": said["held"][:, [-1, -1]],  # nothing was left of the chunk before
    }
    for title, prefix in prefixes.items():  # LeRobot's chunks begin at the observation, with the committed commands
        delayed = ours.predict(request(raw, 2, prefix)).actions
        outputs = delayed if ours.spec.window == "shifted" else delayed[:, 2:]
        wanted = np.concatenate((prefix, outputs), axis=1)
        np.testing.assert_allclose(said[title], wanted, rtol=2e-6, atol=2e-4, err_msg=title)
    assert np.abs(said["delayed"][:, 2:5] - said["chunk"][:, 2:5]).max() > 1e-3


def test_lerobots_engine_for_real_time_chunking_commits_what_it_runs(folder: Path, lerobot: Path):
    if version_in(lerobot) == OLD:
        pytest.skip(f"LeRobot {OLD} has no lerobot-rollout")
    ran(lerobot, [str(HERE / "rollout_in_lerobot.py"), str(folder)], folder)
    told = json.loads((folder / "rolled_out.json").read_text())
    assert {name: told[name] for name in VARIANTS} == {"shifted": True, "same": False, "min_max": True}
    for calls in (told["calls"], told["compiled"]):
        delayed = [call for call in calls if call["delay"] and call["left_over"] is not None]
        assert any(not any(call["left_over"][-1]) for call in delayed)  # filled up with zeros
        for call in delayed:
            left = [row for row in call["left_over"] if any(row)] or [calls[calls.index(call) - 1]["chunk"][-1]]
            steps = min(call["delay"], TINY["rtc_max_delay"])
            wanted = [left[min(step, len(left) - 1)] for step in range(steps)]
            np.testing.assert_allclose(call["chunk"][:steps], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_lerobot_sees_the_loss_that_we_see(folder: Path, data: Demonstrations, tmp_path: Path, name: str):
    said = np.load(folder / f"said-{name}.npz")
    policy, processor = load_pretrained(folder / "checkpoints" / name)
    assert isinstance(policy, ACTRTCPolicy)
    windows = Windows(data, open_cache(data, tmp_path), policy.config.target_steps)
    with torch.inference_mode():
        loss, parts = policy(processor.prepare(windows.batch(range(len(windows)))))
    assert said["loss"] == pytest.approx(float(loss), rel=1e-4)
    assert {key: float(said[key]) for key in parts} == pytest.approx({k: float(v) for k, v in parts.items()}, rel=1e-4)


def test_what_does_not_fit_is_refused_by_name(folder: Path):
    refused = json.loads((folder / "refused.json").read_text())
    assert refused["delay"].startswith("inference_delay is 99 steps; the policy was trained for 0 to 2. LeRobot takes")
    assert refused["delay"].endswith("with --policy.rtc_clip_delay=true that counts as 2")
    assert refused["horizon"].startswith("inference_delay is 2 steps, and LeRobot passes 1 of the commands that run")
    assert "--inference.rtc.execution_horizon=2" in refused["horizon"]
    assert "those of a data set (lerobot-train --dataset.repo_id=…) or of a checkpoint" in refused["no statistics"]
    assert "make the policy first (make_policy with ds_meta)" in refused["processors first"]
    assert "rtc_window" in refused["field"]
    assert "'sideways'" in refused["field"]
    assert "'juggle'" in refused["environment"]
    assert "confuser_pick" in refused["environment"]
    assert refused["option"].startswith("image_size is 4; 8 to")


def test_lerobot_eval_runs_the_shipped_policy(lerobot: Path, named: Path, tmp_path: Path):
    """The page's command, found by the installed name; the episodes are those that the same seeds give here."""
    few = {"--eval.n_episodes": "3", "--eval.batch_size": "2", "--seed": "7", "--output_dir": str(tmp_path / "out")}
    ran(lerobot, documented("lerobot-eval", few), ROOT, named)
    info = json.loads((tmp_path / "out" / "eval_info.json").read_text())
    theirs = info["per_task"][0]["metrics"]
    ours = [episode(seed) for seed in (7, 8, 9)]
    assert theirs["successes"] == [success for success, _ in ours]
    assert theirs["sum_rewards"] == [reward for _, reward in ours]
    assert sum(theirs["successes"]) >= 2  # it succeeds in more than nine of ten
    assert info["overall"]["pc_success"] == pytest.approx(100 * np.mean(theirs["successes"]))


def episode(seed: int) -> tuple[bool, float]:
    """Run an episode of the shipped policy, ten commands of each chunk, the world standing still in between."""
    policy = TorchChunkPolicy(*load_pretrained(SHIPPED / "act_rtc"), rows_per_call=1)
    env = gym.make("act_eval/ConfuserPick-v0")
    seen, _ = env.reset(seed=seed)
    commands: list[np.ndarray] = []
    rewards, over = 0.0, False
    while not over:
        if not commands:
            observation = Observation(
                pixels={name: image[None] for name, image in seen["pixels"].items()},
                agent_pos=seen["agent_pos"][None],
                environment_state=seen["environment_state"][None],
            )
            nothing = np.zeros(1, np.int64)
            question = ChunkRequest(
                rows=nothing,
                steps=nothing,
                observation=observation,
                estimated_delay=nothing,
                prefix=np.zeros((1, 0, 6), np.float32),
                last_action=observation.agent_pos,
            )
            commands = list(policy.predict(question).actions[0, :10])
        seen, reward, terminated, truncated, _ = env.step(commands.pop(0))
        rewards, over = rewards + float(reward), terminated or truncated
    success = env.get_wrapper_attr("verdict")().outcome == "success"
    env.close()
    return success, rewards


def test_lerobot_train_trains_and_resumes_and_our_evaluation_loads_it(
    lerobot: Path, data: Demonstrations, tmp_path: Path
):
    """The page's command, found by the flag that names the module; a second command goes on with its checkpoint."""
    found = {"--policy.discover_packages_path": "lerobot_policy_act_rtc"}
    tiny = {f"--policy.{name}": json.dumps(value) for name, value in TINY.items()}
    short = {"--steps": "3", "--save_freq": "3", "--log_freq": "1", "--batch_size": "4", "--num_workers": "0"}
    here = {"--dataset.root": str(data.root), "--output_dir": str(tmp_path / "run")}
    first = documented("lerobot-train", found | tiny | short | here | {"--dataset.use_imagenet_stats": "false"})
    assert "step:3" in ran(lerobot, first, tmp_path)
    checkpoints = tmp_path / "run" / "checkpoints"
    resume = {"--config_path": str(checkpoints / "last" / "pretrained_model" / "train_config.json")}
    resume |= {"--resume": "true", "--steps": "5", "--save_freq": "5"}
    second = [*first[:2], *(f"{flag}={value}" for flag, value in (found | resume).items())]
    assert "step:5" in ran(lerobot, second, tmp_path)
    policies = []
    for step in ("000003", "000005"):
        policy, _ = load_pretrained(checkpoints / step / "pretrained_model")
        kept = load_pretrained(checkpoints / step / "pretrained_model")[1].before.stats()
        for key, of in fresh_processor(policy.config, [data]).before.stats().items():
            for name, value in of.items():
                np.testing.assert_allclose(kept[key][name], value.numpy(), rtol=1e-5, err_msg=f"{key} {name}")
        policies.append(policy.state_dict())
    assert any(not torch.equal(policies[0][name], policies[1][name]) for name in policies[0])
