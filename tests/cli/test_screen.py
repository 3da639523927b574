"""What the commands print at 80 columns: nothing is cut, folded or lost."""

import pytest
from rich.console import Console

from act_eval.cli.screen import metric_columns, outcome_columns, tables
from act_eval.progress import Terminal
from act_eval.types import EpisodeRecord

NAMES = ("rtc_d4_s10_obs2_act1", "rtc_uniform1-6_s10_told-average")
OUTCOMES = ("success", "wrong_block", "dropped", "between", "missed", "timeout", "policy_error", "invalid")


def record(outcome: str, episode: int = 0) -> EpisodeRecord:
    return EpisodeRecord(episode=episode, seed=0, outcome=outcome, steps=100)


@pytest.fixture
def console() -> Console:
    return Console(width=80, soft_wrap=True, highlight=False)


def shown(console: Console, columns: dict[str, list[str]]) -> list[str]:
    with console.capture() as captured:
        for table in tables(columns, console.width):
            console.print(table)
    return captured.get().splitlines()


def test_outcomes_fit_whatever_the_condition_is_called(console: Console) -> None:
    columns = outcome_columns({name: [record(outcome) for outcome in OUTCOMES] for name in NAMES})
    lines = shown(console, columns)
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    for name, *cells in zip(*columns.values(), strict=True):
        rows = [line.strip("│ ").split("│") for line in lines if name in line]
        assert len(rows) > 1  # the table was split, and each part names the condition
        assert [cell.strip() for row in rows for cell in row[1:]] == cells
    headers = " ".join(line for line in lines if line.startswith("┃"))
    assert all(word in headers for outcome in OUTCOMES[1:] for word in outcome.split("_"))


def test_metrics_fit_with_their_units(console: Console) -> None:
    summary = {
        "seam_jump_mean": 0.123, "action_age_p50": 10.0, "action_age_p95": 100.0, "stall_fraction": 0.5,
        "reaction_p50": 10.0, "reaction_p95": None, "behavioural_reaction_fraction": 0.5,
        "behavioural_reaction_p50": 10.0, "inference_ms_p50": 1193.0, "inference_ms_p95": 2087.0,
        "time_to_success_median": 10.0, "time_to_success_median_low": 9.0, "time_to_success_median_high": None,
    }  # fmt: skip
    columns = metric_columns({name: [record("success")] for name in NAMES}, dict.fromkeys(NAMES, summary))
    lines = shown(console, columns)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert "…" not in text
    for part in ("inference,", "1193 / 2087", "10.0 [9.0, never]", "10 / never", "10 (50 %)", *NAMES):
        assert part in text


def test_a_bar_leaves_room_for_names_and_counts(console: Console) -> None:
    horizons = dict.fromkeys(NAMES, 200)
    with console.capture() as captured, Terminal(console).episodes({name: [] for name in NAMES}, 8, horizons) as bars:
        for number in range(8):
            for name in NAMES:
                bars.stepped(name, 100)
                bars.ended(name, record("success", number))
    lines = captured.get().splitlines()
    assert [line.split()[0] for line in lines] == list(NAMES)
    assert all("8/8 8 ok" in line and len(line) <= 80 and "…" not in line for line in lines)
