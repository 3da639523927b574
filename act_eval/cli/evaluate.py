"""`evaluate`: evaluate a policy in closed loop under inference delay, on a suite of seeded episodes."""

import sys
from collections.abc import Sequence

from act_eval.cli import OK
from act_eval.cli.parsing import parse
from act_eval.config import EvaluateConfig

Flags = EvaluateConfig


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and evaluate; return the exit code."""
    config = parse(EvaluateConfig, argv, prog)
    from act_eval.processes import preload  # as below: slow to import, and help does not need it

    preload(config.policy, config.workers, config.launch.launcher)
    from act_eval.cli.screen import console_for, print_run, print_shard
    from act_eval.evaluation.checks import check_any_valid
    from act_eval.evaluation.run import FinishedShard, evaluate
    from act_eval.export import check_tools, export_run
    from act_eval.progress import Terminal
    from act_eval.results.run import read_run

    console = console_for(sys.stdout)
    check_tools(config.export)
    found = evaluate(config, Terminal(console))
    if isinstance(found, FinishedShard):
        print_shard(found, console)
        return OK
    print_run(found, console)
    for tool in config.export:
        for line in export_run(read_run(found.folder), tool):
            console.print(line, markup=False)
    check_any_valid(found.records)
    return OK
