"""A comparison as Markdown, for pull requests and step summaries."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from act_eval.comparison.compare import ArmFinding, Comparison, Flip
from act_eval.comparison.noise import NoiseFloor
from act_eval.comparison.results import Clip
from act_eval.comparison.selection import Selection
from act_eval.comparison.wording import (
    difference_text,
    headline,
    method_text,
    p_values_text,
    rate_text,
    selection_lines,
    side_by_side,
)

_MOST_FLIPS = 100


def comparison_markdown(comparison: Comparison, noise: Sequence[NoiseFloor] = (), place: Path | None = None) -> str:
    """Return a page: decision, table of arms, and per arm what moved.

    Args:
        comparison: What was found.
        noise: Noise floors to stand beside it.
        place: File that the page will be; videos are linked as seen from there, by default from the working folder.
    """
    folder = Path() if place is None else place.parent
    base, new, arms = comparison.base, comparison.new, len(comparison.findings)
    rows = [
        (f.arms.name, rate_text(f.base), rate_text(f.new), difference_text(f), p_values_text(f, arms), f.verdict)
        for f in comparison.findings
    ]
    parts = [
        f"## {_escape(headline(comparison.decision))}",
        f"BASE {_code(base.place)} ({_escape(base.policy_name)}), NEW {_code(new.place)} ({_escape(new.policy_name)}), "
        f"suite {base.suite.hash}",
        _table(("arm", "BASE", "NEW", "NEW − BASE", "p", "verdict"), rows),
        f"{method_text(comparison)}.",
        _bullets([*comparison.remarks, *(f"noise floor: {floor.describe()}" for floor in noise)]),
        *(_arm(finding, folder) for finding in comparison.findings),
        f"Side by side: {_code(command)}" if (command := side_by_side(comparison)) else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def selection_markdown(selection: Selection) -> str:
    """Return a page on several checkpoints."""
    head = ("checkpoint", *(arm.arm for arm in selection.arms))
    rows = [(run.place, *(arm.rates[i].describe() for arm in selection.arms)) for i, run in enumerate(selection.runs)]
    return "\n\n".join(["## Checkpoints", _table(head, rows), _bullets(selection_lines(selection))]) + "\n"


def noise_markdown(noise: Sequence[NoiseFloor]) -> str:
    """Return a page on a noise floor alone."""
    return "\n\n".join(["## Noise floor", _bullets([floor.describe() for floor in noise])]) + "\n"


def refusal_markdown(text: str) -> str:
    """Return a page that says why nothing was compared."""
    return f"## Not compared\n\n{_fence(text)}\n"


def _arm(finding: ArmFinding, folder: Path) -> str:
    lines = [f"### {_escape(finding.arms.name)}: {finding.verdict}"]
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
    """Return a link to a video as seen from a folder; without one, why there is none."""
    if clip.path is None:
        return _escape(clip.remark)
    return f"[{_escape(clip.path.name)}]({quote(Path(os.path.relpath(clip.path, folder)).as_posix())})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return _rows(head, ([_escape(cell) for cell in row] for row in rows))


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are Markdown already."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_escape(line)}" for line in lines)


def _escape(text: str) -> str:
    """Names come from folders and manifests of others: nothing of them may become Markdown or HTML."""
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
