"""Measures how often a paired drop is excluded wrongly and rightly: exact limits beside Newcombe's interval."""

import sys
from dataclasses import dataclass
from math import sqrt

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from act_eval.cli import guarded
from act_eval.margins import Pairs, excluding
from act_eval.stats import PairedTable

LEVEL = 0.025


@dataclass(frozen=True)
class Flags:
    """Two conditions of the given old rate: the new one is worse by exactly the margin (wrong), or equal (right)."""

    pairs: tuple[int, ...] = (38, 50, 100, 200, 500)
    margins: tuple[float, ...] = (0.05, 0.1)
    rates: tuple[float, ...] = (0.5, 0.9)
    """Success rates of the old condition."""
    correlations: tuple[float, ...] = (0.5, 0.95)
    """Of the outcomes of a pair, lowered to what the rates admit."""
    rounds: int = 4000
    """Simulated comparisons per entry of Newcombe's interval; the exact limits are enumerated."""
    seed: int = 0


def main() -> int:
    """Print one row per case; every cell is Newcombe's interval, then the exact limits, in per cent."""
    flags = tyro.cli(Flags, description=__doc__)
    console, rng = Console(width=100), np.random.default_rng(flags.seed)
    table = Table("pairs", "margin", "rate", "correlation", "wrongly excluded", "rightly excluded")
    for pairs in flags.pairs:
        for margin in flags.margins:
            tables = excluding(Pairs(pairs), margin, LEVEL)
            for rate in flags.rates:
                for correlation in flags.correlations:
                    cells = []
                    for drop in (margin, 0.0):
                        chances = _chances(rate, rate - drop, correlation)
                        old = np.mean(_newcombe(chances, pairs, margin, flags.rounds, rng))
                        cells.append(f"{100 * old:.1f} / {100 * float(tables.probability(*chances[1:3])):.1f}")
                    table.add_row(str(pairs), f"{margin:g}", f"{rate:g}", f"{correlation:g}", *cells)
    console.print(table)
    return 0


def _chances(old: float, new: float, correlation: float) -> list[float]:
    """Return the probabilities of: both succeed, only the old one, only the new one, neither."""
    both = min(old * new + correlation * sqrt(old * (1 - old) * new * (1 - new)), old, new)
    return [both, old - both, new - both, 1 - old - new + both]


def _newcombe(chances: list[float], pairs: int, margin: float, rounds: int, rng: np.random.Generator) -> np.ndarray:
    """Return (rounds,) whether Newcombe's interval excludes the margin."""
    drawn, back = np.unique(rng.multinomial(pairs, np.clip(chances, 0, 1), rounds), axis=0, return_inverse=True)
    return np.array([PairedTable(*row).newcombe().low > -margin for row in drawn.tolist()])[back]


if __name__ == "__main__":
    sys.exit(guarded(main))
