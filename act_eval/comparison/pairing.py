"""The pairing of conditions and episodes of two runs, and the contingency table of the pairs.

An `invalid` episode is neither success nor failure. Beside the table of valid pairs there are two extremes: the invalid
episodes of one side count as successes and those of the other as failures, and the reverse. A verdict that holds for
both extremes holds however the invalid episodes would have ended.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from act_eval.comparison.baselines import Baseline, numeric
from act_eval.comparison.sides import Side
from act_eval.errors import SuiteMismatch, UsageError
from act_eval.results.suites import differences, warnings_about
from act_eval.stats import PairedTable, SuccessRate, UnpairedTable
from act_eval.timing import may_start_elsewhere
from act_eval.types import INVALID, OUTCOMES, SUCCESS

_TASK_ADVICE = {
    "suite.env": "evaluate both on the same --env",
    "suite.kwargs": "evaluate both with the same options of the environment",
    "suite.horizon": "evaluate both with the same horizon",
    "suite.facts": "the scene or its rules have changed with the code: evaluate BASE again with this version",
    "suite.seeds": "evaluate both with the same --seed and --episodes",
}
"""Prefix of a differing field → remedy."""
_DECIDING = ("device", "precision", "compile", "rows_per_call")
"""Entries of the configuration, policy and conditions apart, that outcomes depend on."""


Table = PairedTable | UnpairedTable
Reading = Literal["valid", "worst", "best"]
"""How invalid episodes count: not at all, as badly as possible for NEW, as well as possible for NEW."""

READINGS: tuple[Reading, ...] = ("valid", "worst", "best")


@dataclass(frozen=True)
class Vectors:
    """Outcomes of one condition in two runs."""

    base: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def invalid(self) -> tuple[int, int]:
        """Number of invalid episodes in BASE and in NEW."""
        return self.base.count(INVALID), self.new.count(INVALID)

    def table(self, reading: Reading, paired: bool) -> Table:
        """Count the outcomes; with `paired`, entry i of both vectors is the same episode seed."""
        if reading == "valid" and paired:
            return paired_table(self.base, self.new)
        if reading == "valid":
            return UnpairedTable(SuccessRate.of_outcomes(self.base), SuccessRate.of_outcomes(self.new))
        succeeding = ((SUCCESS, INVALID), (SUCCESS,)) if reading == "worst" else ((SUCCESS,), (SUCCESS, INVALID))
        base, new = ([o in wins for o in side] for side, wins in zip((self.base, self.new), succeeding, strict=True))
        if paired:
            return PairedTable.count(base, new)
        return UnpairedTable(SuccessRate(sum(base), len(base)), SuccessRate(sum(new), len(new)))


def paired_table(first: Sequence[str], second: Sequence[str]) -> PairedTable:
    """Count pairs of outcomes of the same suite, in suite order; pairs with an invalid episode are excluded."""
    return PairedTable.count(*valid_in_all([first, second]).tolist())


def valid_in_all(vectors: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
    """Return (K, N) whether each episode succeeded, of the N that are valid in all of K outcome vectors.

    Args:
        vectors: Of the same suite, in suite order.
    """
    kept = [outcomes for outcomes in zip(*vectors, strict=True) if INVALID not in outcomes]
    return (
        np.array([[outcome == SUCCESS for outcome in outcomes] for outcomes in kept], bool).reshape(-1, len(vectors)).T
    )


def migration(vectors: Vectors) -> Mapping[tuple[str, str], int]:
    """Return the counts of (outcome in BASE, outcome in NEW), in the order of `OUTCOMES`."""
    counts = Counter(zip(vectors.base, vectors.new, strict=True))
    order = {outcome: i for i, outcome in enumerate(OUTCOMES)}
    return dict(sorted(counts.items(), key=lambda item: (order[item[0][0]], order[item[0][1]])))


@dataclass(frozen=True)
class ConditionPair:
    """A condition of BASE and one of NEW to compare."""

    base: str
    new: str

    @property
    def name(self) -> str:
        """`BASE → NEW`, or the common name."""
        return self.base if self.base == self.new else f"{self.base} → {self.new}"


def pair_conditions(
    base: Side, new: Side, selected: Sequence[str], own: tuple[str | None, str | None]
) -> list[ConditionPair]:
    """Return the pairs of conditions to compare.

    Args:
        base: side of BASE.
        new: side of NEW.
        selected: entries `NAME` or `BASE_NAME=NEW_NAME`; all conditions of the same name if empty.
        own: condition of each place, as in `RUN:CONDITION`.

    Raises:
        UnknownName: naming an unknown condition.
        UsageError: if the pairs are ambiguous.
    """
    if any(own):
        if selected:
            raise UsageError("RUN:CONDITION already names the conditions; omit --condition")
        for side, name in ((base, own[0]), (new, own[1])):
            if name is not None:
                side.check_condition(name)
        first, second = own[0] or _partner(base, own[1]), own[1] or _partner(new, own[0])
        return [_checked(base, new, first, second)]
    if selected:
        split = [entry.partition("=") for entry in selected]
        pairs = [_checked(base, new, first, second if mark else first) for first, mark, second in split]
        if len({pair.name for pair in pairs}) < len(pairs):
            raise UsageError(f"--condition names a pair twice: {' '.join(selected)}")
        return pairs
    if shared := [condition for condition in base.outcomes if condition in new.outcomes]:
        return [_checked(base, new, condition, condition) for condition in shared]
    if len(base.outcomes) == len(new.outcomes) == 1:
        return [_checked(base, new, next(iter(base.outcomes)), next(iter(new.outcomes)))]
    there, here = ", ".join(base.outcomes), ", ".join(new.outcomes)
    raise UsageError(
        f"{base.place} ({there}) and {new.place} ({here}) have no condition of the same name; "
        f"pair them, as in --condition {next(iter(base.outcomes))}={next(iter(new.outcomes))}"
    )


def check_pairable(base: Side, new: Side) -> None:
    """Check that two runs have the same suite.

    Raises:
        SuiteMismatch: naming every field that differs, and the remedy.
    """
    lines = suite_differences(base, new)
    if not lines:
        return
    advice = [text for field, text in _TASK_ADVICE.items() if any(line.startswith(field) for line in lines)]
    common = len(set(base.suite.seeds) & set(new.suite.seeds))
    if any(line.startswith("suite.seeds") for line in lines):
        advice.append(f"{common} seeds are in both; --unpaired compares the rates of different episodes")
    else:
        advice.append("--unpaired compares the rates anyway, as rates of two different tasks")
    message = "\n  ".join([*lines, *(f"→ {text}" for text in advice)])
    raise SuiteMismatch(f"{base.place} and {new.place} used different suites (BASE against NEW):\n  {message}")


def check_starts(base: Side | Baseline, new: Side | Baseline, pairs: Sequence[ConditionPair]) -> None:
    """Check that paired episodes begin in the same state, on machines with the same numeric fingerprint.

    On another machine, floating-point noise changes the digest of a state; `remarks` names that. Under different
    perturbations states differ if one declares it; the purity check before the run compared them.

    Raises:
        SuiteMismatch: naming the first episode that begins in another state.
    """
    if differences(numeric(base.fingerprint), numeric(new.fingerprint), ""):
        return
    for pair in pairs:
        if _perturbed_apart(base, new, pair):
            continue
        first, second = base.initial_states.get(pair.base, ()), new.initial_states.get(pair.new, ())
        check_same_starts(first, second, base.suite.seeds, pair.name)


def check_same_starts(
    first: Sequence[str | None], second: Sequence[str | None], seeds: Sequence[int], name: str
) -> None:
    """Check that two lists of initial states are the same where both were recorded.

    Raises:
        SuiteMismatch: naming the first episode that begins in another state.
    """
    others = _other_starts(first, second)
    if others:
        episode = others[0]
        example = f"episode {episode}, seed {seeds[episode]}: {first[episode]} against {second[episode]}"
        raise SuiteMismatch(
            f"{name}: {len(others)} of {len(seeds)} episodes begin in another state under the same seed "
            f"({example}), so they are no pairs\n"
            "  → the environment's reset must depend on its seed alone; --unpaired compares the rates anyway"
        )


def _perturbed_apart(base: Side | Baseline, new: Side | Baseline, pair: ConditionPair) -> bool:
    """Return whether the conditions of a pair have other perturbations, one of which declares other initial states."""
    sides = ((base, pair.base), (new, pair.new))
    first, second = (side.configuration.get("conditions", {}).get(name, {}) for side, name in sides)
    elsewhere = may_start_elsewhere(first) or may_start_elsewhere(second)
    return elsewhere and first.get("perturbation") != second.get("perturbation")


def _other_starts(first: Sequence[str | None], second: Sequence[str | None]) -> list[int]:
    both = enumerate(zip(first, second, strict=False))
    return [episode for episode, (one, other) in both if one and other and one != other]


def suite_differences(base: Side, new: Side) -> list[str]:
    """Return one line per field of the suites that differs."""
    lines = differences(base.suite.to_json(), new.suite.to_json(), "suite")
    return [line for line in lines if not line.startswith("suite.hash")]


def remarks(base: Side, new: Side, pairs: Sequence[ConditionPair], paired: bool) -> list[str]:
    """Return notes on the comparison: differing versions, tasks and seeds, and conditions that are not compared."""
    noise = differences(numeric(base.fingerprint), numeric(new.fingerprint), "fingerprint")
    lines = [f"{line}: floating-point noise may flip an episode" for line in noise]
    for pair in pairs if noise and paired else ():
        others = _other_starts(base.initial_states.get(pair.base, ()), new.initial_states.get(pair.new, ()))
        if others:
            lines.append(
                f"{pair.name}: {len(others)} episodes begin in another state: on another machine floating-point noise "
                "explains it; if the environment's reset does not depend on its seed alone, they are no pairs"
            )
    lines += [
        line
        for name in _DECIDING
        if name in base.configuration and name in new.configuration
        for line in differences(base.configuration[name], new.configuration[name], f"configuration.{name}")
    ]
    lines += _about_weights(base, new, pairs)
    lines += warnings_about(base.suite.seeds)
    lines += _about_unpaired(base, new) if not paired else []
    lines += [f"{left} is in {base.place} and not compared" for left in _left_out(base, pairs)]
    if new is not base:
        lines += [f"{left} is in {new.place} and not compared" for left in _left_out(new, pairs)]
    return list(dict.fromkeys(lines))


def _left_out(side: Side, pairs: Sequence[ConditionPair]) -> list[str]:
    named = {condition for pair in pairs for condition in (pair.base, pair.new)}
    return [condition for condition in side.outcomes if condition not in named]


def _about_weights(base: Side, new: Side, pairs: Sequence[ConditionPair]) -> list[str]:
    lines = []
    for pair in pairs:
        if pair.base == pair.new:
            lines += differences(
                _condition(base, pair.base), _condition(new, pair.new), f"configuration.conditions.{pair.base}"
            )
    if not base.policy or not new.policy:
        return lines
    if differences(base.policy, new.policy, "policy"):
        lines.append("this verdict is about two checkpoints; a verdict about their methods takes several training runs")
    elif all(_condition(base, pair.base) == _condition(new, pair.new) for pair in pairs):
        lines.append("same policy, same conditions: any difference comes from the code or from the machine")
    return lines


def _about_unpaired(base: Side, new: Side) -> list[str]:
    lines = suite_differences(base, new)
    if not lines:
        return ["same suite: without --unpaired the comparison detects smaller differences"]
    message = [f"{line}: rates of two different tasks" for line in lines if not line.startswith("suite.seeds")]
    if common := len(set(base.suite.seeds) & set(new.suite.seeds)):
        message.append(f"{common} seeds are in both runs: these episodes are not independent")
    return message


def _condition(side: Side, name: str) -> Mapping[str, Any]:
    conditions = side.configuration.get("conditions", {})
    return conditions.get(name, {}) if isinstance(conditions, Mapping) else {}


def _partner(side: Side, other: str | None) -> str:
    """Return the condition to pair with that of the other side: the one of the same name, or the only one."""
    if other in side.outcomes:
        return str(other)
    if len(side.outcomes) == 1:
        return next(iter(side.outcomes))
    conditions = ", ".join(side.outcomes)
    raise UsageError(
        f"{side.place} has no condition {other!r}; it has {conditions}: name one, as in {side.place}:CONDITION"
    )


def _checked(base: Side, new: Side, first: str, second: str) -> ConditionPair:
    return ConditionPair(base.check_condition(first), new.check_condition(second))
