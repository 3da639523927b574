"""The one place where raw values become network inputs and network outputs become commands.

Statistics come as LeRobot's `{feature: {mean, std, min, max, count}}`. For relative actions those of `action` are
computed after the anchor was subtracted (`relative_action_stats`). Formulas: LeRobot 0.6.1,
`src/lerobot/processor/normalize_processor.py`.

Legend: `B` or `N` rows · `T` steps · `C` chunk · `P` prefix slots · `A` action dim.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from act_eval.errors import FeatureMismatch, UsageError
from act_eval.policies.act.config import OVERHEAD, OVERHEAD_CUT, ACTConfig, Feature, NormMode
from act_eval.policies.conditioning import cut_around
from act_eval.policies.rtc import ANCHOR, DELAY, ACTRTCConfig, Anchor
from act_eval.policies.tensor_files import first_at
from act_eval.types import ACTION, ENVIRONMENT_STATE, LAST_ACTION, PAST_ACTIONS, STATE

Stats = Mapping[str, Mapping[str, ArrayLike]]
FloatArray = NDArray[np.float64]

IMAGENET: Mapping[str, ArrayLike] = {
    "mean": np.array([0.485, 0.456, 0.406]).reshape(3, 1, 1),
    "std": np.array([0.229, 0.224, 0.225]).reshape(3, 1, 1),
    "min": np.zeros((3, 1, 1)),
    "max": np.ones((3, 1, 1)),
}
"""Image statistics that LeRobot uses in place of the data's, in [0, 1]."""

MIN_STD = 1e-2
"""Smallest deviation of a vector feature, in its own unit: 0.01 rad, 1 cm.

A joint or a coordinate that hardly moves in the data would otherwise turn an ordinary deviation at run time into an
input of a hundred standard deviations (or, at zero, into NaN)."""

_STATISTICS = ("mean", "std", "min", "max")
_NEVER_MOVED = " (a value that never changed in the data: train without it, or give it the deviation of one that does)"
_RANGES: Mapping[NormMode, tuple[str, str]] = {
    "MIN_MAX": ("min", "max"),
    "QUANTILES": ("q01", "q99"),
    "QUANTILE10": ("q10", "q90"),
}
"""Statistics that a mode maps to -1 and 1."""


def floored(stats: Stats, min_std: float = MIN_STD) -> dict[str, dict[str, FloatArray]]:
    """Return statistics whose deviations, and ranges, are at least `min_std` (images: as they are).

    To be called once, on fresh statistics; those of a checkpoint are used unchanged.
    """
    result: dict[str, dict[str, FloatArray]] = {}
    for key, values in stats.items():
        own = result[key] = {name: np.array(value, dtype=np.float64) for name, value in values.items()}
        if any(v.ndim == 3 for v in own.values()):
            continue
        if "std" in own:
            own["std"] = np.maximum(own["std"], min_std)
        for low, high in _RANGES.values():
            if {low, high} <= own.keys():
                missing = np.maximum(2 * min_std - (own[high] - own[low]), 0) / 2
                own.update({low: own[low] - missing, high: own[high] + missing})
    return result


def relative_action_stats(
    episodes: Iterable[tuple[ArrayLike, ArrayLike]], anchor: Anchor, steps: int
) -> dict[str, FloatArray]:
    """Return mean, std, min, max, count of actions relative to their anchor, over every start and offset in an episode.

    Args:
        episodes: (actions (T, A), states (T, J)) per episode; read once, one at a time.
        anchor: `state` (o_t's joints), `last_action` (a_{t-1}; o_t's joints at t = 0) or `none` (0).
        steps: offsets 0 … steps - 1 are counted (a policy's `target_steps`); none beyond the episode's end.
    """
    count, total, square = 0, np.zeros(()), np.zeros(())
    low, high = np.array(np.inf), np.array(-np.inf)
    for actions, states in episodes:
        actions_TA = np.asarray(actions, dtype=np.float64)
        anchor_TA = anchors(actions_TA, np.asarray(states, dtype=np.float64), anchor)
        for offset in range(min(steps, len(actions_TA))):
            relative = actions_TA[offset:] - anchor_TA[: len(actions_TA) - offset]
            count += len(relative)
            total, square = total + relative.sum(axis=0), square + (relative**2).sum(axis=0)
            low, high = np.minimum(low, relative.min(axis=0)), np.maximum(high, relative.max(axis=0))
    if count == 0:
        raise FeatureMismatch("relative action statistics need at least one episode with one step, got none")
    mean = total / count
    std = np.sqrt(np.maximum(square / count - mean**2, 0))
    return {"mean": mean, "std": std, "min": low, "max": high, "count": np.array([count], dtype=np.float64)}


