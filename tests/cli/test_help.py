"""Help fits into 80 columns, names every command, and brackets are printed as they are."""

import subprocess
import sys

import pytest

from act_eval.cli import COMMANDS, main
from act_eval.diagnostics import ProbeReport
from act_eval.diagnostics.effects import Effect


def test_the_list_of_commands_fits_into_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert set(COMMANDS) <= {line.split()[0] for line in lines if line.startswith("  ")}
    words = " ".join(" ".join(lines).split())
    assert all(text in words for text in COMMANDS.values())


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "act_eval", "merge", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: act-eval merge")


def test_a_probe_prints_its_units_and_nothing_is_cut_at_80_columns() -> None:
    effect = Effect(
        median_rad=0.0,
        input="observation.environment_state",
        name="another episode's",
        rad=0.1234,
        most_rad=0.2,
        mm=1.5,
        rigid=False,
        turned=3,
    )
    report = ProbeReport(
        observations=16, episodes=4, open=8, to_named=7, noise_rad=0.0, whole=effect, effects=(effect,), verdicts=()
    )
    text = report.text(80)
    assert "chunk [rad]" in text
    assert "gripper [mm]" in text
    assert "environment_state" in text
    assert "another block" in text
    rows = [line for line in text.splitlines() if "another episode's" in line]
    assert [row.split()[-5:] for row in rows] == [["0.1234", "1.5", "3", "of", "8"]] * 2
    assert max(map(len, rows)) <= 80
