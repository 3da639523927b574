"""README and docs name what exists: fields, outcomes, environments, options, executors, flags, files."""

import re
import subprocess
import sys
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

import act_eval
from act_eval.cli import COMMANDS
from act_eval.envs.options import PickOptions
from act_eval.envs.registration import ENVIRONMENTS
from act_eval.metrics import METRICS, EpisodeMetrics
from act_eval.results import Manifest
from act_eval.timing import EXECUTORS
from act_eval.types import OUTCOMES, EpisodeRecord, Timing
from act_eval.types.steps import EpisodeSteps

ROOT = Path(act_eval.__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COMMAND = re.compile(r"(?:python (scripts/[\w/]+\.py)|act-eval ([a-z][a-z-]*))([^\n`#|]*)")
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def help_of(program: str) -> str:
    words = ["-m", "act_eval", program] if program in COMMANDS else [program]
    done = subprocess.run([sys.executable, *words, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", [EpisodeRecord, EpisodeMetrics, EpisodeSteps, Timing, Manifest])
def test_every_field_of_a_run_folder_is_documented(kind: type) -> None:
    page = text_of("docs/file-formats.md")
    assert not [f.name for f in fields(kind) if f"`{f.name}`" not in page]


def test_every_metric_is_documented() -> None:
    page = text_of("docs/metrics.md")
    ends = ("_low", "_high")  # of an interval, written as `…_low`
    assert not [m.name for m in METRICS if not m.name.endswith(ends) and f"`{m.name}`" not in page]


def test_every_environment_outcome_and_option_is_documented() -> None:
    page = text_of("docs/environments.md")
    names = [*ENVIRONMENTS, *ENVIRONMENTS.values(), *OUTCOMES, *(f.name for f in fields(PickOptions))]
    assert not [name for name in names if f"`{name}`" not in page]


def test_no_environment_is_documented_that_does_not_exist() -> None:
    documented = set(re.findall(r"`(act_eval/\w+-v\d)`", "".join(page.read_text() for page in PAGES)))
    assert documented
    assert documented <= set(ENVIRONMENTS.values())


def test_every_executor_is_documented() -> None:
    page = text_of("docs/delay.md")
    assert not [name for name in EXECUTORS if f"| `{name}` |" not in page]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]
    assert not [target for target in targets if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_name_scripts_and_flags_that_exist(page: Path) -> None:
    for script, command, arguments in COMMAND.findall(page.read_text(encoding="utf-8")):
        assert command in COMMANDS if command else (ROOT / script).is_file(), f"{page.name} names {script or command}"
        program = script or command
        unknown = [flag for flag in re.findall(r"--[\w.-]+", arguments) if not _knows(program, flag)]
        assert not unknown, f"{page.name}: {program} has no {unknown}"


def _knows(program: str, flag: str) -> bool:
    return re.search(rf"{re.escape(flag)}(?![\w.-])", help_of(program)) is not None


def test_the_check_of_flags_can_fail() -> None:
    assert _knows("scripts/evaluate.py", "--episodes")
    assert not _knows("scripts/evaluate.py", "--episode")
    assert _knows("export", "--to")
