"""Printed output of a comparison."""

from collections.abc import Sequence

from rich.console import Console
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
from act_eval.results.tables import Table
from act_eval.types import OUTCOMES

_MOST_FLIPS = 10


def show_comparison(console: Console, comparison: Comparison, noise: Sequence[NoiseFloor]) -> None:
    """Print the findings, the changes, the notes and the decision."""
    _say(console, f"BASE {comparison.base.place} ({comparison.base.policy_name})")
    _say(console, f"NEW  {comparison.new.place} ({comparison.new.policy_name})")
    _say(console, f"\n{_findings(comparison).text(console.width)}\n")
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
    own = selection.conditions
    rows = [
        (f"{run.place}{' (best)' if i == selection.best else ''}", *(one.rates[i].describe() for one in own))
        for i, run in enumerate(selection.runs)
    ]
    table = Table(heads=("checkpoint", *(one.condition for one in own)), rows=tuple(rows), boxed=False)
    _say(console, table.text(console.width))
    for line in selection_lines(selection):
        _say(console, line)


def _findings(comparison: Comparison) -> Table:
    p_name = "p" if len(comparison.findings) == 1 else "Holm p"
    rows = [
        (
            one.conditions.name.replace(" → ", "\n→ "),
            f"{one.base.successes}/{one.base.trials}",
            f"{one.new.successes}/{one.new.trials}",
            difference_text(one).replace(" [", "\n["),
            str(one.pairs.only_first) if one.pairs else "–",
            str(one.pairs.only_second) if one.pairs else "–",
            p_text(one.adjusted),
            one.verdict,
        )
        for one in comparison.findings
    ]
    heads = ("condition", "BASE", "NEW", "NEW - BASE", "lost", "won", p_name, "verdict")
    return Table(heads=heads, rows=tuple(rows), boxed=False)


def _show_condition(console: Console, finding: ConditionFinding) -> None:
    _say(console, f"{finding.conditions.name}: {finding.detectable()}")
    if finding.doubt:
        _say(console, f"{finding.conditions.name}: {finding.doubt}")
    if any(before != now for before, now in finding.migration):
        _say(console, f"\n{_migration(finding).text(console.width)}\n")
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
    counts = [[finding.migration.get((before, now), 0) for now in columns] for before in rows]
    return Table(
        heads=("BASE \\ NEW", *columns),
        rows=tuple((before, *(str(n) if n else "·" for n in own)) for before, own in zip(rows, counts, strict=True)),
        boxed=False,
    )


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False)
