"""What the commands print at 80 columns: nothing is cut, folded or lost."""

import pytest
from rich.console import Console

from act_eval.progress import Terminal
from act_eval.results.tables import metric_table, outcome_table
from act_eval.types import EpisodeRecord

NAMES = ("rtc_d4_s10_obs2_act1", "rtc_uniform1-6_s10_est-average")
OUTCOMES = ("success", "wrong_block", "dropped", "between", "missed", "timeout", "policy_error", "invalid")


def record(outcome: str, episode: int = 0) -> EpisodeRecord:
    return EpisodeRecord(episode=episode, seed=0, outcome=outcome, steps=100)


@pytest.fixture
def console() -> Console:
    return Console(width=80, soft_wrap=True, highlight=False)


def test_tables_fit_with_long_names_and_many_outcomes() -> None:
    results = {name: [record(outcome) for outcome in OUTCOMES] for name in NAMES}
    summary = {
        "switch_jump_mean": 0.123, "action_age_p50": 10.0, "action_age_p95": 100.0, "stall_fraction": 0.5,
        "reaction_p50": 10.0, "reaction_p95": None, "behavioural_reaction_fraction": 0.5,
        "behavioural_reaction_p50": 10.0, "inference_ms_p50": 1193.0, "inference_ms_p95": 2087.0,
        "time_to_success_median": 10.0, "time_to_success_median_low": 9.0, "time_to_success_median_high": None,
    }  # fmt: skip
    for table in (outcome_table(results), metric_table(results, dict.fromkeys(NAMES, summary))):
        lines = [line for line in table.text(80).splitlines() if not line.startswith("a / b")]
        assert max(map(len, lines)) <= 80
        assert "…" not in "".join(lines)
        for name, *cells in table.rows:
            rows = [line.strip("│ ").split("│") for line in lines if name in line]
            assert len(rows) > 1  # the table was split, and each part names the condition
            assert [cell.strip() for row in rows for cell in row[1:]] == cells


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
