"""The command line: `act-eval COMMAND …`. Commands are imported when they are asked for, so that help is quick.

The modules here are the commands: each parses its flags, calls the API and prints.
"""

import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module

from act_eval.cli.interrupts import second_interrupt_at_once
from act_eval.errors import ActEvalError, UnknownName, UsageError

COMMANDS = {
    "evaluate": "Evaluate a policy in closed loop, under inference delay, on a suite of seeded episodes.",
    "merge": "Make one run of the parts that `evaluate --shard` left, after checking that they cover it.",
    "sweep": "Sweep policies over inference delay: a grid as one resumable job.",
    "probe": "Tell which declared inputs move a policy's output, and which block it then chooses.",
    "report": "Write the review page of one or several runs: players, lanes and plots, seed by seed.",
    "render": "Film episodes of a run again from their logged states, at any size.",
    "export": "Export a run to CSV, Parquet, TensorBoard, Weights & Biases or Rerun.",
    "compare": "Say whether one run is better or worse than another, on the same episode seeds.",
    "serve": "Serve a policy over a WebSocket, for evaluations on this or another machine.",
    "baseline": "Record the outcomes of a run, for regression tests to compare with.",
    "collect": "Collect demonstrations with the scripted expert into a LeRobotDataset v3 folder.",
    "train": "Train a policy on demonstrations, which are collected first where there are none.",
    "publish": "Make a trained checkpoint a shipped policy, with a page that says how it was made.",
    "completion": "Print a script with which bash, zsh or fish completes these commands and their options.",
}
"""Name → what it does; each is a module of this package with `run(argv) -> exit code`."""

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""

_WIDTH = 80  # columns of the narrowest terminal that help is written for


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return OK if arguments else USAGE
    name, *rest = arguments
    return guarded(lambda: _run(name, rest))


def guarded(command: Callable[[], int]) -> int:
    """Run a command; an error raised on purpose becomes its message and an exit code."""
    try:
        with second_interrupt_at_once():
            return command()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except ActEvalError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(name: str, arguments: list[str]) -> int:
    if name not in COMMANDS:
        raise UnknownName("command", name, COMMANDS)
    return import_module(f"act_eval.cli.{name}").run(arguments, prog=f"act-eval {name}")


def _help() -> str:
    wrap = partial(textwrap.fill, width=_WIDTH, subsequent_indent=" " * 14)
    lines = [wrap(text, initial_indent=f"  {name:<11} ") for name, text in COMMANDS.items()]
    return "\n".join(
        ["usage: act-eval COMMAND [options]", "", *lines, "", "act-eval COMMAND --help lists its options."]
    )
