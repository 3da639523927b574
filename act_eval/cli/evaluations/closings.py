"""Figures of a run that show where its arms closed between two blocks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from act_eval.diagnostics.grasp_choice import closing_points, modes_of
from act_eval.types import EpisodeRecord

HISTOGRAM, MAP = "closing_histogram", "closing_map"


def write_figures(folder: Path, results: Mapping[str, Sequence[EpisodeRecord]]) -> bool:
    """Write both figures into a run folder where they are missing; return whether there is anything to show.

    Args:
        folder: The run folder.
        results: Arm → its records.
    """
    found = {arm: modes for arm, records in results.items() if (modes := modes_of(records)) is not None}
    if not any(modes.indices for modes in found.values()):
        return False
    if not (folder / f"{HISTOGRAM}.png").exists() or not (folder / f"{MAP}.png").exists():
        from act_eval.plots import save  # matplotlib takes a second to load
        from act_eval.plots.modes import closing_histogram, closing_map

        save(closing_histogram(found, "Where the gripper closed"), folder / HISTOGRAM)
        points = {arm: closing_points(results[arm]) for arm in found}
        save(closing_map(points, "Where the gripper closed, seen from above"), folder / MAP)
    return True
