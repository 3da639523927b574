"""Report of the finished cells of a study, as Markdown and JSON: every number with its command."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from safetensors import safe_open

from act_eval.comparison.findings import ConditionFinding, compare_places
from act_eval.diagnostics.grasp_choice import GraspMode, grasp_choices_of
from act_eval.plots.style import caption, looks, panel_title, panels, save
from act_eval.results.records import write_atomically
from act_eval.results.run import read_run
from act_eval.stats import SuccessRate, holm
from act_eval.types import ENVIRONMENT_STATE
from collapse_cells import Budget, Cell, Stage, cells
from stages import read_state

CONDITION = "naive_d0_s10"
_LINE_IN = 0.24  # height of a cell in the figure
_QUESTIONS = {
    1: "Does plain ACT collapse on clean data?",
    2: "Which damage to the goal input gives loss without success?",
    3: "Which variant helps where there is room to help?",
}
_NO_CONFUSER = "no confuser"
_MODES = (*get_args(GraspMode), _NO_CONFUSER)
_SCENES: tuple[Stage, ...] = ("present", "absent", "exchanged", "novel")


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One evaluation of a cell."""

    success: SuccessRate
    wrong_block: int
    between: int
    mode: str
    """Verdict on where it closes; `no confuser` where there was none."""
    index_median: float | None
    """Of the grasp choice, over the episodes that closed."""
    call_ms: float | None
    """Median of a network call with up to 8 rows; under whatever else the machine did."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished cell."""

    cell: Cell
    demonstrations: int
    """Trained on, held-out ones included."""
    train_loss: float
    """Mean over the last 100 steps."""
    validation_loss: float
    """Mean absolute error of normalised actions on held-out demonstrations, averaged weights."""
    parameters: int
    goal_input: str
    """The probe's verdict on the goal input."""
    scenes: Mapping[Stage, Evaluated]
    commands: Mapping[Stage, str]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A planned comparison: on the same episodes, with the confuser present."""

    first: str
    second: str
    finding: ConditionFinding
    p_holm: float
    """Exact McNemar test, corrected over the comparisons of the report."""


def write_report(folder: Path, budget: Budget) -> Path:
    """Write `report.md` and `report.json` on the cells that have finished; return the page's path."""
    finished = [read_cell(cell, budget, folder) for cell in cells().values() if _is_finished(cell, folder)]
    compared = compare_planned(finished, folder)
    values = {
        "budget": asdict(budget),
        "cells": [_as_json(cell) for cell in finished],
        "compared": [
            {"first": c.first, "second": c.second, "table": asdict(c.finding.table), "p_holm": c.p_holm}
            for c in compared
        ],
    }
    write_atomically(folder / "report.json", (json.dumps(values, indent=2) + "\n").encode())
    if finished:
        figure = success_of_cells(_panels(finished), "Study of mode collapse: success of every cell")
        save(figure, folder / "success")
    page = folder / "report.md"
    write_atomically(page, _page(finished, compared, budget).encode())
    return page


def _panels(finished: Sequence[Finished]) -> dict[str, list[tuple[str, SuccessRate, str]]]:
    """Return question → its cells; undamaged cells that others are compared with stand there too."""
    found: dict[str, list[tuple[str, SuccessRate, str]]] = {}
    for done in finished:
        present = done.scenes["present"]
        found.setdefault(_QUESTIONS[done.cell.question], []).append((done.cell.name, present.success, present.mode))
    return found


def _is_finished(cell: Cell, folder: Path) -> bool:
    return not set(cell.stages) - set(read_state(folder / cell.name))