def anchors(actions_TA: FloatArray, states_TJ: FloatArray, anchor: Anchor) -> FloatArray:
    """Return the anchor (T, A) of every step of an episode.

    Raises:
        FeatureMismatch: if there are not as many joints as actions, which an anchor needs.
    """
    if anchor == "none":
        return np.zeros_like(actions_TA)
    if actions_TA.shape != states_TJ.shape:
        raise FeatureMismatch(
            f"relative actions need as many joints as actions; actions are {actions_TA.shape}, states {states_TJ.shape}"
        )
    if anchor == "state":
        return states_TJ
    return np.concatenate((states_TJ[:1], actions_TA[:-1]))


@dataclass(frozen=True, kw_only=True)
class NormSettings:
    """Settings of LeRobot's `normalizer_processor` and `unnormalizer_processor`, under their names."""

    eps: float = 1e-8
    features: Mapping[str, Feature]
    norm_map: Mapping[str, NormMode]
    """Kind of feature → mode; a kind that is not named stays as it is."""
    normalize_observation_keys: tuple[str, ...] | None = None
    """The observations that are normalised; None: all."""

    def __post_init__(self) -> None:
        if self.eps < 0:
            raise UsageError(f"eps is {self.eps}; it must be at least 0")

    @staticmethod
    def of(config: ACTConfig) -> "NormSettings":
        """Return the settings of a configuration without processors of its own."""
        features = {**config.input_features, **config.output_features}
        return NormSettings(features=features, norm_map=dict(config.normalization_mapping))

    def mode(self, key: str) -> NormMode:
        """Return the mode of a feature; `action` counts as declared."""
        if key == ACTION:
            return self.norm_map.get("ACTION", "IDENTITY")
        chosen = self.normalize_observation_keys
        if key not in self.features or (chosen is not None and key not in chosen):
            return "IDENTITY"
        return self.norm_map.get(self.features[key].type, "IDENTITY")


class Normalizer(nn.Module):
    """Normalises features one by one, and back; holds their statistics as buffers."""

    def __init__(self, settings: NormSettings, features: Mapping[str, Feature], stats: Stats) -> None:
        """Take the statistics of a network's `features`; others are left out.

        Raises:
            FeatureMismatch: if a feature has no statistics, or of another shape, or some that nothing can be divided
                by; naming the feature, the statistic and the index.
        """
        super().__init__()
        self.settings = settings
        self._features = tuple(features)
        for key, feature in features.items():
            for name, value in _take(key, feature, settings.mode(key), stats.get(key, {})).items():
                self.register_buffer(_buffer(key, name), value)

    def stats(self) -> dict[str, dict[str, Tensor]]:
        """Return the statistics in use, {feature: {name: tensor}}."""
        buffers, names = dict(self.named_buffers()), dict.fromkeys((*_STATISTICS, *chain(*_RANGES.values())))
        return {k: {n: buffers[_buffer(k, n)] for n in names if _buffer(k, n) in buffers} for k in self._features}

    def normalize(self, key: str, value: Tensor) -> Tensor:
        """Return a feature as the network takes it."""
        mode = self.settings.mode(key)
        if mode == "MEAN_STD":
            return (value - self._stat(key, "mean")) / (self._stat(key, "std") + self.settings.eps)
        if mode in _RANGES:
            low, high = (self._stat(key, name) for name in _RANGES[mode])
            return 2 * (value - low) / (high - low) - 1
        return value

    def denormalize(self, key: str, value: Tensor) -> Tensor:
        """Return a feature in its own unit."""
        mode = self.settings.mode(key)
        if mode == "MEAN_STD":
            return value * self._stat(key, "std") + self._stat(key, "mean")
        if mode in _RANGES:
            low, high = (self._stat(key, name) for name in _RANGES[mode])
            return (value + 1) / 2 * (high - low) + low
        return value

    def _stat(self, key: str, name: str) -> Tensor:
        return self.get_buffer(_buffer(key, name))


