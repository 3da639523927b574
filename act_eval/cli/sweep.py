"""`sweep`: evaluate a grid of delays, execution horizons and executors over policies and environments."""

import sys
from collections.abc import Sequence

from act_eval.cli import OK
from act_eval.cli.parsing import parse
from act_eval.config import SweepConfig

Flags = SweepConfig


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and sweep; return the exit code."""
    config = parse(SweepConfig, argv, prog)
    from act_eval.cli.screen import console_for  # slow to import; help does not need it
    from act_eval.evaluation.checks import check_any_valid
    from act_eval.progress import Terminal
    from act_eval.sweeps.run import FinishedSweep, sweep
    from act_eval.sweeps.screen import LOG_WIDTH, show_sweep, show_sweep_shard

    console = console_for(sys.stdout, LOG_WIDTH)
    found = sweep(config, Terminal(console, one_bar=True))
    if isinstance(found, FinishedSweep):
        show_sweep(found, console)
        for records in found.results.values():
            check_any_valid(records)
    else:
        show_sweep_shard(found, console)
    return OK
