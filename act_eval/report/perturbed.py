"""The page's section on perturbations: success beside the twin, what differs from it, and the worst seeds."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from act_eval.comparison.robustness import PerturbedResult, Robustness, p_text, robustness
from act_eval.perturbations.purity import purity_text
from act_eval.report.payload import link
from act_eval.report.sources import ConditionSource, RunSource
from act_eval.types import SUCCESS

_MOST_FAILING = 3
_FIGURE = "robustness.png"


def perturbed_sections(runs: Sequence[RunSource], page: Path) -> list[dict[str, Any]]:
    """Return a section for the template of each run with perturbed conditions.

    Args:
        runs: of the page.
        page: path of the page; links are relative to its folder.
    """
    sections = []
    for run in runs:
        conditions = {one.name: one for one in run.conditions}
        found = robustness(
            {name: one.settings for name, one in conditions.items()},
            {name: one.records for name, one in conditions.items()},
        )
        if found.results:
            sections.append(
                {
                    "label": run.label,
                    "caption": ". ".join([found.table().caption, *found.sentences()]),
                    "rows": [_row(one, run.manifest.purity) for one in found.results],
                    "figure": _embedded(run.folder / _FIGURE),
                    "worst": _worst(found, conditions, page),
                }
            )
    return sections


def _row(one: PerturbedResult, purity: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    low, high = (100 * end for end in one.interval)
    label = one.condition.removeprefix(one.twin).lstrip("_")
    return {
        "name": one.name,
        "twin": one.twin,
        "success": f"{one.rate.successes}/{one.rate.trials}",
        "difference": f"{100 * one.difference:+.1f} [{low:+.1f}, {high:+.1f}]",
        "flips": f"{one.table.only_first} / {one.table.only_second}",
        "p": p_text(one.p_holm),
        "verdict": one.verdict,
        "differs": purity_text(purity[label]) if label in purity else "not checked",
    }


def _worst(found: Robustness, conditions: Mapping[str, ConditionSource], page: Path) -> list[dict[str, Any]]:
    """Return the seeds that are lost under most perturbations, each with the twin's clip and those of failures."""
    shown = []
    for episode in found.worst_episodes():
        losing = [one for one in found.results if episode in one.lost]
        filmed = [one for one in losing if episode in conditions[one.condition].videos] or losing
        failing = filmed[:_MOST_FAILING]
        clips = [_clip(conditions[name], name, episode, page) for name in dict.fromkeys(one.twin for one in failing)]
        clips += [_clip(conditions[one.condition], one.name, episode, page) for one in failing]
        seed = conditions[losing[0].twin].records[episode].seed
        shown.append({"seed": seed, "episode": episode, "lost": len(losing), "clips": clips})
    return shown


def _clip(condition: ConditionSource, title: str, episode: int, page: Path) -> dict[str, Any]:
    file, outcome = condition.videos.get(episode), condition.records[episode].outcome
    return {
        "title": title,
        "outcome": outcome if outcome == SUCCESS else outcome.replace("_", " "),
        "address": None if file is None else f"{link(condition.videos_folder, page)}/{quote(file)}",
        "why": condition.missing.get(episode, "not recorded"),
    }


def _embedded(path: Path) -> str | None:
    """Return a figure as an address that contains it; None if there is none."""
    if not path.is_file():
        return None
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
