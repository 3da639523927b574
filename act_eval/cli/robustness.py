"""`robustness`: evaluate a policy under every axis of perturbation at every severity, beside the unperturbed twin."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from act_eval.cli import OK
from act_eval.cli.parsing import parse
from act_eval.config import EvaluateConfig, Video
from act_eval.errors import UsageError


@dataclass(frozen=True)
class Flags(EvaluateConfig):
    """Evaluate a policy under every axis of perturbation at every severity, on the same episode seeds."""

    axes: tuple[str, ...] = ("all",)
    """Axes, as --perturb of `evaluate` takes them without a severity; all that the environment offers by default."""
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Severities from 1 to 5."""
    delays: tuple[str, ...] | None = ("0",)
    """Inference delays, as `evaluate` takes them."""
    video: Video = "none"
    """Episodes to record videos of; with none, the worst ones are rendered at the end."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and evaluate; return the exit code."""
    flags = parse(Flags, argv, prog)
    from act_eval.cli.screen import console_for, print_run, print_shard  # slow to import; help does not need it
    from act_eval.evaluation.checks import check_any_valid
    from act_eval.evaluation.robustness import evaluate_robustness, perturbations_of
    from act_eval.evaluation.run import FinishedShard
    from act_eval.progress import Terminal

    if flags.perturb:
        raise UsageError("--perturb is for evaluate; robustness takes --axes and --severities")
    console = console_for(sys.stdout)
    perturb = perturbations_of(flags.axes, flags.severities)
    found = evaluate_robustness(replace(flags, perturb=perturb), Terminal(console, one_bar=True))
    if isinstance(found, FinishedShard):
        print_shard(found, console)
        return OK
    print_run(found, console)
    check_any_valid(found.records)
    return OK
