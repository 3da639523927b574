"""Checkpoints in LeRobot's `pretrained_model/` layout: JSON and safetensors, never pickle.

config.json · model.safetensors · policy_preprocessor.json and its normaliser's statistics · policy_postprocessor.json
and its unnormaliser's. `act_eval.json` beside them holds what LeRobot has no place for (training, data, measurements).
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from act_eval.decoding import JSON, build, read_json
from act_eval.errors import CheckpointError, FeatureMismatch
from act_eval.policies.act.config import ACTConfig, Feature
from act_eval.policies.act.policy import ACTPolicy
from act_eval.policies.normalize import Processor
from act_eval.policies.rtc import ACTRTCConfig, ACTRTCPolicy

CONFIG_FILE = "config.json"
MODEL_FILE = "model.safetensors"
EXTRA_FILE = "act_eval.json"
PREPROCESSOR = "policy_preprocessor"
POSTPROCESSOR = "policy_postprocessor"
NORMALIZER_FILE = f"{PREPROCESSOR}_step_3_normalizer_processor.safetensors"
UNNORMALIZER_FILE = f"{POSTPROCESSOR}_step_0_unnormalizer_processor.safetensors"

Policy = ACTPolicy | ACTRTCPolicy
_Kind = TypeVar("_Kind")
_CONFIGS: Mapping[str, type[ACTConfig]] = {"act": ACTConfig, "act_eval_act": ACTConfig, "act_rtc": ACTRTCConfig}


def save_pretrained(
    folder: Path, policy: Policy, processor: Processor, extra: Mapping[str, Any] | None = None, half: bool = False
) -> None:
    """Write a policy with its normaliser.

    Args:
        folder: created where it is missing; files of an earlier checkpoint are replaced.
        policy: compiled or not; keys are those of the plain model.
        processor: its normaliser.
        extra: JSON values kept in `act_eval.json`.
        half: store the weights as float16 (they are loaded as float32); half the size.

    Raises:
        CheckpointError: if a weight is not finite, or too large for float16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_stored(policy, half), folder / MODEL_FILE, metadata={"format": "pt"})
    _write_json(folder / CONFIG_FILE, config_to_dict(policy.config))
    statistics = {f"{k}.{n}": v.contiguous().cpu() for k, of in processor.stats().items() for n, v in of.items()}
    for name in (NORMALIZER_FILE, UNNORMALIZER_FILE):
        save_file(statistics, folder / name)
    _write_json(folder / f"{PREPROCESSOR}.json", _preprocessor(policy.config))
    _write_json(folder / f"{POSTPROCESSOR}.json", _postprocessor(policy.config))
    if extra is not None:
        _write_json(folder / EXTRA_FILE, dict(extra))


def export_lerobot(folder: Path, policy: Policy, processor: Processor) -> None:
    """Write a policy that LeRobot itself can load.

    Raises:
        CheckpointError: naming the fields that LeRobot's ACT cannot express.
    """
    beyond = policy.config.beyond_lerobot()
    if policy.config.type != "act":
        # RTC fields have meaning at any value, so the type decides and the fields explain.
        named = beyond or [f for f in policy.config.added_fields if f.startswith("rtc_")]
        values = ", ".join(f"{name} = {getattr(policy.config, name)!r}" for name in named)
        raise CheckpointError(f"a policy of type {policy.config.type!r} is no LeRobot ACT: {values}")
    save_pretrained(folder, policy, processor)


def load_pretrained(folder: Path, device: str | torch.device = "cpu") -> tuple[Policy, Processor]:
    """Read a policy, ours or LeRobot's ACT, in evaluation mode, with its normaliser.

    Raises:
        CheckpointError: if a file is missing or malformed, or a tensor is unknown, missing or wrongly shaped.
    """
    config = load_config(folder)
    policy = (
        ACTRTCPolicy(config, load_backbone_weights=False)
        if isinstance(config, ACTRTCConfig)
        else ACTPolicy(config, load_backbone_weights=False)
    )
    weights = _read_tensors(folder / MODEL_FILE)
    _check_tensors(folder / MODEL_FILE, weights, policy.state_dict())
    policy.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    try:
        processor = Processor(config, load_stats(folder))
    except FeatureMismatch as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return policy.to(device).eval(), processor.to(device).eval()


def load_config(folder: Path) -> ACTConfig:
    """Read config.json; keys that act_eval does not know (LeRobot's, of other versions) are left out.

    Raises:
        CheckpointError: if the file is missing, malformed, of an unknown type or outside what is allowed.
    """
    return config_from_dict(_read_json(folder / CONFIG_FILE, JSON), where=str(folder / CONFIG_FILE))


def load_extra(folder: Path) -> dict[str, Any]:
    """Read `act_eval.json`; empty where there is none."""
    path = folder / EXTRA_FILE
    return _read_json(path, JSON) if path.exists() else {}


