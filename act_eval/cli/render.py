"""`render`: film episodes again from their logged states."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from act_eval.cli.parsing import parse


@dataclass(frozen=True)
class Flags:
    """Film episodes of a run, or of a sweep's run, again from their logged states: the same motion to the bit."""

    run: tyro.conf.Positional[Path]
    """Run folder, finished or not."""
    episodes: str = "failures"
    """failures, all, an outcome such as wrong_block, or episode numbers as in 3,17."""
    seeds: str | None = None
    """Episode seeds as in 4348884358902,17; instead of --episodes."""
    arm: tuple[str, ...] = ()
    """Arms; all by default."""
    size: int = 720
    """Height of the videos, an even number from 256 to 1280 [px]."""
    out: Path | None = None
    """Folder; by default videos_SIZE in each arm's folder. The size of an evaluation's own videos, 256, goes to their
    place, ARM/videos, where the review page finds it."""
    workers: int | None = None
    """Processes; as many as there are processor cores by default."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and render; return the exit code."""
    flags = parse(Flags, argv, prog)
    from act_eval.cli.finished.rendering import render  # help needs no simulator

    return render(flags, sys.stdout, sys.stderr)
