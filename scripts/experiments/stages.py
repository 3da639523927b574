"""Stages of a study: commands of act-eval, one after the other, each of which is finished once.

A cell is a folder with its own stages. Several processes may work on a study; each takes the cells that are free.
"""

import fcntl
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from act_eval.cli import INTERRUPTED, OK
from act_eval.errors import ActEvalError, RunFolderError
from act_eval.results.records import write_atomically

STATE = "cell.json"
"""In a cell's folder: its finished stages."""
ACT_EVAL = (sys.executable, "-m", "act_eval")
"""The command line, by this interpreter."""
_IGNORED_INPUT = 3  # exit code of a probe that found one; a finding, not a failure


class StageFailed(ActEvalError):
    """A stage of a cell ended with an error."""


def run_cells(
    cells: Mapping[Path, Mapping[str, Sequence[str]]],
    minutes: float | None,
    console: Console,
    program: Sequence[str] = ACT_EVAL,
) -> bool:
    """Run what is left of the cells; return whether all is finished, as far as other processes do not work on it.

    Args:
        cells: folder of each → its stages, each the arguments of `act-eval`.
        minutes: start no stage after this time; None: no limit.
        console: gets a line for each stage.
        program: the command line.

    Raises:
        StageFailed: if a stage fails.
        RunFolderError: if a finished stage had another command.
    """
    until = None if minutes is None else time.monotonic() + 60 * minutes
    try:
        for own, stages in cells.items():
            with _alone(own) as mine:
                if not mine:
                    console.print(f"{own.name}: another process works on it", markup=False)
                elif not _run_cell(own, stages, program, until, console):
                    console.print("time is up; the same command continues")
                    return False
    except KeyboardInterrupt:
        console.print("interrupted; what has finished is kept, the same command continues")
        return False
    return True


def read_state(own: Path) -> dict[str, Any]:
    """Return the finished stages of a cell: each one's command and duration [s]."""
    path = own / STATE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _run_cell(
    own: Path,
    stages: Mapping[str, Sequence[str]],
    program: Sequence[str],
    until: float | None,
    console: Console,
) -> bool:
    """Run the stages that are left; return False where time was up before the last one."""
    state = read_state(own)
    for stage, command in stages.items():
        told = shlex.join(["act-eval", *command])
        if stage in state:
            if state[stage]["command"] != told:
                raise RunFolderError(f"{own}: {stage} was run as {state[stage]['command']}; it is now {told}")
            continue
        if until is not None and time.monotonic() >= until:
            return False
        console.print(f"{own.name}: {stage}", markup=False)
        began = time.monotonic()
        with _alone(output_of(command), wait=True) if command[0] == "collect" else nullcontext():  # data are shared
            _call(_resumed(command), program, own / f"{stage}.log")
        state[stage] = {"command": told, "seconds": round(time.monotonic() - began, 1)}
        write_atomically(own / STATE, (json.dumps(state, indent=2) + "\n").encode())
    return True


def output_of(command: Sequence[str]) -> Path:
    """Return the folder that a command writes."""
    return Path(command[command.index("--out") + 1])


def _resumed(command: Sequence[str]) -> Sequence[str]:
    """Return the command that goes on with a training that was begun before."""
    if command[0] != "train" or not (output_of(command) / "checkpoints" / "last").exists():
        return command
    return ["train", "--resume", str(output_of(command))]


def _call(command: Sequence[str], program: Sequence[str], log: Path) -> None:
    """Run a command, its output kept in a file."""
    with log.open("ab") as stream:
        # A process of its own, so that a stage leaves nothing behind: threads, memory, GL contexts.
        process = subprocess.Popen([*program, *command], stdout=stream, stderr=subprocess.STDOUT)
        try:
            code = process.wait()
        except KeyboardInterrupt:  # the whole process group got it: the stage saves what it has
            process.wait()
            raise
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code != OK and not (command[0] == "probe" and code == _IGNORED_INPUT):
        last = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise StageFailed(
            f"{shlex.join(['act-eval', *command])} failed with exit code {code}: {' | '.join(last)}; {log}"
        )


@contextmanager
def _alone(place: Path, wait: bool = False) -> Iterator[bool]:
    """Hold a place against other processes; yield whether it is ours."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not wait:
        place.mkdir(exist_ok=True)
    with place.with_name(f".{place.name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
