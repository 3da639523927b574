"""`baseline`: record the outcomes of a run as the baseline of regression tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from act_eval.cli.parsing import check_output, parse


@dataclass(frozen=True)
class Flags:
    """Record the outcomes of a finished run as a baseline."""

    run: tyro.conf.Positional[Path]
    """Run folder of `evaluate`."""
    to: tyro.conf.Positional[Path]
    """Baseline file; an existing one is replaced."""
    reason: str
    """Why this run is the new baseline; the file keeps it, with the reasons of earlier baselines."""
    add_machine: bool = False
    """Keep the recorded outcomes and add this machine's outcomes of the same suite and policy, keyed by its numeric
    fingerprint."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and record; return the exit code."""
    flags = parse(Flags, argv, prog)
    check_output(flags.to, "the baseline file")
    from act_eval.comparison.baselines import Baseline, update

    print(update(flags.to, Baseline.of_run(flags.run, flags.reason), flags.add_machine))
    return 0
