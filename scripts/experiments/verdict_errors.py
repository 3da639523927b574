"""Measures how often the grasp verdict is right, inconclusive and wrong; `--help` lists the options."""

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table
from scipy.stats import multinomial

from act_eval.cli import guarded
from act_eval.diagnostics.grasp_choice import GOAL_SHARE, GraspCounts, detect

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
    """Simulate grasps that scatter about a policy's aims, and count verdicts."""

    grasps: tuple[int, ...] = (24, 50, 100, 200)
    """Grasps per verdict."""
    scatter: float = 0.1
    """Standard deviation of the grasp choice about its aim; the shipped policies have 0.05."""
    rounds: int = 10_000
    """Verdicts per row."""
    seed: int = 0
    worst: bool = True
    """Also the largest probability of a wrong verdict over all shares in steps of 5 %, exactly, up to 100 grasps."""


def main() -> int:
    """Simulate, and print both tables."""
    flags = tyro.cli(Flags, description=__doc__)
    console = Console(width=110)
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
    return 0


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


if __name__ == "__main__":
    sys.exit(guarded(main))
