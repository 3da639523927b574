"""`share`: a finished run as tables and for other tools."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from act_eval.cli.parsing import parse

Tool = Literal["csv", "parquet", "tensorboard", "wandb", "rerun"]


@dataclass(frozen=True)
class Flags:
    """Hand a finished run to other tools. The run itself is not changed, and every file can be made again."""

    run: tyro.conf.Positional[Path]
    """Run folder of `evaluate`, finished."""
    to: tuple[Tool, ...] = ("csv", "parquet")
    """csv (episodes), parquet (episodes and control steps), tensorboard, wandb (rates and a table of all episodes with
    their videos), rerun (one .rrd per episode)."""
    out: Path | None = None
    """Folder of the files; the run folder by default."""
    episodes: str = "failures"
    """Which episodes rerun shows: failures, all, an outcome such as wrong_block, or numbers as in 3,17."""
    arm: tuple[str, ...] = ()
    """Arms that rerun shows; all by default."""
    project: str = "act_eval"
    """Project of Weights & Biases."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and share; return the exit code."""
    flags = parse(Flags, argv, prog)
    from act_eval.cli.finished.sharing import share  # help needs none of the tools

    return share(flags, sys.stdout)