def config_to_dict(config: ACTConfig) -> dict[str, Any]:
    """Return a configuration as JSON values, with its `type`; what LeRobot does not know only where it is used."""
    values = {"type": config.type, **dataclasses.asdict(config)}
    if config.type == "act":
        for name in config.added_fields:
            del values[name]
    return json.loads(json.dumps(values))


def config_from_dict(values: Mapping[str, Any], where: str = CONFIG_FILE) -> ACTConfig:
    """Return the configuration that `values` describe; see `load_config`."""
    kind = values.get("type")
    if not isinstance(kind, str) or kind not in _CONFIGS:
        raise CheckpointError(f"{where}: policy type {kind!r} is unknown; there are: {', '.join(sorted(_CONFIGS))}")
    entries = dict(values)
    dilation = "replace_final_stride_with_dilation"
    if type(entries.get(dilation)) is int and entries[dilation] in (0, 1):
        entries[dilation] = bool(entries[dilation])  # LeRobot annotates this flag as a whole number
    return build(_CONFIGS[kind], entries, where, CheckpointError, ignore_unknown=True, use_defaults=True)


def _stored(policy: Policy, half: bool) -> dict[str, Tensor]:
    dtype = torch.float16 if half else torch.float32
    result: dict[str, Tensor] = {}
    for name, tensor in policy.state_dict().items():
        plain = name.replace("_orig_mod.", "")
        stored = tensor.detach().to("cpu", dtype).contiguous()
        if not bool(stored.isfinite().all()):
            raise CheckpointError(f"tensor {plain!r} holds values that are not finite in {dtype}; nothing was saved")
        result[plain] = stored
    return result


def _check_tensors(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    problems = [f"unknown tensor {name!r}" for name in sorted(found.keys() - wanted.keys())]
    problems += [f"missing tensor {name!r}" for name in sorted(wanted.keys() - found.keys())]
    for name in sorted(found.keys() & wanted.keys()):
        if found[name].shape != wanted[name].shape:
            got, want = tuple(found[name].shape), tuple(wanted[name].shape)
            problems.append(f"tensor {name!r} has shape {got}, its configuration asks for {want}")
    if problems:
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise CheckpointError(f"{path} does not fit its {CONFIG_FILE}: {'; '.join(problems[:5])}{more}")


def load_stats(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the statistics of a checkpoint's normaliser, {feature: {name: array}}.

    Raises:
        CheckpointError: if a file is missing or malformed.
    """
    stats: dict[str, dict[str, Any]] = {}
    for name, tensor in _read_tensors(folder / _normalizer_state(folder)).items():
        feature, _, stat = name.rpartition(".")
        stats.setdefault(feature, {})[stat] = tensor.numpy()
    return stats


@dataclass(frozen=True)
class _Step:
    """One step of LeRobot's processor pipelines."""

    registry_name: str = ""
    state_file: str | None = None


@dataclass(frozen=True)
class _Pipeline:
    steps: tuple[_Step, ...] = ()


def _normalizer_state(folder: Path) -> str:
    """Return the file that the preprocessor's normaliser names; LeRobot's step number has changed over time."""
    path = folder / f"{PREPROCESSOR}.json"
    for step in _read_json(path, _Pipeline).steps:
        if step.registry_name == "normalizer_processor" and step.state_file is not None:
            return Path(step.state_file).name  # never outside the folder
    raise CheckpointError(f"{path} names no normalizer_processor with a state_file")


def _preprocessor(config: ACTConfig) -> dict[str, Any]:
    features = _features({**config.input_features, **config.output_features})
    return {
        "name": PREPROCESSOR,
        "steps": [
            {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
            {"registry_name": "to_batch_processor", "config": {}},
            {"registry_name": "device_processor", "config": {"device": "cpu", "float_dtype": None}},
            _norm_step("normalizer_processor", config, features, NORMALIZER_FILE),
        ],
    }


def _postprocessor(config: ACTConfig) -> dict[str, Any]:
    return {
        "name": POSTPROCESSOR,
        "steps": [
            _norm_step("unnormalizer_processor", config, _features(config.output_features), UNNORMALIZER_FILE),
            {"registry_name": "device_processor", "config": {"device": "cpu", "float_dtype": None}},
        ],
    }


def _norm_step(name: str, config: ACTConfig, features: dict[str, Any], state_file: str) -> dict[str, Any]:
    norm_map = dict(config.normalization_mapping)
    return {
        "registry_name": name,
        "config": {"eps": 1e-8, "features": features, "norm_map": norm_map},
        "state_file": state_file,
    }


def _features(features: Mapping[str, Feature]) -> dict[str, Any]:
    return {key: {"type": f.type, "shape": list(f.shape)} for key, f in features.items()}


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"checkpoint file {path} does not exist")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from error


def _read_json(path: Path, kind: type[_Kind]) -> _Kind:
    missing = f"checkpoint file {path} does not exist"
    return read_json(path, kind, CheckpointError, missing=missing, ignore_unknown=True, use_defaults=True)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
