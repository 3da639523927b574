"""From a data set and a configuration to the inputs of the training loop: features, statistics, initial weights."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

from act_eval.datasets import Demonstrations, merged_statistics
from act_eval.datasets.layout import INFO, STATS
from act_eval.errors import CheckpointError, DatasetError, FeatureMismatch
from act_eval.policies.act.config import ACTConfig, Feature
from act_eval.policies.act.presets import features
from act_eval.policies.checkpoint import MODEL_FILE, Policy
from act_eval.policies.data import iter_episode_vectors
from act_eval.policies.normalize import Processor, floored, relative_action_stats
from act_eval.policies.rtc import ACTRTCConfig
from act_eval.policies.tensor_files import check_weights, read_tensors
from act_eval.types import ACTION, ENVIRONMENT_STATE, IMAGE_PREFIX, STATE


def fitted(
    config: ACTConfig, data: Sequence[Demonstrations], cameras: Sequence[str] | None = None, goal_input: bool = True
) -> ACTConfig:
    """Return `config` with the features that all of the data sets have.

    Args:
        config: everything but the features.
        data: their shapes become the features.
        cameras: the policy's cameras; all by default.
        goal_input: whether the target's coordinates are an input, if the data have them.

    Raises:
        DatasetError: if the data set has no actions.
        FeatureMismatch: if a camera does not exist, or a data set lacks a feature of the first one.
    """
    first, *others = data
    shapes, action = first.shapes, first.action_shape
    if action is None:
        raise DatasetError(f"{first.root} has no {ACTION!r}; training needs it")
    names = first.cameras if cameras is None else tuple(cameras)
    unknown = [name for name in names if name not in first.cameras]
    if unknown:
        raise FeatureMismatch(
            f"{first.root} has no camera {unknown[0]!r}; it has: {', '.join(first.cameras) or 'none'}"
        )
    images = [IMAGE_PREFIX + name for name in names]
    for other in others:
        other.require({key: shapes[key] for key in (STATE, ENVIRONMENT_STATE, *images) if key in shapes})
        if other.action_shape != action:
            raise FeatureMismatch(
                f"the data set {other.root} does not fit. {ACTION}: {action} is needed, {other.action_shape} is there"
            )
    inputs = features(
        {name: shapes[IMAGE_PREFIX + name][:2] for name in names},
        state=shapes[STATE][0] if STATE in shapes else None,
        environment_state=shapes[ENVIRONMENT_STATE][0] if goal_input and ENVIRONMENT_STATE in shapes else None,
    )
    outputs = {ACTION: Feature("ACTION", action)}
    return dataclasses.replace(config, input_features=inputs, output_features=outputs)


def check_same(found: ACTConfig, wanted: ACTConfig, where: Path) -> None:
    """Refuse a checkpoint of another configuration.

    Raises:
        FeatureMismatch: naming every field with both values.
    """
    wrong = [
        f"{field.name}: {getattr(found, field.name)!r} there, {getattr(wanted, field.name)!r} here"
        for field in dataclasses.fields(wanted)
        if getattr(found, field.name, None) != getattr(wanted, field.name)
    ]
    if type(found) is not type(wanted) or wrong:
        raise FeatureMismatch(f"{where} holds another policy. " + "; ".join(wrong or [f"type: {found.type}"]))


def fresh_processor(config: ACTConfig, data: Sequence[Demonstrations]) -> Processor:
    """Return a normaliser with the data sets' statistics; relative actions are counted in one pass over them.

    Raises:
        DatasetError: if all hold corrections, which show where a policy errs and not how the task is distributed.
    """
    data = [part for part in data if not part.holds_corrections]
    if not data:
        raise DatasetError("corrections alone have no statistics of actions; --init-from a checkpoint, which has")
    needed = (*config.input_features, ACTION)
    stats = merged_statistics([{key: part.stats()[key] for key in needed} for part in data])
    if isinstance(config, ACTRTCConfig):
        relative = relative_action_stats(iter_episode_vectors(data), config.rtc_anchor, config.target_steps)
        stats[ACTION] = {name: value.tolist() for name, value in relative.items()}
    return Processor(config, floored(stats))


def take_weights(policy: Policy, folder: Path) -> str:
    """Copy every tensor of a checkpoint whose name and shape exist in the policy; return what became of all, in words.

    Raises:
        CheckpointError: if there is no checkpoint, or not one tensor fits.
    """
    path = folder / MODEL_FILE
    found, own = read_tensors(path), policy.state_dict()
    check_weights(path, found)
    both = found.keys() & own.keys()
    taken = sorted(name for name in both if found[name].shape == own[name].shape)
    if not taken:
        raise CheckpointError(f"not one tensor of {path} fits this policy; it holds {sorted(found)[:3]} …")
    for name in taken:
        own[name].copy_(found[name])
    others = {
        "not taken, other shape": both - set(taken),
        "not taken, unknown here": found.keys() - own.keys(),
        "random, not in the checkpoint": own.keys() - found.keys(),
    }
    titled = [f"{title}: {', '.join(sorted(names))}" for title, names in others.items() if names]
    return "; ".join([f"{len(taken)} tensors taken", *titled])


def fingerprint(data: Demonstrations) -> str:
    """Return a short hash of what a data set declares: its features, sizes and statistics."""
    digest = hashlib.sha256()
    for part in (INFO, STATS):
        digest.update((data.root / part).read_bytes())
    return digest.hexdigest()[:16]
