"""`merge`: make one run or sweep of the parts that `evaluate --shard` or `sweep --shard` left."""

import sys
from collections.abc import Sequence

from act_eval.cli.parsing import parse
from act_eval.config import MergeConfig

Flags = MergeConfig


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and merge; return the exit code."""
    config = parse(MergeConfig, argv, prog)
    from act_eval.cli.screen import console_for, print_run  # heavy, and help needs none of it
    from act_eval.evaluation.finish import FinishedRun
    from act_eval.progress import Terminal
    from act_eval.sweeps.merging import merge

    console = console_for(sys.stdout)
    found = merge(config, Terminal(console))
    if isinstance(found, FinishedRun):
        print_run(found, console)
    else:
        console.print(
            f"results {found}; its sweep's command with --out {found}, without --shard, makes the tables", markup=False
        )
    return 0
