"""`sweep`: evaluate a grid of delays, execution horizons and executors over policies and environments."""

import sys
from collections.abc import Sequence

from act_eval.cli.parsing import parse
from act_eval.config import SweepConfig
from act_eval.errors import Interrupted

Flags = SweepConfig
_OK, _INTERRUPTED = 0, 130


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and sweep; return the exit code."""
    config = parse(SweepConfig, argv, prog)
    from act_eval.cli.screen import (  # slow to import; help does not need it
        print_sweep,
        print_sweep_shard,
        sweep_console,
    )
    from act_eval.progress import Terminal
    from act_eval.sweeps.run import FinishedSweep, sweep

    console = sweep_console(sys.stdout)
    try:
        found = sweep(config, Terminal(console, one_bar=True))
    except Interrupted as error:
        console.print(str(error), markup=False)
        return _INTERRUPTED
    if isinstance(found, FinishedSweep):
        print_sweep(found, console)
    else:
        print_sweep_shard(found, console)
    return _OK
