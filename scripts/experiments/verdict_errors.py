"""Measures how often verdicts are right, inconclusive and wrong: on grasps, and on drops against a margin."""

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import sqrt
from typing import Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from scipy.stats import multinomial

from act_eval.cli import guarded
from act_eval.diagnostics.grasp_choice import GOAL_SHARE, GraspCounts, detect
from act_eval.margins import Pairs, excluding
from act_eval.stats import PairedTable

CASES: Mapping[str, Mapping[float, float]] = {
    "to the target": {0.0: 1.0},
    "to the confuser": {1.0: 1.0},
    "to the midpoint": {0.5: 1.0},
    "coin flip": {0.0: 0.5, 1.0: 0.5},
    "95 % target, 5 % midpoint": {0.0: 0.95, 0.5: 0.05},
    "70 % target, 30 % confuser": {0.0: 0.7, 1.0: 0.3},
    "30 % target, 70 % midpoint": {0.0: 0.3, 0.5: 0.7},
    "a quarter, a half, a quarter": {0.0: 0.25, 0.5: 0.5, 1.0: 0.25},
}
"""Policy → grasp choice of an aim → its share."""


@dataclass(frozen=True)
class Flags:
    """Measure the verdicts on grasps, or the exclusion of a drop by a comparison."""

    of: Literal["grasps", "margins"] = "grasps"
    """grasps: simulate grasps that scatter about a policy's aims. margins: pairs whose new rate is worse by exactly the
    margin (wrongly excluded) or equal (rightly), by Newcombe's interval, simulated, and by exact limits, enumerated."""
    grasps: tuple[int, ...] = (24, 50, 100, 200)
    """Grasps per verdict."""
    scatter: float = 0.1
    """Standard deviation of the grasp choice about its aim; the shipped policies have 0.05."""
    worst: bool = True
    """Also the largest probability of a wrong verdict over all shares in steps of 5 %, exactly, up to 100 grasps."""
    pairs: tuple[int, ...] = (38, 50, 100, 200, 500)
    """Pairs per comparison."""
    margins: tuple[float, ...] = (0.05, 0.1)
    rates: tuple[float, ...] = (0.5, 0.9)
    """Success rates of the old condition."""
    correlations: tuple[float, ...] = (0.5, 0.95)
    """Of the outcomes of a pair, lowered to what the rates admit."""
    rounds: int = 10_000
    """Simulated verdicts per row."""
    seed: int = 0


def main() -> int:
    """Measure, and print the tables."""
    flags, console = tyro.cli(Flags, description=__doc__), Console(width=110)
    if flags.of == "grasps":
        _measure_grasps(flags, console)
    else:
        _measure_margins(flags, console)
    return 0


def _measure_grasps(flags: Flags, console: Console) -> None:
    table = Table("policy", "grasps", "goal followed", "averaging", "random", "inconclusive")
    for number, (name, aims) in enumerate(CASES.items()):
        for total in flags.grasps:
            rng = np.random.default_rng((flags.seed, number, total))
            found = _simulated(aims, total, flags, rng)
            shares = (f"{100 * found[mode] / flags.rounds:.2f} %" for mode in ("goal followed", "averaging", "random"))
            table.add_row(name, str(total), *shares, f"{100 * found['inconclusive'] / flags.rounds:.2f} %")
    console.print(table)
    for total in flags.grasps if flags.worst else ():
        if total <= 100:
            console.print(f"{total} grasps: wrong with a probability of at most {100 * _worst(total):.2f} %")


def _simulated(aims: Mapping[float, float], total: int, flags: Flags, rng: np.random.Generator) -> Counter[str]:
    centres = rng.choice(list(aims), size=(flags.rounds, total), p=list(aims.values()))
    indices = centres + rng.normal(0, flags.scatter, centres.shape)
    counts = Counter(GraspCounts.count(row) for row in indices)
    found: Counter[str] = Counter()
    for one, times in counts.items():
        found[detect(one).mode] += times
    return found


def _worst(total: int) -> float:
    """Return the largest probability of a wrong verdict over true shares in steps of 5 %."""
    counts = np.array([(a, b, total - a - b) for a in range(total + 1) for b in range(total + 1 - a)])
    modes = np.array([detect(GraspCounts(*map(int, row))).mode for row in counts])
    worst = 0.0
    for shares in ((i / 20, j / 20, (20 - i - j) / 20) for i in range(21) for j in range(21 - i)):
        true = _truth(*shares)
        if true is not None:
            wrong = (modes != true) & (modes != "inconclusive")
            worst = max(worst, float(multinomial.pmf(counts, total, shares)[wrong].sum()))
    return worst


def _truth(at_target: float, between: float, at_confuser: float) -> str | None:
    """Return the mode of true shares; None on the border of two."""
    least = min(at_target, at_confuser)
    if max(at_target, at_confuser) >= GOAL_SHARE:
        return "goal followed"
    if np.isclose(between, least):
        return None
    return "averaging" if between > least else "random"


def _measure_margins(flags: Flags, console: Console) -> None:
    table = Table("pairs", "margin", "rate", "correlation", "wrongly excluded", "rightly excluded")
    rng = np.random.default_rng(flags.seed)
    for n, margin in product(flags.pairs, flags.margins):
        exact = excluding(Pairs(n), margin, 0.025)
        for rate, correlation in product(flags.rates, flags.correlations):
            cells = []
            for new in (rate - margin, rate):
                both = min(rate * new + correlation * sqrt(rate * (1 - rate) * new * (1 - new)), rate, new)
                chances = np.clip([both, rate - both, new - both, 1 - rate - new + both], 0, 1)
                drawn, counts = np.unique(rng.multinomial(n, chances, flags.rounds), axis=0, return_counts=True)
                passed = [PairedTable(*row).newcombe().low > -margin for row in drawn.tolist()]
                newcombe = float(np.average(passed, weights=counts))
                cells.append(f"{100 * newcombe:.1f} / {100 * float(exact.probability(*chances[1:3])):.1f}")
            table.add_row(str(n), f"{margin:g}", f"{rate:g}", f"{correlation:g}", *cells)
    console.print(table)


if __name__ == "__main__":
    sys.exit(guarded(main))
