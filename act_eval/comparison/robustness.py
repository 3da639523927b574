"""Success under perturbations against the unperturbed twins: paired differences, adjusted by Holm over the run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from act_eval.comparison.interactions import DelayEffect, Records, delay_effects
from act_eval.comparison.pairing import paired_table
from act_eval.results.run import StoredRun
from act_eval.results.tables import Table
from act_eval.stats import Interval, PairedTable, SuccessRate, holm, minimum_detectable_drop
from act_eval.timing import twins_of
from act_eval.types import INVALID, SUCCESS

ALPHA = 0.05
"""Level of the adjusted tests."""


@dataclass(frozen=True, kw_only=True)
class PerturbedResult:
    """A perturbed condition against its twin."""

    condition: str
    twin: str
    severities: Mapping[str, int]
    """Axis → severity."""
    table: PairedTable
    """Twin first, over the pairs of valid episodes."""
    p: float
    """Exact McNemar, two-sided."""
    p_holm: float
    """Adjusted over the perturbed conditions of the run."""
    invalid: int
    """Pairs that are left out because an episode is invalid."""
    lost: tuple[int, ...]
    """Episodes in which the twin alone succeeds."""

    @property
    def name(self) -> str:
        """The perturbation, as in `light 3 + camera_pose 2`."""
        return " + ".join(f"{axis} {severity}" for axis, severity in self.severities.items())

    @property
    def rate(self) -> SuccessRate:
        """Success rate under the perturbation, over the pairs."""
        return self.table.second

    @property
    def difference(self) -> float:
        """Success rate under the perturbation minus that of the twin."""
        return self.table.difference

    @property
    def interval(self) -> Interval:
        """95 % Newcombe interval of `difference`."""
        return self.table.newcombe()

    @property
    def verdict(self) -> str:
        """`worse`, `better`, or `inconclusive`."""
        if self.p_holm >= ALPHA:
            return "inconclusive"
        return "worse" if self.difference < 0 else "better"


@dataclass(frozen=True)
class Robustness:
    """The perturbed conditions of a run; it prints as a table."""

    results: tuple[PerturbedResult, ...]
    twins: Mapping[str, SuccessRate]
    """Unperturbed condition with a perturbed one → its success rate over all valid episodes."""
    delay_effects: tuple[DelayEffect, ...] = ()
    """Per longer delay, what it changes about the perturbations."""

    def table(self) -> Table:
        """Return success, paired difference and adjusted p-value of each perturbed condition."""
        rows = [
            (
                one.name,
                one.twin,
                f"{one.rate.successes}/{one.rate.trials}",
                f"{100 * one.difference:+.1f} [{100 * one.interval.low:+.1f}, {100 * one.interval.high:+.1f}]",
                f"{one.table.only_first} / {one.table.only_second}",
                p_text(one.p_holm),
                one.verdict,
            )
            for one in self.results
        ]
        heads = ("perturbation", "twin", "success", "difference, points", "lost / won", "p, Holm", "verdict")
        rates = "; ".join(f"{name} {rate.describe()}" for name, rate in self.twins.items())
        caption = (
            f"twins: {rates}; differences with 95 % Newcombe intervals, exact McNemar over pairs of the same seed, "
            f"Holm over {len(self.results)} comparisons{self._power()}"
        )
        return Table(heads=heads, rows=tuple(rows), title="Perturbed against unperturbed", caption=caption, keys=1)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per perturbed condition, as JSON values."""
        return [
            {
                "condition": one.condition,
                "twin": one.twin,
                "perturbation": dict(one.severities),
                "pairs": one.table.pairs,
                "successes": one.rate.successes,
                "twin_successes": one.table.first.successes,
                "lost": one.table.only_first,
                "won": one.table.only_second,
                "invalid": one.invalid,
                "difference": round(one.difference, 6) if one.table.pairs else None,
                "low": round(one.interval.low, 6),
                "high": round(one.interval.high, 6),
                "p": one.p,
                "p_holm": one.p_holm,
                "verdict": one.verdict,
                "lost_episodes": list(one.lost),
            }
            for one in self.results
        ]

    def sentences(self) -> list[str]:
        """Return a line for each longer delay: whether perturbations cost more with it."""
        return [one.sentence(ALPHA) for one in self.delay_effects]

    def __str__(self) -> str:
        return "\n".join([self.table().text(), *self.sentences()])

    def worst_episodes(self, count: int = 4) -> list[int]:
        """Return the episodes that are lost under most perturbations, the worst first; none that no one loses."""
        lost = Counter(episode for one in self.results for episode in one.lost)
        return [episode for episode, _ in sorted(lost.items(), key=lambda item: (-item[1], item[0]))[:count]]

    def worst_conditions(self, most: int, episodes: int = 4) -> dict[str, list[int]]:
        """Return condition → the worst episodes to show of it: in the twin, and in up to `most` that lose them."""
        shown: dict[str, list[int]] = {}
        for episode in self.worst_episodes(episodes):
            losing = [one for one in self.results if episode in one.lost]
            losing.sort(key=lambda one: max(one.severities.values()))  # the mildest that suffices
            for one in losing[:most]:
                for name in (one.twin, one.condition):
                    if episode not in shown.setdefault(name, []):
                        shown[name].append(episode)
        return shown

    def _power(self) -> str:
        inconclusive = [one for one in self.results if one.verdict == "inconclusive"]
        if not inconclusive:
            return ""
        pairs = min(one.table.pairs for one in inconclusive)
        rate = min((one.table.first.rate for one in inconclusive if one.table.pairs), default=0.0)
        drop = minimum_detectable_drop(pairs, rate, alpha=ALPHA / len(self.results)) if pairs else None
        size = "no drop of any size" if drop is None else f"a drop of {100 * drop:.0f} points or more"
        return f"; with {pairs} pairs, {size} would be detected with 80 % power"


