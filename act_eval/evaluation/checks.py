"""Signs that the numbers of a run do not mean what they seem to: failed episodes, and starts that differ or repeat."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from act_eval.errors import LaunchError
from act_eval.results.manifest import MANIFEST, Manifest
from act_eval.results.suites import warnings_about_starts
from act_eval.results.tables import outcome_notes
from act_eval.timing import may_start_elsewhere
from act_eval.types import INVALID, POLICY_ERROR, EpisodeRecord

INITIAL_STATE = "initial_state"
"""Key in a record's `detail`: digest of the initial simulator state, or of the first observation."""

Records = Mapping[str, Sequence[EpisodeRecord]]
"""Condition → records in suite order."""


def error_file(folder: Path, condition: str, episode: int) -> Path:
    """Return the file of an episode's traceback in a run folder."""
    return folder / condition / "errors" / f"{episode:04d}.txt"


def validity_notes(records: Records, folder: Path) -> list[str]:
    """Return a line for each sign; broken episodes are listed with the first cause and the file of its traceback."""
    lines = []
    for name, every in records.items():
        for outcome in (INVALID, POLICY_ERROR):
            if found := [record for record in every if record.outcome == outcome]:
                numbers = ", ".join(str(record.episode) for record in found[:10])
                path = error_file(folder, name, found[0].episode)
                place = f" (traceback: {path})" if path.is_file() else ""
                error = found[0].error
                lines.append(f"{name}: {len(found)} episodes ended as {outcome} ({numbers}); first: {error}{place}")
        starts = [record.detail[INITIAL_STATE] for record in every if INITIAL_STATE in record.detail]
        lines += [f"{name}: {line}" for line in warnings_about_starts(starts)]
    return [*lines, *_unequal_starts(records, _starting_elsewhere(folder)), *outcome_notes(records)]


def check_any_valid(records: Records) -> None:
    """Refuse a run in which every episode of a condition ended by an error.

    Raises:
        LaunchError: naming the condition and the first error.
    """
    for name, every in records.items():
        if every and all(record.outcome in (INVALID, POLICY_ERROR) for record in every):
            raise LaunchError(
                f"{name}: every episode ended by an error, so there is no success rate; the first: {every[0].error}"
            )


def _starting_elsewhere(folder: Path) -> set[str]:
    """Return the conditions whose perturbation declares other initial states."""
    if not (folder / MANIFEST).is_file():
        return set()
    conditions = Manifest.read(folder).configuration["conditions"]
    return {name for name, settings in conditions.items() if may_start_elsewhere(settings)}


def _unequal_starts(records: Records, elsewhere: set[str]) -> list[str]:
    """Return a line for each condition whose episodes begin in other states than those of the first condition."""
    (first, base), *others = ((name, _starts(every)) for name, every in records.items())
    lines = []
    for name, starts in (one for one in others if one[0] not in elsewhere):
        shared = [seed for seed in starts if seed in base]
        unequal = sum(starts[seed] != base[seed] for seed in shared)
        if unequal:
            lines.append(
                f"{name}: {unequal} of {len(shared)} episodes begin in another state than under {first}, though their "
                "seeds are the same: the environment's start does not depend on its seed alone, and the conditions "
                "cannot be paired"
            )
    return lines


def _starts(records: Sequence[EpisodeRecord]) -> dict[int, str]:
    return {record.seed: record.detail[INITIAL_STATE] for record in records if INITIAL_STATE in record.detail}
