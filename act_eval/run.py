"""A finished run in Python, as `evaluate` and `load_run` return it."""

import shutil
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from act_eval.comparison.findings import ConditionFinding, compare_conditions
from act_eval.comparison.robustness import Robustness, robustness_of
from act_eval.comparison.sensitivity import SensitivityReport, sensitivity_of
from act_eval.errors import UnmeasuredRun, UsageError
from act_eval.report import PAGE, write_report
from act_eval.results.run import Conditions, StoredRun, read_run
from act_eval.results.tables import Table, metric_table, outcome_notes, outcome_table, task_table


class Run:
    """A finished run: its tables, its conditions, its review page.

    It prints as the table of success rates with intervals and the table of metrics; a notebook displays both as HTML.

    Args:
        stored: The run folder.
    """

    def __init__(self, stored: StoredRun) -> None:
        self._stored = stored

    @classmethod
    def load(cls, folder: Path | str) -> "Run":
        """Return the run in a folder.

        Raises:
            RunFolderError: if there is none, or it is unfinished or damaged.
            UsageError: if the folder holds several runs, as that of a sweep does.
        """
        run = read_run(folder)
        for condition in run.conditions.values():
            _ = condition.records  # raises if the run is unfinished
        return cls(run)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self._stored.folder

    @property
    def conditions(self) -> Conditions:
        """The conditions by name, each with `rate`, `records`, `metrics`, `episode_metrics`, `videos` and `steps`."""
        return self._stored.conditions

    @property
    def input_check(self) -> tuple[str, ...]:
        """Findings of the input check, a line each; empty without a finding or a check."""
        return self._stored.manifest.input_check

    @property
    def report(self) -> Path:
        """The review page; it is written if it is missing.

        Raises:
            RunFolderError: if it cannot be written.
        """
        page = self.folder / PAGE
        return page if page.is_file() else write_report([self.folder], self.folder).path

    def compare(self, base: str, new: str, *, alpha: float = 0.05, margin: float = 0.05) -> ConditionFinding:
        """Compare two conditions on the same episode seeds.

        Args:
            base: Name of the reference condition.
            new: Name of the condition to test.
            alpha: Level of the exact McNemar test.
            margin: Largest negligible difference of success rates.

        Returns:
            The finding, which prints as a sentence; it has `verdict`, `difference`, `interval` and `p`.

        Raises:
            UnknownName: listing the conditions of the run.
            UsageError: if both are the same condition.
        """
        return compare_conditions(self._stored, base, new, alpha=alpha, margin=margin)

    def robustness(self) -> Robustness:
        """Return the perturbed conditions beside their unperturbed twins; it prints as a table.

        Raises:
            UsageError: if the run has no perturbed condition.
        """
        found = robustness_of(self._stored)
        if not found.results:
            raise UsageError(f"{self.folder} has no perturbed condition; as in evaluate(…, perturb=['light=3'])")
        return found

    def sensitivity(self) -> SensitivityReport:
        """Return success against continuous factors: places, start pose, delay, severity, goal error.

        Raises:
            RunFolderError: if a file is damaged.
        """
        return sensitivity_of(self._stored)

    def to_dataframe(self) -> Any:
        """Return a pandas data frame with one row per episode and condition.

        Raises:
            UsageError: if pandas is not installed.
            RunFolderError: if a file is damaged, or the run has no metrics.
        """
        try:
            import pandas  # not a dependency
        except ImportError as error:
            raise UsageError(
                f"to_dataframe needs pandas, which cannot be imported ({error}): pip install pandas; "
                f"`act-eval export {self.folder} --to csv` writes the same rows as CSV"
            ) from error
        return pandas.DataFrame(self._stored.rows())

    def __str__(self) -> str:
        width = shutil.get_terminal_size().columns
        return "\n".join([*(table.text(width) for table in self._tables()), *self._notes()])

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: {', '.join(self.conditions)})"

    def _repr_html_(self) -> str:
        notes = (f"<p>{escape(note)}</p>" for note in self._notes())
        return "\n".join([*(table.html() for table in self._tables()), *notes])

    def _notes(self) -> list[str]:
        return [*outcome_notes(self._stored), *self.input_check]

    def _tables(self) -> Iterator[Table]:
        yield outcome_table(self._stored)
        if (tasks := task_table(self._stored)) is not None:
            yield tasks
        try:
            yield metric_table(self._stored)
        except UnmeasuredRun:
            return  # a run without metrics


def load_run(folder: Path | str) -> Run:
    """Return the finished run in a folder; see `Run.load`.

    Raises:
        ActEvalError: as `Run.load`.
    """
    return Run.load(folder)
