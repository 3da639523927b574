"""Checkpoints in LeRobot's `pretrained_model/` layout: JSON and safetensors, never pickle.

config.json · model.safetensors · policy_preprocessor.json and its normaliser's statistics · policy_postprocessor.json
and its unnormaliser's. `act_eval.json` beside them holds what LeRobot has no place for (training, data, measurements).
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from act_eval.decoding import JSON, build, read_json
from act_eval.errors import CheckpointError
from act_eval.policies.act.config import ACTConfig
from act_eval.policies.act.policy import ACTPolicy
from act_eval.policies.normalize import Processor
from act_eval.policies.pipeline import MIGRATION, read_processor, write_pipelines
from act_eval.policies.rtc import ACTRTCConfig, ACTRTCPolicy
from act_eval.policies.tensor_files import check_weights, read_shapes, read_tensors, write_json, write_tensors

CONFIG_FILE = "config.json"
MODEL_FILE = "model.safetensors"
EXTRA_FILE = "act_eval.json"
_OLD_BUFFERS = ("normalize_inputs.", "normalize_targets.", "unnormalize_outputs.")

Policy = ACTPolicy | ACTRTCPolicy
_POSITIONS = 2**22
"""Numbers in the positions of a chunk's steps that a file which holds fewer may ask for: they do take memory."""
_LEROBOTS = {
    *("type", "device", "use_amp", "push_to_hub", "repo_id", "private", "tags", "license"),
    *("pretrained_path", "pretrained_revision"),
}
"""Fields of every policy of LeRobot that do not describe the network."""
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
    write_tensors(folder / MODEL_FILE, _stored(policy, half), metadata={"format": "pt"})
    write_json(folder / CONFIG_FILE, config_to_dict(policy.config))
    write_pipelines(folder, processor)
    if extra is not None:
        write_json(folder / EXTRA_FILE, dict(extra))


def export_lerobot(folder: Path, policy: Policy, processor: Processor, half: bool = False) -> None:
    """Write a policy that LeRobot itself can load; see `save_pretrained`.

    Raises:
        CheckpointError: naming the fields that LeRobot's ACT cannot express.
    """
    if lacks := beyond_lerobot(policy.config):
        raise CheckpointError(f"a policy of type {policy.config.type!r} is no LeRobot ACT: {lacks}")
    save_pretrained(folder, policy, processor, half=half)


def beyond_lerobot(config: ACTConfig) -> str | None:
    """Return the fields that LeRobot's ACT cannot express, with their values; None if it can express all."""
    if config.type == "act":
        return None
    # RTC fields have meaning at any value, so the type decides and the fields explain.
    named = config.beyond_lerobot() or [f for f in config.added_fields if f.startswith("rtc_")]
    return ", ".join(f"{name} = {getattr(config, name)!r}" for name in named)


def fresh_policy(config: ACTConfig, backbone_weights: bool = True) -> Policy:
    """Return a policy with random weights, with the backbone's pretrained ones if configured."""
    if isinstance(config, ACTRTCConfig):
        return ACTRTCPolicy(config, backbone_weights)
    return ACTPolicy(config, backbone_weights)


def load_pretrained(folder: Path, device: str | torch.device = "cpu") -> tuple[Policy, Processor]:
    """Read a policy, ours or LeRobot's ACT, in evaluation mode, with its normaliser.

    Raises:
        CheckpointError: if a file is missing or malformed, a tensor is unknown, missing, wrongly shaped or not finite,
            or a step of the processors cannot be applied.
    """
    config, path = load_config(folder), folder / MODEL_FILE
    _check_file(path, read_shapes(path), config)
    processor = read_processor(folder, config)
    weights = read_tensors(path)
    check_weights(path, weights)
    policy = fresh_policy(config, backbone_weights=False)
    policy.load_state_dict(weights)
    return policy.to(device).eval(), processor.to(device).eval()


def load_config(folder: Path) -> ACTConfig:
    """Read config.json.

    Raises:
        CheckpointError: if the file is missing, malformed, of an unknown type or outside what is allowed.
    """
    path = folder / CONFIG_FILE
    return config_from_dict(_read_object(path), where=str(path))


def load_extra(folder: Path) -> dict[str, Any]:
    """Read `act_eval.json`; empty where there is none."""
    path = folder / EXTRA_FILE
    return _read_object(path) if path.exists() else {}


@dataclass(frozen=True)
class _DataPart:
    fps: float | None = None

    def __post_init__(self) -> None:
        if self.fps is not None and self.fps <= 0:
            raise CheckpointError(f"fps is {self.fps}; it must be above 0")


@dataclass(frozen=True)
class _Training:
    data: tuple[_DataPart, ...] = ()


@dataclass(frozen=True)
class _Extra:
    training: _Training | None = None


