"""The second table of an evaluation: how its arms came to their results."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Column, Table

from act_eval.cli.evaluations.screen import success_rate
from act_eval.errors import UnmeasuredRun
from act_eval.metrics import Summary, write_summary
from act_eval.results.records import writing
from act_eval.types import EpisodeRecord

_NOTHING = "–"


def summarised(folder: Path, arms: Sequence[str]) -> tuple[dict[str, Summary], list[str]]:
    """Write the summaries of a run's arms; return them, and a line for each arm without metrics.

    Raises:
        RunFolderError: if they cannot be written.
    """
    summaries: dict[str, Summary] = {}
    lines = []
    for arm in arms:
        try:
            with writing(folder):
                summaries[arm] = write_summary(folder / arm)
        except UnmeasuredRun as error:
            lines.append(f"{arm}: no metrics: {error}")
    return summaries, lines


def metric_table(results: Mapping[str, Sequence[EpisodeRecord]], summaries: Mapping[str, Summary]) -> Table:
    """Return the chief metrics of every arm; one that no arm has is left out.

    Args:
        results: Arm → records.
        summaries: Arm → metrics, of some of these arms.
    """
    columns = {
        "success": [_share(success_rate(results[arm]).rate) for arm in summaries],
        "time to\nsuccess, s": [_time(found) for found in summaries.values()],
        "seam\njump, rad": [_number(found["seam_jump_mean"], "{:.3f}") for found in summaries.values()],
        "action\nage, steps": [_pair(found, "action_age") for found in summaries.values()],
        "stalled": [_share(found["stall_fraction"]) for found in summaries.values()],
        "reaction,\nsteps": [_pair(found, "reaction") for found in summaries.values()],
        "turns\nafter, steps": [_turns(found) for found in summaries.values()],
        "inference,\nms": [_pair(found, "inference_ms") for found in summaries.values()],
    }
    shown = {name: cells for name, cells in columns.items() if set(cells) != {_NOTHING}}
    caption = "a / b: median / 95th percentile; seam jump: mean; time: median [95 % interval]; see docs/metrics.md"
    table = Table(Column("arm", overflow="fold"), *shown, caption=caption, caption_justify="left")
    for arm, *cells in zip(summaries, *shown.values(), strict=True):
        table.add_row(arm, *cells)
    return table


def _number(value: float | None, form: str) -> str:
    return _NOTHING if value is None else form.format(value)


def _share(value: float | None) -> str:
    return _NOTHING if value is None or value != value else f"{100 * value:.0f} %"


def _time(found: Summary) -> str:
    """Return median and interval, as in `5.4 [3.6, 8.1]`; `never` is an end beyond the horizon."""
    median, low, high = (found[f"time_to_success_median{end}"] for end in ("", "_low", "_high"))
    ends = ", ".join(_number(end, "{:.1f}") if end is not None else "never" for end in (low, high))
    return _NOTHING if median is None else f"{median:.1f} [{ends}]"


def _pair(found: Summary, name: str) -> str:
    """Return median and 95th percentile; `never` where more than 5 % of the episodes did not come to it."""
    median, high = found[f"{name}_p50"], found[f"{name}_p95"]
    return _NOTHING if median is None else f"{median:.0f} / {_number(high, '{:.0f}') if high is not None else 'never'}"


def _turns(found: Summary) -> str:
    share = found["behavioural_reaction_fraction"]
    if share is None:
        return _NOTHING
    median = found["behavioural_reaction_p50"]
    return f"{_NOTHING} ({_share(share)})" if median is None else f"{median:.0f} ({_share(share)})"
