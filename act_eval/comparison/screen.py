"""Printed output of a comparison."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from act_eval.comparison.findings import (
    Comparison,
    ConditionFinding,
    difference_text,
    headline,
    method_text,
    p_text,
    side_by_side,
)
from act_eval.comparison.noise import NoiseFloor
from act_eval.comparison.selection import Selection, selection_lines
from act_eval.types import OUTCOMES

_MOST_FLIPS = 10
_STYLES = {"better": "green", "worse": "red", "equivalent within margin": "green", "inconclusive": "yellow"}


def show_comparison(console: Console, comparison: Comparison, noise: Sequence[NoiseFloor]) -> None:
    """Print the findings, the changes, the notes and the decision."""
    _say(console, f"BASE {comparison.base.place} ({comparison.base.policy_name})")
    _say(console, f"NEW  {comparison.new.place} ({comparison.new.policy_name})")
    console.print(_findings(comparison))
    _say(console, method_text(comparison))
    for finding in comparison.findings:
        _show_condition(console, finding)
    if command := side_by_side(comparison):
        _say(console, f"side by side: {command}")
    show_noise(console, noise)
    for line in comparison.remarks:
        _say(console, f"note: {line}")
    style = {True: "bold green", False: "bold red", None: "bold yellow"}[comparison.decision.passed]
    console.print(Text(headline(comparison.decision), style))


def show_noise(console: Console, noise: Sequence[NoiseFloor]) -> None:
    """Print a line per condition."""
    for floor in noise:
        _say(console, f"noise floor, {floor.describe()}")


def show_selection(console: Console, selection: Selection) -> None:
    """Print every checkpoint's rates, their mean, and the selection bias of the best."""
    table = Table("checkpoint", *(Column(Text(condition.condition)) for condition in selection.conditions))
    for i, run in enumerate(selection.runs):
        best = " (best)" if i == selection.best else ""
        table.add_row(
            Text(f"{run.place}{best}"), *(condition.rates[i].describe() for condition in selection.conditions)
        )
    console.print(table)
    for line in selection_lines(selection):
        _say(console, line)


def _findings(comparison: Comparison) -> Table:
    conditions = len(comparison.findings)
    p_name = "p" if conditions == 1 else "Holm p"
    heads = ("NEW - BASE", "lost", "won", p_name, "verdict")
    table = Table(Column("condition", no_wrap=True), "BASE", "NEW", *heads, box=SIMPLE_HEAD, pad_edge=False)
    for finding in comparison.findings:
        pairs, difference = finding.pairs, difference_text(finding)
        table.add_row(
            Text(finding.conditions.name.replace(" → ", "\n→ ")),
            f"{finding.base.successes}/{finding.base.trials}",
            f"{finding.new.successes}/{finding.new.trials}",
            Text(difference.replace(" [", "\n[")),
            str(pairs.only_first) if pairs else "–",
            str(pairs.only_second) if pairs else "–",
            p_text(finding.adjusted),
            Text(finding.verdict, _STYLES[finding.verdict]),
        )
    return table


def _show_condition(console: Console, finding: ConditionFinding) -> None:
    _say(console, f"{finding.conditions.name}: {finding.detectable()}")
    if finding.doubt:
        _say(console, f"{finding.conditions.name}: {finding.doubt}")
    if any(before != now for before, now in finding.migration):
        console.print(_migration(finding))
    for flip in finding.flips[:_MOST_FLIPS]:
        _say(console, f"  seed {flip.seed} (episode {flip.episode}): {flip.base} → {flip.new}")
        if flip.base_clip.path or flip.new_clip.path:
            _say(console, f"    BASE {flip.base_clip}")
            _say(console, f"    NEW  {flip.new_clip}")
    if len(finding.flips) > _MOST_FLIPS:
        _say(console, f"  and {len(finding.flips) - _MOST_FLIPS} more flipped seeds: --json or --markdown lists them")


def _migration(finding: ConditionFinding) -> Table:
    rows = [outcome for outcome in OUTCOMES if any(before == outcome for before, _ in finding.migration)]
    columns = [outcome for outcome in OUTCOMES if any(now == outcome for _, now in finding.migration)]
    table = Table("BASE \\ NEW", *columns, box=SIMPLE_HEAD, pad_edge=False)
    for before in rows:
        counts = [finding.migration.get((before, now), 0) for now in columns]
        table.add_row(before, *(str(count) if count else "·" for count in counts))
    return table


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False)
