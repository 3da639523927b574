"""Checkpoint folders: round trips, LeRobot's layout, and what is refused by name."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_policies import TINY, normalised_batch, processor, raw_batch, tiny_act, tiny_rtc

from act_eval.errors import CheckpointError
from act_eval.policies.act import ACTConfig, ACTPolicy
from act_eval.policies.act.presets import features
from act_eval.policies.checkpoint import (
    config_from_dict,
    config_to_dict,
    export_lerobot,
    load_extra,
    load_pretrained,
    save_pretrained,
)
from act_eval.policies.rtc import ACTRTCPolicy

LEROBOT_FILES = {
    "config.json",
    "model.safetensors",
    "policy_preprocessor.json",
    "policy_preprocessor_step_3_normalizer_processor.safetensors",
    "policy_postprocessor.json",
    "policy_postprocessor_step_0_unnormalizer_processor.safetensors",
}
Policy = ACTPolicy | ACTRTCPolicy


def lerobot_policy() -> ACTPolicy:
    """An ACT that LeRobot can express."""
    fields = {k: v for k, v in TINY.items() if k not in ("backbone_widths", "camera_embedding", "vision_backbone")}
    torch.manual_seed(0)
    return ACTPolicy(ACTConfig(input_features=features({"top": (64, 64)}), **fields))


def variants() -> list[Callable[[], Policy]]:
    return [
        lerobot_policy,
        tiny_act,
        tiny_rtc,
        lambda: tiny_rtc(rtc_anchor="last_action", rtc_window="same", rtc_delay_weights=(1.0, 2.0, 3.0, 4.0)),
        lambda: tiny_act(normalization_mapping={"VISUAL": "IDENTITY", "STATE": "MIN_MAX", "ACTION": "MEAN_STD"}),
    ]


@pytest.mark.parametrize("make", variants())
def test_a_round_trip_keeps_everything(make: Callable[[], Policy], tmp_path: Path) -> None:
    policy = make()
    ours = processor(policy)
    save_pretrained(tmp_path / "new" / "folder", policy, ours, extra={"steps": 3})
    loaded, theirs = load_pretrained(tmp_path / "new" / "folder")
    assert loaded.config == policy.config
    assert type(loaded) is type(policy)
    assert not loaded.training
    raw = raw_batch(policy.config)
    batch = ours.prepare(raw)
    assert all(torch.equal(theirs.prepare(raw)[key], batch[key]) for key in batch)
    assert torch.equal(loaded.predict_action_chunk(batch), policy.predict_action_chunk(batch))
    assert load_extra(tmp_path / "new" / "folder") == {"steps": 3}


def test_the_folder_has_lerobots_files_and_nothing_else(tmp_path: Path) -> None:
    policy = lerobot_policy()
    export_lerobot(tmp_path, policy, processor(policy))
    assert {path.name for path in tmp_path.iterdir()} == LEROBOT_FILES
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["type"] == "act"
    assert config["input_features"]["observation.images.top"] == {"type": "VISUAL", "shape": [3, 64, 64]}
    assert config["normalization_mapping"]["ENV"] == "MEAN_STD"
    assert not [key for key in config if key in ACTConfig.added_fields]
    steps = [s["registry_name"] for s in json.loads((tmp_path / "policy_preprocessor.json").read_text())["steps"]]
    assert steps == ["rename_observations_processor", "to_batch_processor", "device_processor", "normalizer_processor"]
    statistics = load_file(tmp_path / "policy_preprocessor_step_3_normalizer_processor.safetensors")
    assert statistics["observation.environment_state.std"].shape == (2,)
    assert statistics["observation.images.top.mean"].shape == (3, 1, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            tiny_rtc,
            "a policy of type 'act_rtc' is no LeRobot ACT: vision_backbone = 'resnet_narrow', .*rtc_max_delay = 3",
        ),
        (tiny_act, r"'act_eval_act' is no LeRobot ACT: vision_backbone = 'resnet_narrow', backbone_widths = \(8, 16\)"),
    ],
)
def test_what_lerobot_cannot_express_is_refused_by_field(
    make: Callable[[], Policy], message: str, tmp_path: Path
) -> None:
    policy = make()
    with pytest.raises(CheckpointError, match=message):
        export_lerobot(tmp_path, policy, processor(policy))
    assert not list(tmp_path.iterdir())


def test_a_folder_written_by_lerobot_loads(tmp_path: Path) -> None:
    """Keys of LeRobot's base class, further statistics, another step number; no weights are downloaded."""
    policy = lerobot_policy()
    save_pretrained(tmp_path, policy, processor(policy))
    change_json(
        tmp_path / "config.json",
        device="cuda",
        use_amp=False,
        push_to_hub=True,
        repo_id="someone/act",
        license=None,
        tags=["x"],
        pretrained_path=None,
        pretrained_backbone_weights="ResNet18_Weights.IMAGENET1K_V1",
    )
    old = tmp_path / "policy_preprocessor_step_3_normalizer_processor.safetensors"
    new = "policy_preprocessor_step_2_normalizer_processor.safetensors"
    save_file({**load_file(old), "timestamp.mean": torch.zeros(1), "action.q99": torch.ones(6)}, tmp_path / new)
    old.unlink()
    change_json(
        tmp_path / "policy_preprocessor.json", steps=[{"registry_name": "normalizer_processor", "state_file": new}]
    )
    loaded, _ = load_pretrained(tmp_path)
    assert loaded.config.pretrained_backbone_weights == "ResNet18_Weights.IMAGENET1K_V1"
    batch = normalised_batch(policy.config)
    assert torch.equal(loaded.predict_action_chunk(batch), policy.predict_action_chunk(batch))