def robustness(conditions: Mapping[str, Mapping[str, Any]], records: Records) -> Robustness:
    """Return the perturbed conditions of a run beside their twins, over the episodes that both have.

    Args:
        conditions: name → entry in the manifest.
        records: of the episodes that have ended.
    """
    found: list[PerturbedResult] = []
    for name, twin in twins_of(conditions).items():
        both = sorted(records.get(name, {}).keys() & records.get(twin, {}).keys())
        if not both:
            continue
        first, second = ([records[one][episode].outcome for episode in both] for one in (twin, name))
        table = paired_table(first, second)
        outcomes = zip(both, first, second, strict=True)
        lost = tuple(episode for episode, one, other in outcomes if one == SUCCESS and other not in (SUCCESS, INVALID))
        found.append(
            PerturbedResult(
                condition=name,
                twin=twin,
                severities=conditions[name]["perturbation"],
                table=table,
                p=table.mcnemar(),
                p_holm=1.0,
                invalid=len(both) - table.pairs,
                lost=lost,
            )
        )
    adjusted = holm([one.p for one in found])
    results = tuple(replace(one, p_holm=p) for one, p in zip(found, adjusted, strict=True))
    twins = {
        name: SuccessRate.of_outcomes(record.outcome for record in records[name].values())
        for name in dict.fromkeys(one.twin for one in results)
    }
    names: dict[str, dict[str, str]] = {}
    for one in results:
        names.setdefault(one.twin, {})[one.name] = one.condition
    return Robustness(results, twins, delay_effects(conditions, names, records))


def robustness_of(run: StoredRun) -> Robustness:
    """Return the perturbed conditions of a finished run beside their twins.

    Raises:
        RunFolderError: if the run is unfinished or damaged.
    """
    records = {
        name: {record.episode: record for record in condition.records} for name, condition in run.conditions.items()
    }
    return robustness({name: condition.settings for name, condition in run.conditions.items()}, records)


def p_text(p: float) -> str:
    """Return a p-value with two digits, or `<0.0001`."""
    return "<0.0001" if p < 1e-4 else f"{p:.2g}"


def by_axis(results: Sequence[PerturbedResult]) -> dict[str, dict[str, list[PerturbedResult]]]:
    """Return axis → twin → results by rising severity, of perturbations with one axis."""
    found: dict[str, dict[str, list[PerturbedResult]]] = {}
    for one in sorted(results, key=lambda one: max(one.severities.values())):
        if len(one.severities) == 1:
            axis = next(iter(one.severities))
            found.setdefault(axis, {}).setdefault(one.twin, []).append(one)
    return dict(sorted(found.items()))
