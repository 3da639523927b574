"""From two outcome vectors to tables of counts, and what invalid episodes could make of them.

An `invalid` episode is neither success nor failure. Besides the table of the valid ones there are two extremes:
every invalid episode of one side counted as success and of the other as failure, and the reverse. Between them lies
every table that the run could have had, and a shown difference that survives both stands.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from act_eval.results.records import INVALID, OUTCOMES, SUCCESS
from act_eval.stats import PairedTable, SuccessRate, UnpairedTable

Table = PairedTable | UnpairedTable
Reading = Literal["valid", "worst", "best"]
"""How invalid episodes count: not at all, as badly as possible for NEW, as well as possible for NEW."""

READINGS: tuple[Reading, ...] = ("valid", "worst", "best")


@dataclass(frozen=True)
class Vectors:
    """Outcomes of one arm in two runs."""

    base: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def invalid(self) -> tuple[int, int]:
        """Number of invalid episodes in BASE and in NEW."""
        return self.base.count(INVALID), self.new.count(INVALID)

    def table(self, reading: Reading, paired: bool) -> Table:
        """Count the outcomes; with `paired`, entry i of both vectors is the same episode seed."""
        base, new = _successes(self.base, reading == "worst"), _successes(self.new, reading == "best")
        if not paired:
            sides = (base, new) if reading != "valid" else (_valid(self.base, base), _valid(self.new, new))
            return UnpairedTable(*(SuccessRate(sum(side), len(side)) for side in sides))
        if reading != "valid":
            return PairedTable.count(base, new)
        kept = [i for i, pair in enumerate(zip(self.base, self.new, strict=True)) if INVALID not in pair]
        return PairedTable.count([base[i] for i in kept], [new[i] for i in kept])


def migration(vectors: Vectors) -> Mapping[tuple[str, str], int]:
    """Return how often each outcome of BASE became which outcome of NEW, in the order of `OUTCOMES`."""
    counts = Counter(zip(vectors.base, vectors.new, strict=True))
    order = {outcome: i for i, outcome in enumerate(OUTCOMES)}
    return dict(sorted(counts.items(), key=lambda item: (order[item[0][0]], order[item[0][1]])))


def _successes(outcomes: Sequence[str], invalid_succeeds: bool) -> list[bool]:
    return [outcome == SUCCESS or (outcome == INVALID and invalid_succeeds) for outcome in outcomes]


def _valid(outcomes: Sequence[str], successes: Sequence[bool]) -> list[bool]:
    return [success for outcome, success in zip(outcomes, successes, strict=True) if outcome != INVALID]
