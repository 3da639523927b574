"""Select episodes of a run by `--episodes` and `--seeds`."""

from collections.abc import Sequence

from act_eval.errors import UsageError
from act_eval.results.suites import Suite, parse_seeds
from act_eval.types import OUTCOMES, SUCCESS, EpisodeRecord

_GROUPS = ("failures", "all")


def chosen(suite: Suite, records: Sequence[EpisodeRecord], episodes: str, seeds: str | None) -> list[EpisodeRecord]:
    """Return the selected records in suite order.

    Args:
        suite: Suite of the run.
        records: Of a condition, in any order.
        episodes: `failures`, `all`, an outcome, or comma-separated numbers.
        seeds: Comma-separated episode seeds; they take precedence over `episodes`.

    Raises:
        UsageError: naming the unknown selection and the known ones.
    """
    ordered = sorted(records, key=lambda record: record.episode)
    if seeds is not None:
        selected = parse_seeds(seeds)
        if unknown := sorted(set(selected) - set(suite.seeds)):
            raise UsageError(f"--seeds {unknown[0]} is not a seed of the run's suite; it has {_some(suite.seeds)}")
        return [record for record in ordered if record.seed in selected]
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
    first = ", ".join(map(str, seeds[:5]))
    return first if len(seeds) <= 5 else f"{first}, … ({len(seeds)} in all)"