def trained_rates(folder: Path) -> tuple[float, ...]:
    """Return the different frame rates of a checkpoint's training data [Hz]; none where they were not kept.

    Raises:
        CheckpointError: if a rate is not above 0.
    """
    extra = build(
        _Extra, load_extra(folder), str(folder / EXTRA_FILE), CheckpointError, ignore_unknown=True, use_defaults=True
    )
    parts = () if extra.training is None else extra.training.data
    return tuple(sorted({part.fps for part in parts if part.fps is not None}))


def config_to_dict(config: ACTConfig) -> dict[str, Any]:
    """Return a configuration as JSON values, with its `type`; what LeRobot does not know only where it is used."""
    values = {"type": config.type, **dataclasses.asdict(config)}
    if config.type == "act":
        for name in config.added_fields:
            del values[name]
    return json.loads(json.dumps(values))


def config_from_dict(values: Mapping[str, Any], where: str = CONFIG_FILE) -> ACTConfig:
    """Return the configuration that `values` describe; see `load_config`.

    What LeRobot keeps beside a network's configuration is left out, and so is any other field that is switched off.
    """
    kind = values.get("type")
    if kind is None and "input_shapes" in values:
        raise CheckpointError(f"{where} is of LeRobot from before 2025 (input_shapes, no type). {MIGRATION}")
    if not isinstance(kind, str) or kind not in _CONFIGS:
        raise CheckpointError(
            f"{where}: policy type {kind!r} is unknown; there are: {', '.join(sorted(_CONFIGS))}. Others run "
            "through a Python class (--policy module:factory) or a server (--policy ws://host:port): docs/own-policy.md"
        )
    known = {field.name for field in dataclasses.fields(_CONFIGS[kind])}
    entries = {name: value for name, value in values.items() if name in known}
    for name in sorted(values.keys() - known - _LEROBOTS):
        if values[name] not in (None, False, "", [], {}):
            raise CheckpointError(
                f"{where}: {name} is {ascii(values[name])[:80]}, a field of type {kind!r} that act_eval does not know; "
                "if it does not change the policy's commands, take it out"
            )
    dilation = "replace_final_stride_with_dilation"
    if type(entries.get(dilation)) is int and entries[dilation] in (0, 1):
        entries[dilation] = bool(entries[dilation])  # LeRobot annotates this flag as a whole number
    return build(_CONFIGS[kind], entries, where, CheckpointError, use_defaults=True)


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


def _check_file(path: Path, found: Mapping[str, tuple[int, ...]], config: ACTConfig) -> None:
    """Refuse a file of an older kind, or one that does not fit its configuration, before memory is taken."""
    old = next((name for name in found if name.startswith(_OLD_BUFFERS)), None)
    if old is not None:
        raise CheckpointError(
            f"{path} is of LeRobot from before 0.4 (September 2025): statistics are among its weights ({old}). "
            f"{MIGRATION}"
        )
    numbers = sum(math.prod(shape) for shape in found.values())
    layers = config.n_encoder_layers + config.n_decoder_layers + config.n_vae_encoder_layers + config.vit_layers
    if layers + len(config.backbone_widths) > 20 + len(found):
        raise CheckpointError(f"{path} does not fit its {CONFIG_FILE}: {layers} layers, and {len(found)} tensors")
    positions = config.chunk_size * config.dim_model
    if positions > max(numbers, _POSITIONS):
        raise CheckpointError(
            f"{path} does not fit its {CONFIG_FILE}: {numbers} numbers, and chunks of {config.chunk_size}"
        )
    with _Weightless():
        _check_shapes(path, found, fresh_policy(config, backbone_weights=False))


class _Weightless(TorchFunctionMode):
    """Build a network whose weights take no memory.

    Only weights: for the arithmetic of other buffers, PyTorch's meta device imports the compiler (a second).
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty:
            kwargs = kwargs | {"device": "meta"}
        elif getattr(func, "__module__", "") == "torch.nn.init":  # passes its tensor by name
            return kwargs["tensor"]
        elif func in (Tensor.normal_, Tensor.uniform_) and args[0].is_meta:
            return args[0]
        return func(*args, **kwargs)


def _check_shapes(path: Path, found: Mapping[str, tuple[int, ...]], policy: Policy) -> None:
    """Refuse tensors that do not fit a network."""
    wanted = {name: tuple(tensor.shape) for name, tensor in policy.state_dict().items()}
    problems = [f"unknown tensor {name!r}" for name in sorted(found.keys() - wanted.keys())]
    problems += [f"missing tensor {name!r}" for name in sorted(wanted.keys() - found.keys())]
    problems += [
        f"tensor {name!r} has shape {found[name]}, its configuration asks for {wanted[name]}"
        for name in sorted(found.keys() & wanted.keys())
        if found[name] != wanted[name]
    ]
    if problems:
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise CheckpointError(f"{path} does not fit its {CONFIG_FILE}: {'; '.join(problems[:5])}{more}")


def _read_object(path: Path) -> JSON:
    return read_json(path, JSON, CheckpointError, missing=f"checkpoint file {path} does not exist")