def read_cell(cell: Cell, budget: Budget, folder: Path) -> Finished:
    """Return what a finished cell's files say."""
    own = folder / cell.name
    lines = [json.loads(line) for line in (own / "train" / "train.jsonl").read_text().splitlines()]
    losses = [line["l1_loss"] for line in lines if "lr" in line]
    validations = [line["validation"]["l1_loss"] for line in lines if "validation" in line]
    verdicts = json.loads((own / "probe.json").read_text())["verdicts"]
    verdict = next(entry["mode"] for entry in verdicts if entry["input"] == ENVIRONMENT_STATE)
    return Finished(
        cell=cell,
        demonstrations=cell.demonstrations or budget.demonstrations,
        train_loss=float(np.mean(losses[-100:])),
        validation_loss=validations[-1],
        parameters=_parameters(own / "train" / "checkpoints" / "last" / "pretrained_model" / "model.safetensors"),
        goal_input=verdict,
        scenes={scene: _evaluated(own / scene) for scene in cell.conditions},
        commands={stage: entry["command"] for stage, entry in read_state(own).items()},
    )


def compare_planned(finished: Sequence[Finished], folder: Path) -> list[Compared]:
    """Return the planned comparisons whose two cells have finished, on the same episodes with the confuser present."""
    names = [done.cell.name for done in finished]
    pairs = [(done.cell.against, done.cell.name) for done in finished if done.cell.against in names]
    findings = [compare_places(*(folder / str(name) / "present" for name in pair)).findings[0] for pair in pairs]
    corrected = holm([finding.p for finding in findings])
    return [
        Compared(first=str(first), second=second, finding=finding, p_holm=p)
        for (first, second), finding, p in zip(pairs, findings, corrected, strict=True)
    ]


def _evaluated(run: Path) -> Evaluated:
    condition = read_run(run).conditions[CONDITION]
    grasps = grasp_choices_of(condition.records)
    calls = [call for timing in condition.timings for call in timing.inference_ms]
    return Evaluated(
        success=condition.rate,
        wrong_block=condition.outcomes.count("wrong_block"),
        between=condition.outcomes.count("between"),
        mode=_NO_CONFUSER if grasps is None else grasps.verdict.mode,
        index_median=float(np.median(grasps.choices)) if grasps is not None and grasps.choices else None,
        call_ms=float(np.median(calls)) if calls else None,
    )


def _parameters(path: Path) -> int:
    with safe_open(path, framework="np") as tensors:
        return sum(int(np.prod(tensors.get_slice(key).get_shape())) for key in tensors.keys())  # noqa: SIM118


def _as_json(done: Finished) -> dict[str, Any]:
    scenes = {name: asdict(scene) for name, scene in done.scenes.items()}
    return {**asdict(done), "cell": done.cell.name, "scenes": scenes}


def _page(finished: Sequence[Finished], compared: Sequence[Compared], budget: Budget) -> str:
    missing = [
        cell.name for cell in cells().values() if cell.claim and cell.name not in {d.cell.name for d in finished}
    ]
    parts = [
        "# Study of mode collapse",
        f"Every cell: {budget.steps} steps, images of {budget.image_size} × {budget.image_size}, then without delay "
        f"{budget.episodes} episodes with the confuser present and {budget.other_episodes} in each other scene. What "
        "is said of a method from one training is descriptive; cells with several stand under Training seeds. "
        "Intervals are Wilson's, 95 %. `present`, `absent`, `exchanged`, `novel`: the scene of the evaluation; mode, "
        "index and wrong blocks are those with the confuser present.",
    ]
    for number, question in _QUESTIONS.items():
        rows = [_row(done) for done in finished if done.cell.question == number]
        if rows:
            parts += [f"## {question}", _table(_HEAD, rows)]
    seeds = _over_seeds(finished)
    if seeds:
        parts += ["## Training seeds", _table(_SEEDS_HEAD, seeds)]
    if compared:
        parts += ["## Planned comparisons", _table(_COMPARED_HEAD, [_compared_row(c) for c in compared])]
    if missing:
        parts.append(f"Not finished yet: {', '.join(missing)}.")
    if finished:
        lines = [f"# {done.cell.name}\n" + "\n".join(done.commands.values()) for done in finished]
        parts += ["## Commands", "```\n" + "\n\n".join(lines) + "\n```"]
    return "\n\n".join(parts) + "\n"


