"""`compare`: test whether NEW is better or worse than BASE on the same episode seeds."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console

from act_eval.cli.parsing import parse
from act_eval.errors import ActEvalError, RunFolderError, SuiteMismatch, UsageError

PASSED, USAGE, NOT_COMPARABLE = 0, 2, 3
"""Exit codes; 1 is reserved for a requirement that is not met, so a missing or damaged run is a usage error here."""


@dataclass(frozen=True)
class Flags:
    """Compare two runs of the same suite, or several checkpoints.

    Exit codes: 0 the requirement is met, 1 it is not met, 2 usage error, 3 not comparable or inconclusive.
    """

    runs: tyro.conf.Positional[tuple[str, ...]] = ()
    """BASE and NEW: run folders of `evaluate`, files of `baseline`, or single conditions as RUN:CONDITION."""
    condition: tuple[str, ...] = ()
    """Conditions to compare, as NAME or BASE_NAME=NEW_NAME; by default all that both runs have."""
    unpaired: bool = False
    """Compare the success rates of different episodes, with Barnard's exact test."""
    require: Literal["no-regression", "non-inferior"] = "no-regression"
    """no-regression fails if a drop is detected; non-inferior passes if a drop of --margin is excluded."""
    margin: float = 0.05
    """Largest negligible difference of success rates."""
    alpha: float = 0.05
    """Family-wise level of the two-sided tests over all conditions."""
    noise_floor: tuple[str, ...] = ()
    """Also measure differences by chance alone, from runs of the same weights on disjoint suites (--seed), or from
    one run split into such suites."""
    checkpoints: tuple[str, ...] = ()
    """Instead of BASE and NEW: one run per checkpoint, all on the same suite."""
    held_out: str | None = None
    """With --checkpoints: a run of the chosen checkpoint on other episodes (`evaluate --held-out`)."""
    markdown: Path | None = None
    """File to write as Markdown."""
    json: Path | None = None
    """File to write as JSON."""
    junit: Path | None = None
    """File to write as JUnit XML."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and compare; return the exit code. Output files receive a refusal too."""
    flags = parse(Flags, argv, prog)
    try:
        return _run(flags, Console(file=sys.stdout, highlight=False, soft_wrap=True))
    except SuiteMismatch as error:
        return _refuse(flags, str(error), NOT_COMPARABLE)
    except (UsageError, RunFolderError) as error:
        return _refuse(flags, str(error), USAGE)


def _run(flags: Flags, console: Console) -> int:
    if flags.checkpoints:
        return _select(flags, console)
    if flags.held_out:
        raise UsageError("--held-out belongs to --checkpoints")
    if flags.noise_floor and not flags.runs:
        return _only_noise(flags, console)
    if len(flags.runs) != 2:
        raise UsageError(f"compare takes BASE and NEW, got {len(flags.runs)}: {' '.join(flags.runs) or 'nothing'}")
    return _compare(flags, console)


def _compare(flags: Flags, console: Console) -> int:
    from act_eval.comparison.findings import compare_places  # scipy is not needed for help
    from act_eval.comparison.formats import comparison_json, comparison_junit, comparison_markdown
    from act_eval.comparison.noise import read_noise_floor
    from act_eval.comparison.screen import show_comparison
    from act_eval.comparison.verdicts import Rules

    rules = Rules(alpha=flags.alpha, margin=flags.margin, paired=not flags.unpaired)
    found = compare_places(*flags.runs, conditions=flags.condition, rules=rules, requirement=flags.require)
    noise = read_noise_floor(flags.noise_floor, len(found.base.suite.seeds))
    show_comparison(console, found, noise)
    _write(flags.markdown, lambda: comparison_markdown(found, noise, flags.markdown), console)
    _write(flags.json, lambda: _dump({**comparison_json(found, noise), "exit_code": found.exit_code}), console)
    _write(flags.junit, lambda: comparison_junit(found), console)
    return found.exit_code


def _select(flags: Flags, console: Console) -> int:
    if flags.runs or flags.noise_floor or flags.unpaired or flags.junit:
        raise UsageError("--checkpoints takes --condition, --held-out, --markdown and --json, and no other run or test")
    from act_eval.comparison.formats import selection_json, selection_markdown
    from act_eval.comparison.screen import show_selection
    from act_eval.comparison.selection import select
    from act_eval.comparison.sides import Side

    runs = [Side.read(Path(place)) for place in flags.checkpoints]
    held_out = Side.read(Path(flags.held_out)) if flags.held_out else None
    selection = select(runs, flags.condition, held_out)
    show_selection(console, selection)
    _write(flags.markdown, lambda: selection_markdown(selection), console)
    _write(flags.json, lambda: _dump({**selection_json(selection), "exit_code": PASSED}), console)
    return PASSED


def _only_noise(flags: Flags, console: Console) -> int:
    if flags.junit:
        raise UsageError("a noise floor alone is not a test; omit --junit")
    from act_eval.comparison.formats import SCHEMA, noise_json, noise_markdown
    from act_eval.comparison.noise import read_noise_floor
    from act_eval.comparison.screen import show_noise

    noise = read_noise_floor(flags.noise_floor, None)
    show_noise(console, noise)
    _write(flags.markdown, lambda: noise_markdown(noise), console)
    values = {"schema": SCHEMA, "noise_floor": [noise_json(floor) for floor in noise], "exit_code": PASSED}
    _write(flags.json, lambda: _dump(values), console)
    return PASSED


def _refuse(flags: Flags, text: str, code: int) -> int:
    from act_eval.comparison.formats import SCHEMA, refusal_junit, refusal_markdown

    print(f"error: {text}", file=sys.stderr)
    quiet = Console(file=sys.stderr, quiet=True)
    try:
        _write(flags.markdown, lambda: refusal_markdown(text), quiet)
        _write(flags.json, lambda: _dump({"schema": SCHEMA, "error": text, "exit_code": code}), quiet)
        _write(flags.junit, lambda: refusal_junit(text), quiet)
    except ActEvalError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    return code


def _write(path: Path | None, text: Callable[[], str], console: Console) -> None:
    """Write a file directly, because a step summary may be a pipe."""
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
