"""A comparison, a noise floor and a selection as files: JSON, Markdown for pull requests, JUnit XML for build servers.

The fields of the JSON are documented in docs/comparing.md.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

from act_eval.comparison.findings import (
    Comparison,
    ConditionFinding,
    Flip,
    difference_text,
    finding_text,
    headline,
    method_text,
    p_values_text,
    rate_text,
    side_by_side,
)
from act_eval.comparison.noise import NoiseFloor
from act_eval.comparison.selection import Selection, selection_lines
from act_eval.comparison.sides import Clip, Side
from act_eval.stats import SuccessRate

SCHEMA = 2
"""Version of the JSON's fields."""

_CLASS = "act_eval.compare"
_MOST_FLIPS = 100


def comparison_json(comparison: Comparison, noise: Sequence[NoiseFloor] = ()) -> dict[str, Any]:
    """Return a comparison as JSON values."""
    decision, rules = comparison.decision, comparison.rules
    return {
        "schema": SCHEMA,
        "base": _side(comparison.base),
        "new": _side(comparison.new),
        "rules": asdict(rules),
        "decision": {
            "require": decision.requirement,
            "passed": decision.passed,
            "reason": decision.reason,
            **({} if decision.unseen_drop is None else {"unseen_drop": decision.unseen_drop}),
        },
        "conditions": [_finding(finding) for finding in comparison.findings],
        "remarks": list(comparison.remarks),
        "noise_floor": [noise_json(floor) for floor in noise],
    }


def noise_json(floor: NoiseFloor) -> dict[str, Any]:
    """Return a noise floor as JSON values."""
    return {**asdict(floor), "rates": [_rate(rate) for rate in floor.rates]}


def selection_json(selection: Selection) -> dict[str, Any]:
    """Return a selection as JSON values."""
    held_out = selection.held_out
    return {
        "schema": SCHEMA,
        "checkpoints": [_side(run) for run in selection.runs],
        "best": selection.best,
        "conditions": [
            {**asdict(condition), "rates": [_rate(rate) for rate in condition.rates]}
            for condition in selection.conditions
        ],
        "held_out": held_out
        and {
            **_side(held_out.side),
            "chosen": held_out.chosen,
            "rates": {condition: _rate(rate) for condition, rate in held_out.rates.items()},
        },
    }


def _finding(finding: ConditionFinding) -> dict[str, Any]:
    return {
        "base_condition": finding.conditions.base,
        "new_condition": finding.conditions.new,
        "verdict": finding.verdict,
        "doubt": finding.doubt,
        "passed": finding.passed,
        "base": _rate(finding.base),
        "new": _rate(finding.new),
        "difference": _number(finding.difference),
        "interval": list(finding.interval),
        "p_value": finding.p_value,
        "p_adjusted": finding.adjusted,
        "test": "exact McNemar" if finding.pairs else "Barnard",
        "pairs": asdict(finding.pairs) if finding.pairs else None,
        "invalid": list(finding.invalid),
        "detectable_drop": finding.detectable_drop,
        "detectable_gain": finding.detectable_gain,
        "migration": [{"base": b, "new": n, "episodes": count} for (b, n), count in finding.migration.items()],
        "flips": [_flip(flip) for flip in finding.flips],
    }


def _flip(flip: Flip) -> dict[str, Any]:
    clips = {"base_video": flip.base_clip, "new_video": flip.new_clip}
    return {
        "episode": flip.episode,
        "seed": flip.seed,
        "base": flip.base,
        "new": flip.new,
        **{name: clip.path.as_posix() if clip.path else None for name, clip in clips.items()},
    }


def _side(side: Side) -> dict[str, Any]:
    return {
        "place": side.place,
        "policy": dict(side.policy),
        "suite": side.suite.hash,
        "env": side.suite.env,
        "episodes": len(side.suite.seeds),
    }


def _rate(rate: SuccessRate) -> dict[str, Any]:
    interval = list(rate.wilson())
    return {"successes": rate.successes, "trials": rate.trials, "rate": _number(rate.rate), "wilson_95": interval}


def _number(value: float) -> float | None:
    return value if isfinite(value) else None