_HEAD = (
    *("cell", "demonstrations", "loss", "held-out loss", "goal input", *_SCENES, "wrong block", "between", "mode"),
    *("index, median", "parameters", "ms per call"),
)
_SEEDS_HEAD = ("cell", "trainings", "success of each, seed 0 first", "mean", "modes")
_COMPARED_HEAD = ("cell", "against", "difference", "95 % interval", "only one / only the other", "p, Holm")


def _row(done: Finished) -> list[str]:
    present = done.scenes["present"]
    return [
        f"`{done.cell.name}`",
        str(done.demonstrations),
        f"{done.train_loss:.3f}",
        f"{done.validation_loss:.3f}",
        done.goal_input,
        *(_rate(done.scenes[scene].success) if scene in done.scenes else "" for scene in _SCENES),
        str(present.wrong_block),
        str(present.between),
        present.mode,
        "" if present.index_median is None else f"{present.index_median:.2f}",
        f"{done.parameters / 1e6:.2f} M",
        "" if present.call_ms is None else f"{present.call_ms:.0f}",
    ]


def _over_seeds(finished: Sequence[Finished]) -> list[list[str]]:
    """Return a row per cell that was trained more than once."""
    trainings: dict[str, list[Finished]] = {}
    for done in sorted(finished, key=lambda done: done.cell.seed):
        trainings.setdefault(done.cell.method, []).append(done)
    rows = []
    for name, several in trainings.items():
        present = [done.scenes["present"] for done in several]
        rates = [f"{100 * scene.success.rate:.1f}" for scene in present]
        mean = f"{100 * np.mean([scene.success.rate for scene in present]):.1f} %"
        modes = ", ".join(scene.mode for scene in present)
        rows += [[f"`{name}`", str(len(several)), ", ".join(rates) + " %", mean, modes]] if len(several) > 1 else []
    return rows


def _compared_row(compared: Compared) -> list[str]:
    finding, pairs = compared.finding, compared.finding.pairs
    assert pairs is not None
    low, high = finding.interval
    return [
        f"`{compared.second}`",
        f"`{compared.first}`",
        f"{100 * finding.difference:+.0f} points",
        f"{100 * low:+.0f} … {100 * high:+.0f}",
        f"{pairs.only_second} / {pairs.only_first} of {pairs.pairs}",
        f"{compared.p_holm:.2g}",
    ]


def _rate(rate: SuccessRate) -> str:
    low, high = rate.wilson()
    return f"{rate.successes}/{rate.trials}, {100 * low:.0f} – {100 * high:.0f} %"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def success_of_cells(questions: Mapping[str, Sequence[tuple[str, SuccessRate, str]]], title: str) -> Figure:
    """Return one panel per question: the success of each cell with its 95 % Wilson interval.

    Args:
        questions: Question → (name of the cell, its success, where it closes), from top to bottom.
        title: Of the figure.
    """
    look_of = dict(zip(_MODES, looks(len(_MODES)), strict=True))
    tallest = max(map(len, questions.values()))
    figure, axes = panels(len(questions), width=4.4, height=0.9 + _LINE_IN * tallest)
    for axis, (question, rows) in zip(axes, questions.items(), strict=True):
        for place, (_, success, mode) in enumerate(rows):
            low, high = success.wilson()
            look = look_of[mode]
            axis.plot([low, high], [place, place], color=look.colour, linewidth=1.6)
            axis.plot(success.rate, place, look.marker, color=look.colour, markersize=5, linestyle="none", label=mode)
        axis.set_yticks(range(len(rows)), [name for name, _, _ in rows], fontsize=8)
        axis.set_ylim(tallest - 0.4, -0.6)
        axis.set_xlim(-0.03, 1.03)
        axis.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
        panel_title(axis, question)
    caption(figure, title, "success with the confuser present, 95 % Wilson; colour: where the gripper closes", axes)
    return figure
