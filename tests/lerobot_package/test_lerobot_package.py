"""The real LeRobot, in an environment of its own (`conftest.py`): checkpoints and data sets in both directions."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import act_eval
from act_eval.cli import main
from act_eval.datasets import Demonstrations
from act_eval.policies.act import ACTConfig, ACTPolicy, Feature
from act_eval.policies.act.presets import features, lerobot_act
from act_eval.policies.checkpoint import export_lerobot, load_pretrained, save_pretrained
from act_eval.policies.normalize import Processor

MakeDemos = Callable[..., Any]
pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
ROOT = Path(act_eval.__file__).resolve().parent.parent
LENGTHS = (7, 4, 9)


@pytest.fixture(scope="module")
def batch() -> dict[str, np.ndarray]:
    """Raw observations, images in [0, 1] as LeRobot has them."""
    rng = np.random.default_rng(0)
    return {
        "observation.state": rng.normal(size=(2, 6)).astype(np.float32),
        "observation.environment_state": rng.normal(size=(2, 2)).astype(np.float32),
        "observation.images.top": rng.random((2, 3, 64, 64), np.float32),
    }


CHANGED = ("changed_settings", "changed_features", "changed_quantiles")


VECTORS = ("observation.state", "observation.environment_state", "action")


def change_pipelines(folder: Path, name: str) -> None:
    """Change settings of both normalisers, and the statistics of the one behind the network."""
    before, after = (json.loads((folder / f"policy_{n}processor.json").read_text()) for n in ("pre", "post"))
    normalizer, unnormalizer = before["steps"][3]["config"], after["steps"][0]["config"]
    if name == "changed_settings":
        normalizer |= {"eps": 0.5, "norm_map": {"STATE": "MIN_MAX", "VISUAL": "MEAN_STD"}}
        unnormalizer["norm_map"]["ACTION"] = "MIN_MAX"
    elif name == "changed_quantiles":
        normalizer["norm_map"] |= {"STATE": "QUANTILES", "ENV": "QUANTILE10"}
        unnormalizer["norm_map"]["ACTION"] = "QUANTILES"
        for step in (before["steps"][3], after["steps"][0]):
            path = folder / step["state_file"]
            own = load_file(path)
            for name, quantile in {"q01": -2.2, "q10": -1.3, "q90": 1.2, "q99": 2.4}.items():
                own |= {f"{key}.{name}": own[f"{key}.mean"] + quantile * own[f"{key}.std"] for key in VECTORS}
            save_file(own, path)
    else:
        del normalizer["features"]["observation.environment_state"]
        normalizer["normalize_observation_keys"] = ["observation.state"]
        state = folder / after["steps"][0]["state_file"]
        save_file({key: value + 5 for key, value in load_file(state).items()}, state)
    for content in (before, after):
        (folder / f"{content['name']}.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    lerobot: Path,
    batch: dict[str, np.ndarray],
    make_demos: Callable[..., Any],
) -> Path:
    """What `in_lerobot.py` was given, and left."""
    root = tmp_path_factory.mktemp("both")
    torch.manual_seed(0)
    config = ACTConfig(
        input_features=features({"top": (64, 64)}),
        output_features={"action": Feature("ACTION", (6,))},
        chunk_size=5,
        n_action_steps=3,
        dim_model=32,
        n_heads=4,
        dim_feedforward=48,
        n_encoder_layers=2,
        n_vae_encoder_layers=1,
        latent_dim=4,
    )
    policy = ACTPolicy(config)
    rng = np.random.default_rng(1)
    shapes = {name: (3, 1, 1) if len(value.shape) == 4 else value.shape[1:] for name, value in batch.items()}
    stats = {
        name: {
            "mean": rng.normal(size=shape),
            "std": rng.uniform(0.1, 2, size=shape),
            "min": rng.uniform(-3, -1, size=shape),
            "max": rng.uniform(1, 3, size=shape),
        }
        for name, shape in {**shapes, "action": (6,)}.items()
    }
    export_lerobot(root / "ours", policy, Processor(config, stats))
    of_preset = lerobot_act(config.input_features, chunk_size=5, n_action_steps=3, dim_model=32, dim_feedforward=48)
    save_pretrained(root / "trained", ACTPolicy(of_preset), Processor(of_preset, stats))
    assert main(["export-lerobot", str(root / "trained"), str(root / "preset")]) == 0
    for name in CHANGED:
        shutil.copytree(root / "ours", root / name)
        change_pipelines(root / name, name)
    np.savez(root / "batch.npz", **batch)  # pyright: ignore[reportArgumentType]
    make_demos(root / "data", lengths=LENGTHS)
    done = subprocess.run(
        [str(lerobot), str(HERE / "in_lerobot.py"), str(root)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=root,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return root


def commands(folder: Path, batch: dict[str, np.ndarray]) -> np.ndarray:
    """Return what a checkpoint answers here."""
    policy, processor = load_pretrained(folder)
    raw = {name: torch.as_tensor(value) for name, value in batch.items()}
    with torch.inference_mode():
        prepared = processor.prepare(raw)
        return processor.restore(policy.predict_action_chunk(prepared), None).numpy()


def column(data: Demonstrations, key: str) -> np.ndarray:
    """Return a column of all episodes."""
    return np.concatenate([data.vectors(e, [key])[key] for e in range(len(data.episodes.lengths))])


def test_our_checkpoint_answers_in_lerobot_what_it_answers_here(folder: Path, batch: dict[str, np.ndarray]):
    theirs = np.load(folder / "said.npz")["chunk_ours"]
    assert theirs.shape == (2, 5, 6)
    np.testing.assert_allclose(commands(folder / "ours", batch), theirs, atol=2e-5)


@pytest.mark.parametrize("name", CHANGED)
def test_pipelines_with_other_settings_answer_in_lerobot_what_they_answer_here(
    folder: Path, batch: dict[str, np.ndarray], name: str
):
    said = np.load(folder / "said.npz")
    np.testing.assert_allclose(commands(folder / name, batch), said[f"chunk_{name}"], atol=5e-5)
    assert not np.allclose(said[f"chunk_{name}"], said["chunk_ours"], atol=1e-2)


def test_a_checkpoint_of_the_preset_in_half_precision_answers_the_same(folder: Path, batch: dict[str, np.ndarray]):
    theirs = np.load(folder / "said.npz")["chunk_preset"]
    np.testing.assert_allclose(commands(folder / "preset", batch), theirs, atol=2e-5)
    np.testing.assert_allclose(commands(folder / "trained", batch), theirs, atol=5e-2)
    sizes = [(folder / name / "model.safetensors").stat().st_size for name in ("trained", "preset")]
    assert sizes[0] > 1.9 * sizes[1]


def test_a_checkpoint_as_lerobot_saves_it_answers_here_what_it_was(folder: Path, batch: dict[str, np.ndarray]):
    assert (folder / "theirs" / "policy_preprocessor.json").is_file()
    np.testing.assert_array_equal(commands(folder / "theirs", batch), commands(folder / "ours", batch))


def test_our_data_set_loads_in_lerobot(folder: Path):
    said, ours = np.load(folder / "said.npz"), Demonstrations(folder / "data")
    assert said["episode_index"].tolist() == np.repeat(range(3), LENGTHS).tolist()
    assert said["frame_index"].tolist() == [t for length in LENGTHS for t in range(length)]
    assert set(said["tasks"].tolist()) == {"pick it"}
    np.testing.assert_array_equal(said["observation.state"], column(ours, "observation.state"))
    np.testing.assert_array_equal(said["action"][:, 0], column(ours, "action"))
    starts = np.cumsum((0, *LENGTHS[:-1]))
    assert said["action_is_pad"][starts + np.array(LENGTHS) - 1].tolist() == [[False, True, True]] * 3
    assert said["observation.images.overhead"].shape[1:] == (3, 8, 8)
    np.testing.assert_allclose(
        said["observation.images.overhead"] * 255,
        np.concatenate([ours.frames(e, "overhead") for e in range(3)]).transpose(0, 3, 1, 2),
        atol=1e-3,
    )


def test_a_data_set_of_lerobots_loads_here(folder: Path):
    theirs = Demonstrations(folder / "theirs_data")
    frames = [(0, t) for t in range(5)] + [(1, t) for t in range(3)]
    assert column(theirs, "action")[:, 0].tolist() == [100 * e + t + 0.5 for e, t in frames]
    assert column(theirs, "observation.state")[:, 5].tolist() == [100.0 * e + t for e, t in frames]
    levels = np.concatenate([theirs.frames(e, "top") for e in range(2)])[:, 0, 0, 0]
    assert levels.tolist() == [30 + 60 * e + 10 * t for e, t in frames]
