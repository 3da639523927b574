"""`compare`: is NEW better or worse than BASE, on the same episode seeds?"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from act_eval.cli.parsing import parse


@dataclass(frozen=True)
class Flags:
    """Compare two runs of the same suite, or several checkpoints.

    Exit codes: 0 the requirement is met, 1 it is not, 2 usage, 3 the runs are not comparable or the answer is open.
    """

    runs: tyro.conf.Positional[tuple[str, ...]] = ()
    """BASE and NEW: run folders of `evaluate`, files of `baseline`, or single arms as RUN:ARM."""
    arm: tuple[str, ...] = ()
    """Arms to compare, as NAME or BASE_NAME=NEW_NAME; by default those that both have."""
    unpaired: bool = False
    """Compare the rates of different episodes, by Barnard's exact test."""
    require: Literal["no-regression", "non-inferior"] = "no-regression"
    """no-regression fails only where a drop is shown; non-inferior passes only where a drop of --margin is excluded."""
    margin: float = 0.05
    """Difference of success rates that does not matter."""
    alpha: float = 0.05
    """Level of the two-sided tests, over all arms together."""
    noise_floor: tuple[str, ...] = ()
    """Also say how large differences arise from nothing: runs of the same weights on disjoint suites (--seed), or
    one run that is cut into such suites."""
    checkpoints: tuple[str, ...] = ()
    """Instead of BASE and NEW: one run per checkpoint, all on the same suite."""
    held_out: str | None = None
    """With --checkpoints: a run of the chosen checkpoint on other episodes (`evaluate --held-out`)."""
    markdown: Path | None = None
    """File to write as Markdown."""
    json: Path | None = None
    """File to write as JSON."""
    junit: Path | None = None
    """File to write as JUnit XML."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and compare; return the exit code."""
    flags = parse(Flags, argv, prog)
    from act_eval.cli.finished.comparing import carry_out  # scipy is not needed for help

    return carry_out(flags, sys.stdout, sys.stderr)
