"""Carry out a comparison: read, judge, show, write."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console

from act_eval.cli.finished.comparison_screen import show_comparison, show_noise, show_selection
from act_eval.comparison.as_json import SCHEMA, comparison_json, noise_json, selection_json
from act_eval.comparison.compare import compare
from act_eval.comparison.junit import comparison_junit, refusal_junit
from act_eval.comparison.markdown import comparison_markdown, noise_markdown, refusal_markdown, selection_markdown
from act_eval.comparison.noise import NoiseFloor, noise_floor
from act_eval.comparison.pairing import pair_arms
from act_eval.comparison.results import Results, parse_place
from act_eval.comparison.selection import select
from act_eval.comparison.verdicts import Rules
from act_eval.errors import ActEvalError, RunFolderError, SuiteMismatch, UsageError

if TYPE_CHECKING:
    from act_eval.cli.compare import Flags

PASSED, FAILED, USAGE, NOT_COMPARABLE = 0, 1, 2, 3
"""Exit codes. A run that is missing or damaged is a usage error here: 1 means a regression and nothing else."""


def carry_out(flags: "Flags", out: TextIO, err: TextIO) -> int:
    """Compare as the flags say; return the exit code. What was refused is written too, for whoever reads the files."""
    try:
        return _run(flags, Console(file=out, highlight=False, soft_wrap=True))
    except SuiteMismatch as error:
        return _refuse(flags, str(error), NOT_COMPARABLE, err)
    except (UsageError, RunFolderError) as error:
        return _refuse(flags, str(error), USAGE, err)


def _run(flags: "Flags", console: Console) -> int:
    if flags.checkpoints:
        return _select(flags, console)
    if flags.held_out:
        raise UsageError("--held-out belongs to --checkpoints")
    if flags.noise_floor and not flags.runs:
        return _only_noise(flags, console)
    if len(flags.runs) != 2:
        raise UsageError(f"compare takes BASE and NEW, got {len(flags.runs)}: {' '.join(flags.runs) or 'nothing'}")
    return _compare(flags, console)


def _compare(flags: "Flags", console: Console) -> int:
    rules = Rules(alpha=flags.alpha, margin=flags.margin, paired=not flags.unpaired)
    (base_path, base_arm), (new_path, new_arm) = (parse_place(text) for text in flags.runs)
    base = Results.read(base_path)
    new = base if new_path == base_path else Results.read(new_path)
    pairs = pair_arms(base, new, flags.arm, (base_arm, new_arm))
    if base is new and any(pair.base == pair.new for pair in pairs):
        raise UsageError(f"{' '.join(flags.runs)} are the same arm of the same run; name two, as in RUN:ARM RUN:OTHER")
    comparison = compare(base, new, pairs, rules, flags.require)
    noise = _noise(flags.noise_floor, len(base.suite.seeds))
    show_comparison(console, comparison, noise)
    code = {True: PASSED, False: FAILED, None: NOT_COMPARABLE}[comparison.decision.passed]
    _write(flags.markdown, lambda: comparison_markdown(comparison, noise, flags.markdown), console)
    _write(flags.json, lambda: _dump({**comparison_json(comparison, noise), "exit_code": code}), console)
    _write(flags.junit, lambda: comparison_junit(comparison), console)
    return code


def _select(flags: "Flags", console: Console) -> int:
    if flags.runs or flags.noise_floor or flags.unpaired or flags.junit:
        raise UsageError("--checkpoints takes --arm, --held-out, --markdown and --json, and no other run or test")
    runs = [Results.read(Path(place)) for place in flags.checkpoints]
    held_out = Results.read(Path(flags.held_out)) if flags.held_out else None
    selection = select(runs, flags.arm, held_out)
    show_selection(console, selection)
    _write(flags.markdown, lambda: selection_markdown(selection), console)
    _write(flags.json, lambda: _dump({**selection_json(selection), "exit_code": PASSED}), console)
    return PASSED


def _only_noise(flags: "Flags", console: Console) -> int:
    if flags.junit:
        raise UsageError("a noise floor alone is no test: leave --junit away")
    noise = _noise(flags.noise_floor, None)
    show_noise(console, noise)
    _write(flags.markdown, lambda: noise_markdown(noise), console)
    values = {"schema": SCHEMA, "noise_floor": [noise_json(floor) for floor in noise], "exit_code": PASSED}
    _write(flags.json, lambda: _dump(values), console)
    return PASSED


def _noise(places: Sequence[str], size: int | None) -> list[NoiseFloor]:
    return noise_floor([Results.read(Path(place)) for place in places], size) if places else []


def _refuse(flags: "Flags", text: str, code: int, err: TextIO) -> int:
    print(f"error: {text}", file=err)
    quiet = Console(file=err, quiet=True)
    try:
        _write(flags.markdown, lambda: refusal_markdown(text), quiet)
        _write(flags.json, lambda: _dump({"schema": SCHEMA, "error": text, "exit_code": code}), quiet)
        _write(flags.junit, lambda: refusal_junit(text), quiet)
    except ActEvalError as error:
        print(f"error: {error}", file=err)
        return USAGE
    return code


def _write(path: Path | None, text: Callable[[], str], console: Console) -> None:
    """Write a file; into its place directly, because a step summary may be a pipe."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    console.print(f"written {path}", markup=False)


def _dump(values: object) -> str:
    return json.dumps(values, indent=1, allow_nan=False) + "\n"
