"""Somebody else's checkpoint: its whole pipeline is applied as LeRobot applies it, or refused by name."""

import json
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_policies import TINY

from act_eval.errors import CheckpointError
from act_eval.policies.act import ACTConfig, ACTPolicy, Feature
from act_eval.policies.checkpoint import load_pretrained, save_pretrained
from act_eval.policies.normalize import Processor
from act_eval.types import ACTION, ENVIRONMENT_STATE, STATE

BEFORE = "policy_preprocessor_step_3_normalizer_processor.safetensors"
AFTER = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"
RAW = {STATE: torch.tensor([[0.3, -0.2]]), ENVIRONMENT_STATE: torch.tensor([[0.5, 0.4]])}
STATS = {
    key: {"mean": [0.1, -0.1 * n], "std": [0.5, 0.1 + n], "min": [-1.0, -2.0], "max": [1.0, 1.5 + n]}
    for n, key in enumerate((STATE, ENVIRONMENT_STATE, ACTION))
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An ACT of joints and goal, without cameras, as LeRobot would save it."""
    plain = {k: v for k, v in TINY.items() if k not in ("backbone_widths", "camera_embedding", "vision_backbone")}
    inputs = {STATE: Feature("STATE", (2,)), ENVIRONMENT_STATE: Feature("ENV", (2,))}
    fields: dict[str, Any] = plain | {"input_features": inputs, "output_features": {ACTION: Feature("ACTION", (2,))}}
    torch.manual_seed(0)
    policy = ACTPolicy(ACTConfig(**fields))
    save_pretrained(tmp_path / "policy", policy, Processor(policy.config, STATS))
    return tmp_path / "policy"


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def edit_step(folder: Path, pipeline: str, number: int, **settings: Any) -> None:
    def change(content: Any) -> Any:
        content["steps"][number]["config"] |= settings
        return content

    edit(folder / f"policy_{pipeline}processor.json", change)


def insert_step(folder: Path, pipeline: str, number: int, **step: Any) -> None:
    def change(content: Any) -> Any:
        content["steps"].insert(number, step)
        return content

    edit(folder / f"policy_{pipeline}processor.json", change)


def edit_tensors(path: Path, **changes: Any) -> None:
    tensors = load_file(path)
    for name, change in changes.items():
        tensors[name.replace("__", ".")] = change(tensors.get(name.replace("__", ".")))
    save_file(tensors, path)


def put(index: int, value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        changed = tensor.clone()
        changed.view(-1)[index] = value
        return changed

    return change


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(folder)
    return str(caught.value)


def lerobots(value: torch.Tensor, mode: str, stats: dict[str, Any], eps: float, inverse: bool = False) -> np.ndarray:
    """`_apply_transform` of LeRobot 0.6.1, src/lerobot/processor/normalize_processor.py, in double precision."""
    x = value.double().numpy()
    if mode == "IDENTITY":
        return x
    if mode == "MEAN_STD":
        mean, std = np.array(stats["mean"]), np.array(stats["std"])
        return x * std + mean if inverse else (x - mean) / (std + eps)
    names = {"MIN_MAX": ("min", "max"), "QUANTILES": ("q01", "q99"), "QUANTILE10": ("q10", "q90")}[mode]
    low, high = (np.array(stats[name]) for name in names)
    return (x + 1) / 2 * (high - low) + low if inverse else 2 * (x - low) / (high - low) - 1


@pytest.mark.parametrize("eps", [1e-8, 0.5])
@pytest.mark.parametrize("mode", ["MEAN_STD", "MIN_MAX", "QUANTILES", "QUANTILE10", "IDENTITY"])
def test_settings_and_statistics_of_each_normaliser_are_applied(folder: Path, mode: str, eps: float) -> None:
    quantiles = {"q01": [-3.0, 1.0], "q99": [3.0, 8.0], "q10": [-2.0, 3.0], "q90": [2.5, 7.0]}
    after = {"mean": [5.0, 4.0], "std": [2.0, 3.0], "min": [-4.0, 0.0], "max": [4.0, 9.0], **quantiles}
    edit_tensors(folder / BEFORE, **{f"{STATE}.{n}": lambda _, v=v: torch.tensor(v) for n, v in quantiles.items()})
    edit_step(
        folder, "pre", 3, eps=eps, norm_map={"STATE": mode, "ENV": "MEAN_STD"}, normalize_observation_keys=[STATE]
    )
    edit_step(folder, "post", 0, eps=eps, norm_map={"ACTION": mode})
    edit_tensors(folder / AFTER, **{f"action__{name}": lambda _, v=v: torch.tensor(v) for name, v in after.items()})
    policy, processor = load_pretrained(folder)
    batch = processor.prepare(RAW)
    assert np.allclose(batch[STATE], lerobots(RAW[STATE], mode, STATS[STATE] | quantiles, eps), atol=1e-5)
    assert torch.equal(batch[ENVIRONMENT_STATE], RAW[ENVIRONMENT_STATE])  # not among normalize_observation_keys
    chunk = policy.predict_action_chunk(batch)
    assert np.allclose(processor.restore(chunk), lerobots(chunk, mode, after, eps, inverse=True), atol=1e-5)


def test_a_feature_that_the_normaliser_does_not_list_stays_as_it_is(folder: Path) -> None:
    edit_step(folder, "pre", 3, features={STATE: {"type": "ENV", "shape": [2]}}, norm_map={"ENV": "MIN_MAX"})
    batch = load_pretrained(folder)[1].prepare(RAW)
    assert np.allclose(batch[STATE], lerobots(RAW[STATE], "MIN_MAX", STATS[STATE], 0), atol=1e-5)
    assert torch.equal(batch[ENVIRONMENT_STATE], RAW[ENVIRONMENT_STATE])


def test_saving_again_keeps_settings_and_statistics(folder: Path, tmp_path: Path) -> None:
    edit_step(folder, "pre", 3, eps=0.5, normalize_observation_keys=[STATE])
    edit_tensors(folder / AFTER, action__mean=lambda mean: mean + 5)
    policy, processor = load_pretrained(folder)
    save_pretrained(tmp_path / "again", policy, processor)
    for name in ("policy_preprocessor.json", "policy_postprocessor.json"):
        assert json.loads((tmp_path / "again" / name).read_text()) == json.loads((folder / name).read_text())
    for name in (BEFORE, AFTER):
        again, first = load_file(tmp_path / "again" / name), load_file(folder / name)
        assert again.keys() == first.keys()
        assert all(torch.equal(again[key], first[key]) for key in first)


def test_steps_that_change_nothing_pass(folder: Path) -> None:
    expected = load_pretrained(folder)[1].prepare(RAW)
    renamed = {"observation.images.front": "observation.images.top", STATE: STATE}
    edit_step(folder, "pre", 0, rename_map=renamed)
    edit_step(folder, "pre", 2, device="cuda", float_dtype="float32")
    off = {"enabled": False, "exclude_joints": ["gripper"], "action_names": None}
    insert_step(folder, "pre", 3, registry_name="relative_actions_processor", config=off)
    insert_step(folder, "post", 1, registry_name="absolute_actions_processor", config={"enabled": False})
    batch = load_pretrained(folder)[1].prepare(RAW)
    assert all(torch.equal(batch[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: edit_step(f, "pre", 0, rename_map={STATE: ENVIRONMENT_STATE, ENVIRONMENT_STATE: STATE}),
            "preprocessor.json, step 0 is 'rename_observations_processor' with rename_map = {'observation.state'",
        ),
        (
            lambda f: edit_step(f, "pre", 0, rename_map={"observation.pose": STATE}),
            "with rename_map = {'observation.pose': 'observation.state'}, which act_eval does not apply",
        ),
        (
            lambda f: edit_step(f, "pre", 0, rename_map=[["a", "b"]]),
            "'rename_observations_processor' with rename_map = [['a', 'b']]",
        ),
        (
            lambda f: edit_step(f, "pre", 2, float_dtype="bfloat16"),
            "step 2 is 'device_processor' with float_dtype = 'bfloat16', which act_eval does not apply",
        ),
        (
            lambda f: insert_step(f, "pre", 3, registry_name="relative_actions_processor", config={"enabled": True}),
            "policy_preprocessor.json, step 3 is 'relative_actions_processor' with enabled = True",
        ),
        (
            lambda f: insert_step(f, "post", 1, registry_name="absolute_actions_processor", config={"enabled": True}),
            "policy_postprocessor.json, step 1 is 'absolute_actions_processor' with enabled = True",
        ),
        (
            lambda f: insert_step(f, "pre", 1, registry_name="tokenizer_processor", config={"max_length": 48}),
            "step 1 is 'tokenizer_processor', which act_eval does not know",
        ),
        (
            lambda f: insert_step(f, "post", 0, **{"class": "my_code.Clip", "config": {"low": -1}}),
            "policy_postprocessor.json, step 0 is 'my_code.Clip', which act_eval does not run",
        ),
        (
            lambda f: insert_step(f, "pre", 0, registry_name="to_batch_processor", config={"copies": 2}),
            "'to_batch_processor' with copies = 2",
        ),
        (
            lambda f: edit_step(f, "pre", 3, clip=5.0),
            "step 3, 'normalizer_processor' is damaged: clip is unknown; the fields are eps, features, norm_map",
        ),
        (lambda f: edit_step(f, "pre", 3, eps=-1.0), "'normalizer_processor': eps is -1.0; it must be at least 0"),
        (
            lambda f: edit_step(f, "post", 0, norm_map={"ACTION": "RANKS"}),
            "norm_map.ACTION is 'RANKS'; it must be one of 'MEAN_STD', 'MIN_MAX', 'QUANTILES', 'QUANTILE10', ",
        ),
        (
            lambda f: edit_step(f, "post", 0, norm_map={"ACTION": "QUANTILES"}),
            "there are no statistics 'q01' of 'action'; given are ['max', 'mean', 'min', 'std']",
        ),
        (
            lambda f: edit(f / "policy_preprocessor.json", lambda c: c | {"steps": c["steps"] + c["steps"][3:]}),
            "policy_preprocessor.json has 2 steps 'normalizer_processor' with a state_file; it must have one",
        ),
        (
            lambda f: edit(f / "policy_postprocessor.json", lambda c: c | {"steps": c["steps"][1:]}),
            "policy_postprocessor.json has 0 steps 'unnormalizer_processor' with a state_file; it must have one",
        ),
        (
            lambda f: edit(f / "config.json", lambda c: c | {"use_depth": True}),
            "config.json: use_depth is True, a field of type 'act' that act_eval does not know",
        ),
    ],
)
def test_what_is_not_applied_is_refused_by_step_and_setting(
    folder: Path, change: Callable[[Path], None], message: str
) -> None:
    change(folder)
    assert message in refusal(folder)


@pytest.mark.parametrize("content", ["[]", "3", '{"steps": {"0": {}}}', '{"steps": [3]}', '{"steps": [{}]}', "{", ""])
@pytest.mark.parametrize("name", ["policy_preprocessor.json", "policy_postprocessor.json"])
def test_processor_files_of_any_shape_are_refused_by_name(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    assert f"policy/{name}" in refusal(folder)


@pytest.mark.parametrize(
    "entry", [{"registry_name": 5}, {"registry_name": "to_batch_processor", "config": [1]}, {"class": 3}]
)
def test_steps_of_any_shape_are_refused_by_number(folder: Path, entry: dict[str, Any]) -> None:
    insert_step(folder, "pre", 1, **entry)
    assert "policy_preprocessor.json, step 1 is " in refusal(folder)


@pytest.mark.parametrize(
    ("file", "key", "index", "value", "message"),
    [
        (
            BEFORE,
            f"{STATE}.mean",
            1,
            np.nan,
            "'mean' of 'observation.state' is nan at index [1]; statistics must be fin",
        ),
        (BEFORE, f"{ENVIRONMENT_STATE}.std", 0, np.inf, "'std' of 'observation.environment_state' is inf at index [0]"),
        (BEFORE, f"{STATE}.std", 1, 0.0, "'std' of 'observation.state' is 0 at index [1]; a deviation must be above 0"),
        (AFTER, "action.std", 0, -0.5, "'std' of 'action' is -0.5 at index [0]; a deviation must be above 0"),
        (
            "model.safetensors",
            "model.action_head.weight",
            33,
            np.nan,
            "'model.action_head.weight' is nan at index [1, 1]",
        ),
        ("model.safetensors", "model.action_head.bias", 0, -np.inf, "'model.action_head.bias' is -inf at index [0]"),
    ],
)
def test_numbers_that_nothing_can_be_computed_with_are_refused(
    folder: Path, file: str, key: str, index: int, value: float, message: str
) -> None:
    edit_tensors(folder / file, **{key: put(index, value)})
    found = refusal(folder)
    assert file in found
    assert message in found


def test_a_range_of_zero_is_refused(folder: Path) -> None:
    edit_step(folder, "post", 0, norm_map={"ACTION": "MIN_MAX"})
    edit_tensors(folder / AFTER, action__max=put(1, -2.0))
    assert "'max - min' of 'action' is 0 at index [1]; a range must be above 0" in refusal(folder)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_numbers_of_any_precision_load(folder: Path, dtype: torch.dtype) -> None:
    expected = load_pretrained(folder)[1].prepare(RAW)
    for name in (BEFORE, AFTER, "model.safetensors"):
        save_file({key: value.to(dtype) for key, value in load_file(folder / name).items()}, folder / name)
    batch = load_pretrained(folder)[1].prepare(RAW)
    assert all(torch.allclose(batch[key], expected[key], atol=0.02) for key in expected)


def test_complex_weights_are_refused(folder: Path) -> None:
    edit_tensors(folder / "model.safetensors", **{"model.action_head.bias": lambda bias: bias.to(torch.complex64)})
    assert "tensor 'model.action_head.bias' is of type torch.complex64; it must hold real numbers" in refusal(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"dim_model": 32768, "dim_feedforward": 131072},
        {"n_encoder_layers": 10**6},
        {"chunk_size": 10**6, "n_action_steps": 1},
        {"latent_dim": 10**6},
    ],
)
def test_sizes_are_compared_with_the_header_before_memory_is_taken(folder: Path, changes: dict[str, int]) -> None:
    edit(folder / "config.json", lambda content: content | changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "model.safetensors does not fit its config.json" in refusal(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # 256 MiB, in KiB


def test_older_layouts_name_their_age_and_the_way(folder: Path) -> None:
    way = "python -m lerobot.processor.migrate_policy_normalization --pretrained-path"
    weights = load_file(folder / "model.safetensors")
    old = {"normalize_inputs.buffer_observation_state.mean": torch.zeros(2)}
    save_file(weights | old, folder / "model.safetensors")
    assert "is of LeRobot from before 0.4 (September 2025): statistics are among its weights" in refusal(folder)
    assert way in refusal(folder)
    save_file(weights, folder / "model.safetensors")
    (folder / "policy_preprocessor.json").unlink()
    assert "policy_preprocessor.json does not exist: the checkpoint is incomplete, or" in refusal(folder)
    assert way in refusal(folder)
    edit(folder / "config.json", lambda _: {"input_shapes": {}, "chunk_size": 100})
    assert "config.json is of LeRobot from before 2025 (input_shapes, no type)" in refusal(folder)


def test_another_kind_of_policy_names_the_way_that_runs_it(folder: Path) -> None:
    edit(folder / "config.json", lambda content: content | {"type": "diffusion"})
    assert "Others run through a Python class (--policy module:factory) or a server (--policy ws://" in refusal(folder)


@pytest.mark.parametrize("name", [BEFORE, AFTER, "model.safetensors", "policy_preprocessor.json", "config.json"])
def test_no_damage_is_a_traceback(folder: Path, name: str) -> None:
    path, rng = folder / name, np.random.default_rng(0)
    whole = path.read_bytes()
    for number in range(40):
        damaged = bytearray(whole)
        for place in rng.integers(min(len(whole), 2000), size=1 + number % 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(bytes(damaged[: rng.integers(len(damaged))] if number % 8 == 0 else damaged))
        with suppress(CheckpointError):  # a changed weight may be a weight
            load_pretrained(folder)


@pytest.mark.parametrize("value", [-1, 0, 1.5, 2**62, "x", None, [], {}, [0], [-1], [3, 0, 0], [3, 10**6, 10**6]])
def test_no_number_of_a_configuration_is_a_traceback(folder: Path, value: Any) -> None:
    whole = json.loads((folder / "config.json").read_text())
    shape = {"observation.state": {"type": "STATE", "shape": value}, "observation.images.a": {"type": "VISUAL"}}
    shape["observation.images.a"]["shape"] = value
    for name in whole:
        edit(folder / "config.json", lambda _, name=name: whole | {name: value})
        with suppress(CheckpointError):  # some of them are allowed
            load_pretrained(folder)
    for name, feature in shape.items():
        edit(folder / "config.json", lambda _, one={name: feature}: whole | {"input_features": one})
        refusal(folder)
