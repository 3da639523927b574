"""The shipped policy that never reads its coordinates: the tools must say so."""

from pathlib import Path

import pytest

from act_eval.cli import main
from act_eval.policies.checkpoint import load_config
from act_eval.sources.policies import SHIPPED


def test_it_declares_what_no_layer_reads_and_is_small() -> None:
    folder = SHIPPED / "act_collapsed"
    config = load_config(folder)
    assert config.conditioning == "unread"
    assert config.env_state_feature is not None
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4e6


@pytest.mark.parametrize(("policy", "verdict", "code"), [("act_collapsed", "ignored", 3), ("act_rtc", "used", 0)])
def test_a_probe_tells_dead_coordinates_from_used_ones(
    policy: str, verdict: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", "--policy", policy, "--short", "--episodes", "4", "--per-episode", "4"]) == code
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("environment_state"))
    assert line.split()[1] == verdict


@pytest.mark.slow  # fifty episodes
def test_an_evaluation_says_that_it_collapsed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["evaluate", "--policy", "act_collapsed", "--delay", "0", "--video", "none", "--out", str(tmp_path)]) == 0
    )
    said = capsys.readouterr().out
    assert "warning: input environment_state ignored" in said
    assert "naive_d0_s10: averaging (mode collapse)" in said