class Processor(nn.Module):
    """Normalises raw batches and restores commands."""

    def __init__(self, config: ACTConfig, stats: Stats | Normalizer, after: Normalizer | None = None) -> None:
        """Take the statistics of the features of `config`; others are left out.

        Args:
            config: names the features, their kinds and the mode per kind.
            stats: as in LeRobot's `meta/stats.json`; already floored, see `floored`. Or a normaliser.
            after: what restores the network's actions, where it is not the same.

        Raises:
            FeatureMismatch: see `Normalizer`.
        """
        super().__init__()
        self.config = config
        features = {**config.input_features, **config.output_features}
        own = stats if isinstance(stats, Normalizer) else Normalizer(NormSettings.of(config), features, stats)
        self.before = own
        self.after = after or own

    @property
    def anchor(self) -> Anchor | None:
        """Reference of relative actions; None for absolute ones."""
        return self.config.rtc_anchor if isinstance(self.config, ACTRTCConfig) else None

    def prepare(self, raw: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a normalised batch with what `raw` holds of the declared inputs and targets.

        Args:
            raw: `observation.*` (images uint8 or float in [0, 1], (B, 3, H, W)); for training `action` (B, T, A)
                absolute and `action_is_pad` (B, T); for anchor `last_action` that (B, A); for a network that reads
                past commands `past_actions` (B, K, A), absolute.

        Returns:
            The normalised features; for relative actions also "anchor" (B, A).

        Raises:
            FeatureMismatch: if a declared input is missing.
        """
        batch = {key: self.normalize(key, self._field(raw, key)) for key in self.config.input_features}
        if self.config.conditioning == "crop":
            batch |= self._cut(batch[OVERHEAD], raw[ENVIRONMENT_STATE])
        anchor_BA = self.anchor_of(raw)
        if anchor_BA is not None:
            batch[ANCHOR] = anchor_BA
            if PAST_ACTIONS in self.config.network_inputs:
                batch[PAST_ACTIONS] = self.prepare_prefix(self._field(raw, PAST_ACTIONS), anchor_BA)
        if ACTION in raw:
            action_BTA = raw[ACTION] if anchor_BA is None else raw[ACTION] - anchor_BA[:, None]
            batch[ACTION] = self.normalize(ACTION, action_BTA)
        if "action_is_pad" in raw:
            batch["action_is_pad"] = raw["action_is_pad"]
        if DELAY in raw:
            batch[DELAY] = raw[DELAY]
        return batch

    def anchor_of(self, raw: Mapping[str, Tensor]) -> Tensor | None:
        """Return the anchor (B, A) of a raw batch, zeros where it is `none`; None for a policy without anchors."""
        if self.anchor is None:
            return None
        if self.anchor == "none":
            one = self._field(raw, next(iter(self.config.input_features)))
            return torch.zeros(len(one), self.config.action_dim, device=one.device)
        return self._field(raw, STATE if self.anchor == "state" else LAST_ACTION)

    def prepare_prefix(self, prefix_NPA: Tensor, anchor_NA: Tensor) -> Tensor:
        """Return absolute commands, committed or past, as the network takes them."""
        return self.normalize(ACTION, prefix_NPA - anchor_NA[:, None])

    def restore(self, actions_NCA: Tensor, anchor_NA: Tensor | None = None) -> Tensor:
        """Return absolute commands (N, C, A) from normalised ones.

        Raises:
            FeatureMismatch: if actions are relative and no anchor is given, or the reverse.
        """
        if (anchor_NA is None) != (self.anchor is None):
            given = "no anchor was given" if anchor_NA is None else "an anchor was given"
            raise FeatureMismatch(f"actions of this policy are relative to {self.anchor or 'nothing'}, but {given}")
        actions_NCA = self.denormalize(ACTION, actions_NCA)
        return actions_NCA if anchor_NA is None else actions_NCA + anchor_NA[:, None]

    def normalize(self, key: str, value: Tensor) -> Tensor:
        """Return a feature as the network takes it; uint8 images are first scaled to [0, 1]."""
        return self.before.normalize(key, value.float() / 255 if value.dtype == torch.uint8 else value)

    def denormalize(self, key: str, value: Tensor) -> Tensor:
        """Return a feature in its own unit."""
        return (self.after if key == ACTION else self.before).denormalize(key, value)

    def _cut(self, overhead_B3HW: Tensor, goal_B2: Tensor) -> dict[str, Tensor]:
        """Return the overhead image's crop around the goal, under the network's input name."""
        config = self.config
        if config.crop_projection is None:
            raise UsageError("conditioning 'crop' needs crop_projection, the overhead camera's projection")
        name = OVERHEAD if config.crop_as == "replace" else OVERHEAD_CUT
        return {name: cut_around(overhead_B3HW, goal_B2, config.crop_projection, config.crop_share)}

    def _field(self, raw: Mapping[str, Any], key: str) -> Tensor:
        if key not in raw:
            raise FeatureMismatch(f"the batch has no {key!r}, which the policy reads; it holds {sorted(raw)}")
        return raw[key]


def _buffer(key: str, name: str) -> str:
    return f"{key}.{name}".replace("_", "__").replace(".", "_")  # buffers must not have a dot in their name


def _take(key: str, feature: Feature, mode: NormMode, given: Mapping[str, ArrayLike]) -> dict[str, Tensor]:
    """Return the statistics of one feature as float32 tensors: those its mode needs, and the others if given.

    LeRobot divides by a deviation of 0 plus 1e-8, which turns the smallest movement into a huge input.

    Raises:
        FeatureMismatch: naming the feature, the statistic and the index.
    """
    shape = (3, 1, 1) if feature.type == "VISUAL" else feature.shape
    needed = ("mean", "std") if mode == "MEAN_STD" else _RANGES.get(mode, ())
    found: dict[str, Tensor] = {}
    for name in dict.fromkeys((*_STATISTICS, *needed)):
        if name not in given:
            if name in needed:
                raise FeatureMismatch(
                    f"there are no statistics {name!r} of {key!r}; given are {sorted(given) or 'none'}"
                )
            continue
        value = torch.as_tensor(np.asarray(given[name]), dtype=torch.float32).clone()
        if tuple(value.shape) != shape:
            raise FeatureMismatch(f"{name!r} of {key!r} has shape {tuple(value.shape)}; needed is {shape}")
        _refuse(key, name, value, ~value.isfinite(), "statistics must be finite")
        found[name] = value
    if mode == "MEAN_STD":
        _refuse(key, "std", found["std"], found["std"] <= 0, f"a deviation must be above 0{_NEVER_MOVED}")
    if mode in _RANGES:
        low, high = _RANGES[mode]
        spread = found[high] - found[low]
        _refuse(key, f"{high} - {low}", spread, spread <= 0, f"a range must be above 0{_NEVER_MOVED}")
    return found


def _refuse(key: str, name: str, value: Tensor, bad: Tensor, allowed: str) -> None:
    if bool(bad.any()):
        raise FeatureMismatch(f"{name!r} of {key!r} is {first_at(value, bad)}; {allowed}")
