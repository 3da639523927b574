"""`merge`: merge the shards of `evaluate --shard` or `sweep --shard` into one run or sweep."""

import sys
from collections.abc import Sequence

from act_eval.cli.parsing import parse
from act_eval.config import MergeConfig

Flags = MergeConfig


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and merge; return the exit code."""
    config = parse(MergeConfig, argv, prog)
    from act_eval.cli.screen import console_for, print_run  # slow to import; help does not need it
    from act_eval.evaluation.checks import check_any_valid
    from act_eval.evaluation.finish import FinishedRun
    from act_eval.progress import Terminal
    from act_eval.sweeps.merging import merge

    console = console_for(sys.stdout)
    found = merge(config, Terminal(console))
    if isinstance(found, FinishedRun):
        print_run(found, console)
        check_any_valid(found.records)
    else:
        console.print(
            f"results {found}; repeat the sweep's command with --out {found} and without --shard to write the tables",
            markup=False,
        )
    return 0
