"""`export-lerobot`: write a checkpoint as a folder that LeRobot itself loads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from act_eval.cli import OK
from act_eval.cli.parsing import parse
from act_eval.errors import UsageError


@dataclass(frozen=True)
class Flags:
    """Write an ACT checkpoint as a folder that LeRobot loads without act_eval.

    Fields that LeRobot cannot express are refused by name.
    """

    checkpoint: tyro.conf.Positional[str]
    """`pretrained_model` folder, name of a shipped policy, or hub id."""
    out: tyro.conf.Positional[Path]
    """New or empty folder."""
    half: bool = True
    """Store the weights in half precision (LeRobot loads them as float32); --no-half keeps float32."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and export; return the exit code.

    Raises:
        ActEvalError: if there is no such checkpoint, LeRobot cannot express it, or the folder has content.
    """
    flags = parse(Flags, argv, prog)
    from act_eval.policies.checkpoint import export_lerobot, load_pretrained  # help needs no torch
    from act_eval.sources.policies import checkpoint_folder

    if flags.out.exists() and not (flags.out.is_dir() and not any(flags.out.iterdir())):
        raise UsageError(f"{flags.out} exists and is no empty folder; name another one")
    export_lerobot(flags.out, *load_pretrained(checkpoint_folder(flags.checkpoint, others=())), half=flags.half)
    print(f"{flags.out}: lerobot-eval --policy.path={flags.out} …")
    return OK
