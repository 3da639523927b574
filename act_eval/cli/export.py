"""`export`: export a finished run to tables and to other tools."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from act_eval.cli import OK
from act_eval.cli.parsing import parse
from act_eval.config import Tool
from act_eval.errors import UsageError


@dataclass(frozen=True)
class Flags:
    """Export a finished run to tables and to other tools. The run itself does not change."""

    run: tyro.conf.Positional[Path]
    """Run folder of `evaluate`, finished."""
    to: tuple[Tool, ...] = ("csv", "parquet")
    """Formats: csv (episodes), parquet (episodes and control steps), lerobot (each condition's eval_info.json),
    tensorboard, wandb and trackio (rates and a table of all episodes; wandb with their videos), rerun (one .rrd per
    episode)."""
    out: Path | None = None
    """Output folder; the run folder by default."""
    episodes: str = "failures"
    """Episodes exported to rerun: failures, all, an outcome such as wrong_block, or numbers as in 3,17."""
    condition: tuple[str, ...] = ()
    """Conditions exported to rerun; all by default."""
    project: str = "act_eval"
    """Project of Weights & Biases or Trackio."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and export; return the exit code.

    Raises:
        ActEvalError: naming the flag, the file or the tool.
    """
    flags = parse(Flags, argv, prog)
    from act_eval.export import TOOLS, check_tools, export_run  # help does not need the tools
    from act_eval.results.run import read_run

    if not flags.to:
        raise UsageError(f"--to is empty; allowed: {', '.join(TOOLS)}")
    if "rerun" not in flags.to and (flags.condition or flags.episodes != Flags.episodes):
        raise UsageError("--episodes and --condition select what rerun receives; add rerun to --to, or omit them")
    check_tools(flags.to)
    found = read_run(flags.run)
    for tool in dict.fromkeys(flags.to):
        for line in export_run(
            found, tool, flags.out, episodes=flags.episodes, conditions=flags.condition, project=flags.project
        ):
            print(line, flush=True)
    return OK