def test_json_that_lerobot_wrote_loads(tmp_path: Path) -> None:
    """config.json and the processors' files of a folder that LeRobot 0.4.4 read from us, and wrote again."""
    policy = lerobot_policy()
    save_pretrained(tmp_path, policy, processor(policy))
    for path in (Path(__file__).parents[1] / "golden" / "act" / "pretrained_model").iterdir():
        assert path.name in LEROBOT_FILES
        (tmp_path / path.name).write_bytes(path.read_bytes())
    loaded, _ = load_pretrained(tmp_path)
    assert loaded.config == policy.config
    batch = normalised_batch(policy.config)
    assert torch.equal(loaded.predict_action_chunk(batch), policy.predict_action_chunk(batch))


def test_half_precision_halves_the_file_and_moves_actions_little(tmp_path: Path) -> None:
    policy = tiny_rtc()
    save_pretrained(tmp_path / "full", policy, processor(policy))
    save_pretrained(tmp_path / "half", policy, processor(policy), half=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.65 * sizes[0]
    loaded, _ = load_pretrained(tmp_path / "half")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    batch = normalised_batch(policy.config)
    assert torch.allclose(loaded.predict_action_chunk(batch), policy.predict_action_chunk(batch), atol=2e-2)


def test_a_compiled_policy_is_saved_under_plain_names(tmp_path: Path) -> None:
    policy = tiny_act()
    plain = set(policy.state_dict())
    batch = normalised_batch(policy.config)
    chunk = policy.predict_action_chunk(batch)
    policy.model = torch.compile(policy.model, backend="eager", fullgraph=True)
    save_pretrained(tmp_path, policy, processor(policy))
    assert set(load_file(tmp_path / "model.safetensors")) == plain
    assert torch.equal(load_pretrained(tmp_path)[0].predict_action_chunk(batch), chunk)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {**t, "model.extra": torch.zeros(1)}, "does not fit its config.json: unknown tensor 'model.extra'$"),
        (lambda t: without(t, "model.action_head.bias"), "missing tensor 'model.action_head.bias'$"),
        (
            lambda t: {**t, "model.action_head.bias": torch.zeros(7)},
            r"tensor 'model.action_head.bias' has shape \(7,\), its configuration asks for \(6,\)$",
        ),
        (lambda t: {}, r"missing tensor 'model.action_head.bias'; .* \(and \d+ more\)$"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(
    change: Callable[[dict], dict], message: str, tmp_path: Path
) -> None:
    policy = tiny_act()
    save_pretrained(tmp_path, policy, processor(policy))
    path = tmp_path / "model.safetensors"
    save_file(change(load_file(path)), path)
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("name", sorted(LEROBOT_FILES))
def test_a_missing_or_damaged_file_is_named(name: str, tmp_path: Path) -> None:
    policy = tiny_act()
    save_pretrained(tmp_path, policy, processor(policy))
    (tmp_path / name).write_bytes(b"\x00 damaged")
    with pytest.raises(CheckpointError, match=f"{name} is (not|damaged: not JSON)"):
        load_pretrained(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} does not exist"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "diffusion"}, "policy type 'diffusion' is unknown; there are: act, act_eval_act, act_rtc"),
        ({"type": None}, "policy type None is unknown"),
        ({"chunk_size": 2}, "n_action_steps is 3; allowed: 1 to chunk_size = 2"),
        (
            {"input_features": {"observation.images.x": {"type": "VISUAL"}}},
            r"config.json is damaged: input_features.observation.images.x.shape is missing",
        ),
        ({"dim_model": "wide"}, "config.json is damaged: dim_model is 'wide'; it must be a whole number"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    policy = tiny_act()
    save_pretrained(tmp_path, policy, processor(policy))
    change_json(tmp_path / "config.json", **changes)
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(tmp_path)


def test_statistics_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    policy = tiny_act()
    save_pretrained(tmp_path, policy, processor(policy))
    path = tmp_path / "policy_preprocessor_step_3_normalizer_processor.safetensors"
    save_file(without(load_file(path), "action.std"), path)
    with pytest.raises(CheckpointError, match="there are no statistics 'std' of 'action'"):
        load_pretrained(tmp_path)


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    policy = tiny_act()
    with torch.no_grad():
        policy.model.action_head.bias.fill_(1e5)
    save_pretrained(tmp_path / "full", policy, processor(policy))
    with pytest.raises(
        CheckpointError, match=r"tensor 'model\.action_head\.bias' holds values .* not finite in torch\.float16"
    ):
        save_pretrained(tmp_path / "half", policy, processor(policy), half=True)
    assert not (tmp_path / "half" / "model.safetensors").exists()


@pytest.mark.parametrize("make", variants())
def test_a_configuration_survives_json(make: Callable[[], Policy]) -> None:
    config = make().config
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config
    fields = {f.name for f in dataclasses.fields(config)}
    assert set(config_to_dict(config)) - {"type"} <= fields


def without(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {k: v for k, v in tensors.items() if k != name}


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
