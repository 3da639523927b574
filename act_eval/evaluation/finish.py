"""Finish a run: write its summaries, figures and review page."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Thread

from act_eval.comparison.robustness import Robustness, by_axis, robustness_of
from act_eval.diagnostics.grasp_choice import grasp_choices_of, grasp_points
from act_eval.errors import UnmeasuredRun
from act_eval.evaluation.checks import Records
from act_eval.evaluation.reporter import Reporter
from act_eval.metrics import Summary
from act_eval.report import Report, write_report
from act_eval.results import Manifest
from act_eval.results.records import write_atomically, writing
from act_eval.results.run import read_run

HISTOGRAM, MAP, ROBUSTNESS = "grasp_histogram", "grasp_map", "robustness"
_MOST_SHOWN = 12
"""Conditions in tables and figures; of more, the unperturbed ones: the table of perturbations has the others."""


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A finished run with its summaries and review page."""

    folder: Path
    manifest: Manifest
    records: Records
    summaries: Mapping[str, Summary]
    """Condition → metrics, for conditions with metrics."""
    unmeasured: tuple[str, ...]
    """A line for each condition without metrics."""
    figures: bool
    """Whether there are figures of the grasp choice."""
    robustness: Robustness | None
    """Perturbed conditions beside their twins; None without one."""
    page: Report

    @property
    def shown(self) -> Records:
        """Condition → records, of those for tables and figures."""
        return _shown(self.records, self.robustness)


_LATE = ("scipy.special", "act_eval.plots.grasp_choice", "act_eval.scenes.arm")
"""What figures and page load: matplotlib and MuJoCo take a second."""


def load_ahead() -> None:
    """Load in a thread what `finish_run` needs, while this process waits for its workers."""

    def load() -> None:
        for name in _LATE:
            with suppress(ImportError, OSError):  # raised again where it is needed
                import_module(name)

    Thread(target=load, daemon=True).start()


def finish_run(folder: Path, records: Records, reporter: Reporter) -> FinishedRun:
    """Write summaries, figures and the review page of a run whose episodes have all finished.

    Raises:
        RunFolderError: if they cannot be written.
    """
    run, summaries, unmeasured = read_run(folder), dict[str, Summary](), list[str]()
    for name in records:
        try:
            with writing(folder):
                summaries[name] = run.conditions[name].write_summary()
        except UnmeasuredRun as error:
            unmeasured.append(f"{name}: no metrics: {error}")
    perturbed = robustness_of(run)
    with writing(folder):
        figures = write_figures(folder, _shown(records, perturbed))
        if perturbed.results:
            write_robustness(folder, perturbed)
    with reporter.phase("review page") as count:
        page = write_report([folder], folder, progress=count)
    return FinishedRun(
        folder=folder,
        manifest=run.manifest,
        records=records,
        summaries=summaries,
        unmeasured=tuple(unmeasured),
        figures=figures,
        robustness=perturbed if perturbed.results else None,
        page=page,
    )


def _shown(records: Records, found: Robustness | None) -> Records:
    if found is None or len(records) <= _MOST_SHOWN:
        return records
    perturbed = {one.condition for one in found.results}
    return {name: one for name, one in records.items() if name not in perturbed}


def write_robustness(folder: Path, found: Robustness) -> None:
    """Write the table as JSON, and the figure of the axes."""
    from act_eval.plots import save  # matplotlib takes a second to load
    from act_eval.plots.robustness import success_against_severity

    content = (
        json.dumps(
            {
                "schema": 1,
                "conditions": found.rows(),
                "delay_effects": [one.to_json() for one in found.delay_effects],
            },
            indent=1,
        )
        + "\n"
    )
    write_atomically(folder / f"{ROBUSTNESS}.json", content.encode())
    lines = {
        axis: {
            twin: [(0, found.twins[twin]), *((max(one.severities.values()), one.rate) for one in results)]
            for twin, results in by_twin.items()
        }
        for axis, by_twin in by_axis(found.results).items()
    }
    if lines:
        save(success_against_severity(lines, "Success under perturbations"), folder / ROBUSTNESS)


def write_figures(folder: Path, results: Records) -> bool:
    """Write the figures of the grasp choice if they are missing; return whether there are grasps.

    Args:
        folder: the run folder.
        results: condition → its records.
    """
    found = {name: grasps for name, records in results.items() if (grasps := grasp_choices_of(records)) is not None}
    if not any(grasps.choices for grasps in found.values()):
        return False
    if not (folder / f"{HISTOGRAM}.png").exists() or not (folder / f"{MAP}.png").exists():
        from act_eval.plots import save  # matplotlib takes a second to load
        from act_eval.plots.grasp_choice import grasp_histogram, grasp_map

        save(grasp_histogram(found, "Grasp choice"), folder / HISTOGRAM)
        points = {name: grasp_points(results[name]) for name in found}
        save(grasp_map(points, "Grasps, seen from above"), folder / MAP)
    return True