def comparison_markdown(comparison: Comparison, noise: Sequence[NoiseFloor] = (), place: Path | None = None) -> str:
    """Return a Markdown page: decision, table of conditions, and the changes of each condition.

    Args:
        comparison: The comparison.
        noise: Noise floors to include.
        place: File of the page; links to videos are relative to it, by default to the working folder.
    """
    folder = Path() if place is None else place.parent
    base, new, conditions = comparison.base, comparison.new, len(comparison.findings)
    rows = [
        (
            f.conditions.name,
            rate_text(f.base),
            rate_text(f.new),
            difference_text(f),
            p_values_text(f, conditions),
            f.verdict,
        )
        for f in comparison.findings
    ]
    parts = [
        f"## {_escape(headline(comparison.decision))}",
        f"BASE {_code(base.place)} ({_escape(base.policy_name)}), NEW {_code(new.place)} ({_escape(new.policy_name)}), "
        f"suite {base.suite.hash}",
        _table(("condition", "BASE", "NEW", "NEW − BASE", "p", "verdict"), rows),
        f"{method_text(comparison)}.",
        _bullets([*comparison.remarks, *(f"noise floor: {floor.describe()}" for floor in noise)]),
        *(_condition(finding, folder) for finding in comparison.findings),
        f"Side by side: {_code(command)}" if (command := side_by_side(comparison)) else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def selection_markdown(selection: Selection) -> str:
    """Return a Markdown page on several checkpoints."""
    head = ("checkpoint", *(condition.condition for condition in selection.conditions))
    rows = [
        (run.place, *(condition.rates[i].describe() for condition in selection.conditions))
        for i, run in enumerate(selection.runs)
    ]
    return "\n\n".join(["## Checkpoints", _table(head, rows), _bullets(selection_lines(selection))]) + "\n"


def noise_markdown(noise: Sequence[NoiseFloor]) -> str:
    """Return a Markdown page on a noise floor alone."""
    return "\n\n".join(["## Noise floor", _bullets([floor.describe() for floor in noise])]) + "\n"


def refusal_markdown(text: str) -> str:
    """Return a Markdown page with the reason of a refused comparison."""
    return f"## Not compared\n\n{_fence(text)}\n"


def _condition(finding: ConditionFinding, folder: Path) -> str:
    lines = [f"### {_escape(finding.conditions.name)}: {finding.verdict}"]
    if finding.doubt:
        lines.append(_escape(f"{finding.doubt}."))
    lines.append(f"{finding.detectable()[0].upper()}{finding.detectable()[1:]}.")
    if pairs := finding.pairs:
        counts = (
            ("BASE succeeded", str(pairs.both), str(pairs.only_first)),
            ("BASE failed", str(pairs.only_second), str(pairs.neither)),
        )
        lines.append(_table(("episodes", "NEW succeeded", "NEW failed"), counts))
    if moved := [(b, n, count) for (b, n), count in finding.migration.items() if b != n]:
        rows = [(b, n, str(count)) for b, n, count in moved]
        lines.append(_table(("outcome in BASE", "outcome in NEW", "episodes"), rows))
    if finding.flips:
        lines.append(_flips(finding.flips, folder))
    return "\n\n".join(lines)


def _flips(flips: Sequence[Flip], folder: Path) -> str:
    rows = [
        (*map(_escape, texts), _link(flip.base_clip, folder), _link(flip.new_clip, folder))
        for flip in flips[:_MOST_FLIPS]
        for texts in [(str(flip.episode), str(flip.seed), f"{flip.base} → {flip.new}")]
    ]
    table = _rows(("episode", "seed", "outcome", "video of BASE", "video of NEW"), rows)
    more = f"\n\n{len(flips) - _MOST_FLIPS} more are in the JSON." if len(flips) > _MOST_FLIPS else ""
    return f"<details><summary>{len(flips)} flipped seeds</summary>\n\n{table}{more}\n\n</details>"


def _link(clip: Clip, folder: Path) -> str:
    """Return a relative link to a video, or the reason why there is none."""
    if clip.path is None:
        return _escape(clip.remark)
    return f"[{_escape(clip.path.name)}]({quote(Path(os.path.relpath(clip.path, folder)).as_posix())})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return _rows(head, ([_escape(cell) for cell in row] for row in rows))


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown cells."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_escape(line)}" for line in lines)


def _escape(text: str) -> str:
    """Escape a name from a folder or manifest, which must not become Markdown or HTML."""
    flat = " ".join(text.split())
    for mark, safe in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        flat = flat.replace(mark, safe)
    for mark in "|`*!":
        flat = flat.replace(mark, f"\\{mark}")
    return flat.replace("](", "] (")


def _code(text: str) -> str:
    return f"`{text.replace('`', '')}`"


def _fence(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def comparison_junit(comparison: Comparison) -> str:
    """Return a JUnit document: a condition that fails the requirement is a failure, an inconclusive one an error."""
    kinds = {True: None, False: ("failure", "regression"), None: ("error", "inconclusive")}
    conditions = len(comparison.findings)
    cases = [(f.conditions.name, finding_text(f, conditions), kinds[f.passed]) for f in comparison.findings]
    return _junit(cases, [headline(comparison.decision), method_text(comparison), *comparison.remarks])


def refusal_junit(text: str) -> str:
    """Return a JUnit document of a refused comparison: one error."""
    return _junit([("comparable", text, ("error", "not comparable"))], [])


def _junit(cases: Sequence[tuple[str, str, tuple[str, str] | None]], remarks: Sequence[str]) -> str:
    """Return a document of test cases, each a name, a text, and the element and type of its failure."""
    kinds = [kind[0] if kind else "" for _, _, kind in cases]
    counts = {"tests": len(cases), "failures": kinds.count("failure"), "errors": kinds.count("error"), "skipped": 0}
    suites = ET.Element("testsuites")
    suite = ET.SubElement(suites, "testsuite", {"name": _CLASS, **{k: str(v) for k, v in counts.items()}, "time": "0"})
    for name, text, kind in cases:
        case = ET.SubElement(suite, "testcase", {"classname": _CLASS, "name": _legal(name), "time": "0"})
        if kind is not None:
            ET.SubElement(case, kind[0], {"message": _legal(text), "type": kind[1]}).text = _legal(text)
        if remarks:
            ET.SubElement(case, "system-out").text = _legal(text)
    if remarks:
        ET.SubElement(suite, "system-out").text = _legal("\n".join(remarks))
    ET.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


def _legal(text: str) -> str:
    """Remove characters that XML 1.0 does not allow."""
    return "".join(
        c for c in text if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
    )
