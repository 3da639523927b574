"""`merge`: make one run or sweep of the parts that `evaluate --shard` or `sweep --shard` left."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from act_eval.cli.parsing import parse


@dataclass(frozen=True)
class Flags:
    """Make one run or sweep of its parts, after checking that they cover every episode of every arm exactly once."""

    parts: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run folders that hold shards, or shards (RUN/shards/2-of-8.jsonl); or folders of sweeps."""
    out: Path | None = None
    """Folder to make; not needed where all parts lie in one folder, which then becomes the run or sweep."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and merge; return the exit code."""
    flags = parse(Flags, argv, prog)
    from act_eval.cli.evaluations.merging import merge  # what concludes a run is heavy, and help needs none of it

    return merge(flags, sys.stdout)
