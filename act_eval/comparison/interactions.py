"""Does delay change what a perturbation costs? Differences of differences over the same episode seeds.

An episode counts where four conditions are valid: twin and perturbed, each at two delays. Its value is the change of
success by the perturbation at the longer delay minus that at the shorter one, from -2 to 2.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy  # `scipy.special` loads lazily

from act_eval.stats import CONFIDENCE, Interval, holm, mean_change_interval, sign_flip_p
from act_eval.types import INVALID, SUCCESS, EpisodeRecord

Records = Mapping[str, Mapping[int, EpisodeRecord]]
"""Condition → episode → record."""


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """What a perturbation costs at one delay against what it costs at another."""

    name: str
    """The perturbation, as in `light 3`."""
    values: Mapping[int, int]
    """Episode → change of success by the perturbation under `late` minus that under `base`."""
    cost: tuple[float, float]
    """Drop of the success rate by the perturbation, under `base` and under `late`."""
    p: float
    """Exact, two-sided: under no difference, a value is as likely as its negative."""
    p_holm: float
    """Adjusted over the perturbations of this pair of delays."""

    @property
    def difference(self) -> float:
        """Mean of `values`; negative if the perturbation costs more under `late`."""
        return float(np.mean([*self.values.values()]))

    @property
    def interval(self) -> Interval:
        """95 % interval of `difference`, after Bonett and Price (2012)."""
        return mean_change_interval([*self.values.values()])


@dataclass(frozen=True, kw_only=True)
class DelayEffect:
    """All perturbations of a run under one delay against another."""

    base: str
    """Unperturbed condition with the shortest delay."""
    late: str
    """The same with a longer delay."""
    interactions: tuple[Interaction, ...]

    @property
    def overall(self) -> tuple[float, Interval]:
        """Mean difference over all perturbations with its 95 % interval; the unit is the episode seed."""
        by_episode: dict[int, list[int]] = defaultdict(list)
        for one in self.interactions:
            for episode, value in one.values.items():
                by_episode[episode].append(value)
        means = np.array([np.mean(found) for found in by_episode.values()])
        if np.ptp(means) == 0:
            return float(means[0]), mean_change_interval(means.tolist())
        mean, count = float(means.mean()), len(means)
        half = float(scipy.special.stdtrit(count - 1, 0.5 + CONFIDENCE / 2) * means.std(ddof=1)) / count**0.5
        return mean, Interval(mean - half, mean + half)

    def sentence(self, alpha: float) -> str:
        """Return the finding as a line of text.

        Args:
            alpha: level of the tests, adjusted over the perturbations.
        """
        base, late = (100 * float(np.mean([one.cost[i] for one in self.interactions])) for i in (0, 1))
        difference, (low, high) = self.overall
        more, less = (
            [
                f"{one.name} ({-100 * one.difference:+.0f})"
                for one in self.interactions
                if one.p_holm < alpha and side(one)
            ]
            for side in (lambda one: one.difference < 0, lambda one: one.difference > 0)
        )
        count = len(self.interactions)
        cost = "perturbations cost" if count > 1 else "perturbation costs"
        return (
            f"{count} {cost} {base:.1f} points of success in {self.base} and {late:.1f} in {self.late}: "
            f"{_points(-difference)} [{_points(-high)}, {_points(-low)}] with the delay; "
            f"one by one, adjusted by Holm: more in {_listed(more)}, less in {_listed(less)}, "
            f"no evidence in {count - len(more) - len(less)}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        difference, interval = self.overall
        return {
            "base": self.base,
            "late": self.late,
            "confidence": CONFIDENCE,
            "difference": round(difference, 6),
            "interval": [round(end, 6) for end in interval],
            "perturbations": [
                {
                    "perturbation": one.name,
                    "episodes": len(one.values),
                    "base_cost": round(one.cost[0], 6),
                    "late_cost": round(one.cost[1], 6),
                    "difference": round(one.difference, 6),
                    "interval": [round(end, 6) for end in one.interval],
                    "p": one.p,
                    "p_holm": one.p_holm,
                }
                for one in self.interactions
            ],
        }


def delay_effects(
    conditions: Mapping[str, Mapping[str, Any]], names: Mapping[str, Mapping[str, str]], records: Records
) -> tuple[DelayEffect, ...]:
    """Return what a longer delay changes, for each pair of twins that differ in a constant delay alone.

    Args:
        conditions: name → entry in the manifest.
        names: unperturbed condition → perturbation → condition.
        records: of the episodes that have ended.
    """
    found: list[DelayEffect] = []
    for base, late in _pairs({name: conditions[name] for name in names}):
        both = [name for name in names[base] if name in names[late]]
        each = [_interaction(name, (base, names[base][name], late, names[late][name]), records) for name in both]
        several = [one for one in each if one is not None]
        if several:
            adjusted = holm([one.p for one in several])
            interactions = tuple(replace(one, p_holm=p) for one, p in zip(several, adjusted, strict=True))
            found.append(DelayEffect(base=base, late=late, interactions=interactions))
    return tuple(found)


def _pairs(twins: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the condition with the shortest delay with each of those that differ from it in the delay alone."""
    alike: dict[str, dict[int, str]] = defaultdict(dict)
    for name, settings in twins.items():
        if isinstance(delay := settings.get("delay"), int):
            rest = {key: value for key, value in settings.items() if key != "delay"}
            alike[json.dumps(rest, sort_keys=True)][delay] = name
    for by_delay in alike.values():
        first, *others = sorted(by_delay)
        yield from ((by_delay[first], by_delay[delay]) for delay in others)


def _interaction(name: str, four: Sequence[str], records: Records) -> Interaction | None:
    """Return the interaction of (twin, perturbed) at two delays; None without an episode that all four have."""
    episodes = sorted(set.intersection(*(set(records.get(one, {})) for one in four)))
    outcomes = [[records[one][episode].outcome for one in four] for episode in episodes]
    valid = {
        e: [o == SUCCESS for o in found] for e, found in zip(episodes, outcomes, strict=True) if INVALID not in found
    }
    if not valid:
        return None
    won = np.array([*valid.values()], np.int64)
    before, after = won[:, 1] - won[:, 0], won[:, 3] - won[:, 2]
    values = (after - before).tolist()
    return Interaction(
        name=name,
        values=dict(zip(valid, values, strict=True)),
        cost=(-float(before.mean()), -float(after.mean())),
        p=sign_flip_p(values),
        p_holm=1.0,
    )


def _points(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:+.1f}"  # no minus before a zero


def _listed(found: Sequence[str]) -> str:
    return f"{len(found)} ({', '.join(found)})" if found else "none"
