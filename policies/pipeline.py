"""LeRobot's processor pipelines of a checkpoint: all of it is applied, or refused by the name of the step.

A step that leaves observations and commands as they are passes; the normaliser before the network and the one behind
it are applied with their own settings and statistics. LeRobot 0.4.4 to 0.6.1: `src/lerobot/processor/pipeline.py`,
`src/lerobot/policies/act/processor_act.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from act_eval.decoding import JSON, build, read_json
from act_eval.defects import describe_value
from act_eval.errors import CheckpointError, FeatureMismatch
from act_eval.policies.act.config import ACTConfig, Feature
from act_eval.policies.normalize import Normalizer, NormSettings, Processor
from act_eval.policies.tensor_files import read_tensors, write_json, write_tensors

BEFORE, AFTER = "policy_preprocessor", "policy_postprocessor"
_NORMALIZER, _UNNORMALIZER = "normalizer_processor", "unnormalizer_processor"
_OTHERWISE = (
    "take the step out where the checkpoint was made, or run the policy with LeRobot's own pipeline, through a Python "
    "class or a server (docs/own-policy.md, LeRobot)"
)


def _renames_nothing(value: Any, inputs: Mapping[str, Feature]) -> bool:
    return isinstance(value, dict) and not any(
        old != new and not (isinstance(new, str) and old not in inputs and new not in inputs)
        for old, new in value.items()
    )


_Harmless = Callable[[Any, Mapping[str, Feature]], bool]
"""(value of a setting, the network's inputs) → whether observations and commands stay as they are."""
_PASSING: Mapping[str, Mapping[str, _Harmless]] = {
    "rename_observations_processor": {"rename_map": _renames_nothing},
    "to_batch_processor": {},
    "device_processor": {
        "device": lambda value, _: isinstance(value, str),
        "float_dtype": lambda value, _: value in (None, "float32", "float"),
    },
    "relative_actions_processor": {
        "enabled": lambda value, _: value is False,
        "exclude_joints": lambda *_: True,
        "action_names": lambda *_: True,
    },
    "absolute_actions_processor": {"enabled": lambda value, _: value is False},
}
"""Steps that pass, and the condition on each of their settings."""


@dataclass(frozen=True)
class _Step:
    """One step; `class` in place of `registry_name` is user's code."""

    registry_name: str
    config: JSON = field(default_factory=dict)
    state_file: str | None = None


@dataclass(frozen=True)
class _Pipeline:
    name: str = ""
    steps: tuple[JSON, ...] = ()


def read_processor(folder: Path, config: ACTConfig) -> Processor:
    """Return what both pipelines of a checkpoint do.

    Raises:
        CheckpointError: naming the file and the step, setting or statistic that cannot be applied.
    """
    before = _read_normalizer(folder, config, BEFORE, _NORMALIZER)
    return Processor(config, before, _read_normalizer(folder, config, AFTER, _UNNORMALIZER))


def write_pipelines(folder: Path, processor: Processor) -> None:
    """Write both pipelines with their statistics, as LeRobot does."""
    device = {"registry_name": "device_processor", "config": {"device": "cpu", "float_dtype": None}}
    before = [
        {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
        {"registry_name": "to_batch_processor", "config": {}},
        device,
        _written(folder, f"{BEFORE}_step_3_{_NORMALIZER}", processor.before, _NORMALIZER),
    ]
    outputs = processor.config.output_features if processor.after is processor.before else None
    after = [_written(folder, f"{AFTER}_step_0_{_UNNORMALIZER}", processor.after, _UNNORMALIZER, outputs), device]
    for name, steps in ((BEFORE, before), (AFTER, after)):
        write_json(folder / f"{name}.json", {"name": name, "steps": steps})


def _written(
    folder: Path, name: str, normalizer: Normalizer, kind: str, features: Mapping[str, Feature] | None = None
) -> JSON:
    """Write a normaliser's statistics; return its step."""
    file = f"{name}.safetensors"
    write_tensors(folder / file, {f"{k}.{n}": v for k, of in normalizer.stats().items() for n, v in of.items()})
    settings = asdict(normalizer.settings)
    if features is not None:
        settings["features"] = {key: asdict(feature) for key, feature in features.items()}
    if settings["normalize_observation_keys"] is None:
        del settings["normalize_observation_keys"]
    return {"registry_name": kind, "config": settings, "state_file": file}


def _read_normalizer(folder: Path, config: ACTConfig, name: str, kind: str) -> Normalizer:
    """Return the one normaliser of a pipeline, after checking that every other step changes nothing."""
    path = folder / f"{name}.json"
    pipeline = read_json(path, _Pipeline, CheckpointError, missing=_missing(path), use_defaults=True)
    found: list[Normalizer] = []
    for number, entry in enumerate(pipeline.steps):
        where = f"{path}, step {number}"
        if "registry_name" not in entry:
            author = describe_value(entry.get("class"))
            raise CheckpointError(f"{where} is {author}, which act_eval does not run; {_OTHERWISE}")
        step = build(_Step, entry, where, CheckpointError, use_defaults=True)
        if step.registry_name == kind and step.state_file is not None:
            found.append(_normalizer(folder, config, step, f"{where}, {kind!r}"))
        else:
            _refuse_changes(step, config, where)
    if len(found) != 1:
        raise CheckpointError(f"{path} has {len(found)} steps {kind!r} with a state_file; it must have one")
    return found[0]


def _normalizer(folder: Path, config: ACTConfig, step: _Step, where: str) -> Normalizer:
    settings = NormSettings.of(config)
    if step.config:
        settings = build(NormSettings, step.config, where, CheckpointError, use_defaults=True)
    file = folder / Path(step.state_file or "").name  # never outside the folder
    stats: dict[str, dict[str, Any]] = {}
    for name, tensor in read_tensors(file).items():
        feature, _, statistic = name.rpartition(".")
        stats.setdefault(feature, {})[statistic] = tensor.numpy()
    try:
        return Normalizer(settings, {**config.input_features, **config.output_features}, stats)
    except FeatureMismatch as error:
        raise CheckpointError(f"{file}: {error}") from error


def _refuse_changes(step: _Step, config: ACTConfig, where: str) -> None:
    """Refuse a step that could change observations or commands.

    Raises:
        CheckpointError: naming the step and its setting.
    """
    passing = _PASSING.get(step.registry_name)
    if passing is None:
        raise CheckpointError(f"{where} is {step.registry_name!r}, which act_eval does not know; {_OTHERWISE}")
    for name, value in step.config.items():
        if name not in passing or not passing[name](value, config.input_features):
            text = ascii(value)[:200]
            raise CheckpointError(
                f"{where} is {step.registry_name!r} with {name} = {text}, which act_eval does not apply; {_OTHERWISE}"
            )


def _missing(path: Path) -> str:
    return (
        f"checkpoint file {path} does not exist: the checkpoint is incomplete, or LeRobot's from before 0.4 "
        f"(September 2025), whose statistics are among its weights. {MIGRATION}"
    )


MIGRATION = (
    "Such a checkpoint is migrated by LeRobot 0.4 or later: python -m lerobot.processor.migrate_policy_normalization "
    "--pretrained-path FOLDER"
)
