"""Which episodes of a run are meant by `--episodes` and `--seeds`."""

from collections.abc import Sequence

from act_eval.errors import UsageError
from act_eval.results.suites import Suite, parse_seeds
from act_eval.types import OUTCOMES, SUCCESS, EpisodeRecord

_GROUPS = ("failures", "all")


def chosen(suite: Suite, records: Sequence[EpisodeRecord], episodes: str, seeds: str | None) -> list[EpisodeRecord]:
    """Return the records that are meant, in suite order.

    Args:
        suite: The run's.
        records: Of a condition, in any order.
        episodes: `failures`, `all`, an outcome, or numbers with commas between.
        seeds: Episode seeds with commas between; they win over `episodes`.

    Raises:
        UsageError: naming what is no such thing, and what there is.
    """
    ordered = sorted(records, key=lambda record: record.episode)
    if seeds is not None:
        wanted = parse_seeds(seeds)
        if unknown := sorted(set(wanted) - set(suite.seeds)):
            raise UsageError(f"--seeds {unknown[0]} is no seed of the run's suite; it has {_some(suite.seeds)}")
        return [record for record in ordered if record.seed in wanted]
    if episodes == "all":
        return ordered
    if episodes == "failures":
        return [record for record in ordered if record.outcome != SUCCESS]
    if episodes in OUTCOMES:
        return [record for record in ordered if record.outcome == episodes]
    numbers = _numbers(episodes, len(suite.seeds))
    return [record for record in ordered if record.episode in numbers]


def _numbers(text: str, count: int) -> set[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(
            f"--episodes is {text!r}; allowed: {', '.join((*_GROUPS, *OUTCOMES))}, or episode numbers as in 3,17"
        )
    if beyond := [part for part in parts if len(part) > 15 or int(part) >= count]:
        raise UsageError(f"--episodes {beyond[0]}: the run has episodes 0 to {count - 1}")
    return {int(part) for part in parts}


def _some(seeds: Sequence[int]) -> str:
    shown = ", ".join(map(str, seeds[:5]))
    return shown if len(seeds) <= 5 else f"{shown}, … ({len(seeds)} in all)"
