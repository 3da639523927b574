"""The command line: `act-eval COMMAND …`. A command module is imported only when its command runs, to keep help fast.

A command module parses the flags, calls the API and prints the result.
"""

import atexit
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from threading import current_thread, main_thread
from types import FrameType, ModuleType

from act_eval.errors import ActEvalError, Interrupted, UnknownName, UsageError

COMMANDS = {
    "evaluate": "Evaluate a policy in closed loop, under inference delay, on a suite of seeded episodes.",
    "merge": "Merge the shards of `evaluate --shard` or `sweep --shard` into one run or sweep.",
    "sweep": "Sweep policies over inference delay: a grid as one resumable job.",
    "robustness": "Evaluate a policy under every perturbation and severity, beside the unperturbed twin.",
    "probe": "Measure which declared inputs change a policy's output, and which block it then approaches.",
    "report": "Write the review page of one or several runs: videos, timelines and plots, seed by seed.",
    "render": "Render videos of a run from its logged simulator states, at any size.",
    "export": "Export a run to CSV, Parquet, LeRobot's form, TensorBoard, Weights & Biases, Trackio or Rerun.",
    "compare": "Test whether one run is better or worse than another on the same episode seeds.",
    "serve": "Serve a policy over a WebSocket, for evaluations on this or another machine.",
    "serve-env": "Serve an environment over a WebSocket, for evaluations in another container or on another machine.",
    "baseline": "Record the outcomes of a run as the baseline of regression tests.",
    "collect": "Collect demonstrations with the scripted expert into a LeRobotDataset v3 folder.",
    "train": "Train a policy on demonstrations; missing demonstrations are collected first.",
    "export-lerobot": "Write a checkpoint as a folder that LeRobot itself loads.",
    "publish": "Add a trained checkpoint to the shipped policies, with a page on its training.",
    "completion": "Print a completion script for bash, zsh or fish.",
}
"""Name → help; each is a module of this package (`-` is `_`) with `run(argv) -> exit code`."""

OK, FAILED, USAGE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141
"""Exit codes."""

_WIDTH = 80  # columns of the narrowest supported terminal
_end_process = os._exit  # while users' code runs, os._exit is another one; act_eval.processes takes too long to import


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _run(arguments))


def guarded(command: Callable[[], int]) -> int:
    """Run a command; turn an `ActEvalError` into its message and an exit code.

    The first ctrl-C ends a command in order, the second at once. Finished episodes are kept either way.
    """
    try:
        with _second_interrupt_at_once(), _flushed():
            return command()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    except ActEvalError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except Interrupted as error:
        print(error)
        return INTERRUPTED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has gone, as `head` does. What is left goes nowhere, or Python reports it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:  # of a path that no command guards itself
        print(f"error: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return FAILED


@contextmanager
def _flushed() -> Iterator[None]:
    """Write out what was printed before the end, also of help: a pipe may break only then."""
    try:
        yield
    finally:
        sys.stdout.flush()


@contextmanager
def _second_interrupt_at_once() -> Iterator[None]:
    """Let a second ctrl-C end this process at once; its workers end too."""
    if current_thread() is not main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    pressed = False

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            os.write(2, b"interrupted\n")
            _end_process(INTERRUPTED)
        pressed = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if not pressed:  # else the second one may come while the interpreter ends
            signal.signal(signal.SIGINT, signal.default_int_handler)
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # Python's own end would report the first


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return OK if arguments else USAGE
    name, *arguments = arguments
    if name not in COMMANDS:
        raise UnknownName("command", name, COMMANDS)
    return command_module(name).run(arguments, prog=f"act-eval {name}")


def command_module(name: str) -> ModuleType:
    """Import and return the module of a command."""
    return import_module(f"act_eval.cli.{name.replace('-', '_')}")


def _help() -> str:
    wrap = partial(textwrap.fill, width=_WIDTH, subsequent_indent=" " * 17)
    lines = [wrap(text, initial_indent=f"  {name:<14} ") for name, text in COMMANDS.items()]
    return "\n".join(
        ["usage: act-eval COMMAND [options]", "", *lines, "", "act-eval COMMAND --help lists its options."]
    )
