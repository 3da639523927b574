"""The pytest plugin as a stranger meets it: his own test files, in a folder of their own."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from made_runs import FINGERPRINT, make_run, outcomes, suite

from act_eval.comparison import Baseline

pytest_plugins = ["pytester"]
PytestHere = Callable[..., tuple[int, str]]

ROLLOUTS = """
import pytest
from act_eval.results.suites import Suite

SUITE = Suite(env="mine/Stack-v2", kwargs={{"blocks": 3}}, horizon=400, seeds=range({episodes}))
asked = []

def episodes(seeds):
    asked.extend(seeds)
    return [{solved} for seed in seeds]

@pytest.mark.success_rate({marker})
def test_stacking(success_gate):
    success_gate.rollouts(episodes, SUITE)
    print("asked for", len(asked))
"""

RUN = """
import pytest

@pytest.mark.success_rate({marker})
def test_run(success_gate):
    success_gate.check({run!r})
"""


@pytest.fixture
def pytest_here(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> PytestHere:
    """Run pytest in `pytester.path`, finding the plugin by its entry point: arguments → (code, what it printed)."""
    # A test file that changes twice in a second must not be taken from its compiled form.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def run(*arguments: str) -> tuple[int, str]:
        result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", "-rsP", *arguments)
        return int(result.ret), result.stdout.str() + result.stderr.str()

    return run


def test_start_up_of_strangers_loads_nothing_heavy():
    code = (
        "import sys, time, pytest; began = time.perf_counter(); import act_eval.comparison.plugin\n"
        "heavy = {'numpy', 'scipy', 'torch', 'mujoco', 'act_eval.errors', 'act_eval.stats'} & set(sys.modules)\n"
        "print(sorted(heavy), sorted(name for name in sys.modules if name.startswith('act_eval')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        done.stdout.strip()
        == "[] ['act_eval', 'act_eval.comparison', 'act_eval.comparison.plugin', 'act_eval.version']"
    )


def test_rollouts_of_ones_own_environment_are_recorded_then_judged(pytester: pytest.Pytester, pytest_here: PytestHere):
    test = pytester.path / "test_mine.py"
    test.write_text(ROLLOUTS.format(episodes=40, solved="seed < 36", marker="baseline='baselines/mine.json'"))
    code, shown = pytest_here()
    assert code == 1
    assert "baselines/mine.json does not exist; record one with" in shown
    code, shown = pytest_here("--success-rate-record", "first policy")
    assert code == 0
    assert "written to" in shown
    recorded = Baseline.read(pytester.path / "baselines" / "mine.json")
    assert (recorded.reason, recorded.outcomes["rollouts"].count("success")) == ("first policy", 36)
    code, shown = pytest_here()
    assert code == 0
    assert "test_mine.py::test_stacking: same numeric fingerprint, 40 outcomes compared one by one: all equal" in shown
    test.write_text(test.read_text().replace("seed < 36", "seed < 35"))
    code, shown = pytest_here()
    assert code == 1
    assert "rollouts, episode 35 (seed 35): success before, timeout now" in shown
    assert "Traceback" not in shown
    test.write_text(test.read_text().replace("mine.json'", "mine.json', tier='paired'"))
    code, shown = pytest_here()
    assert code == 0
    assert "rollouts: 36/40 before, 35/40 now, 1 lost, 0 won" in shown
    test.write_text(test.read_text().replace("'blocks': 3", "'blocks': 4").replace('"blocks": 3', '"blocks": 4'))
    code, shown = pytest_here()
    assert code == 1
    assert "suite.kwargs.blocks: 3 against 4" in shown


def test_sequential_stops_as_soon_as_a_drop_is_shown(pytester: pytest.Pytester, pytest_here: PytestHere):
    test = pytester.path / "test_mine.py"
    marker = "baseline='mine.json', tier='sequential', block=5, margin=0.1"
    test.write_text(ROLLOUTS.format(episodes=200, solved="True", marker=marker))
    assert pytest_here("--success-rate-record", "first")[0] == 0
    code, shown = pytest_here()
    assert code == 0
    assert "rollouts: no drop beyond the margin after 51 of 200 pairs; 0 lost, 0 won" in shown
    assert "asked for 55" in shown
    test.write_text(test.read_text().replace("[True", "[seed % 2 == 0"))
    code, shown = pytest_here()
    assert code == 1
    assert "rollouts: drop detected after" in shown


@pytest.mark.parametrize(
    ("marker", "code", "said"),
    [
        ("bar=0.8, episodes=60", 0, "d0: 57/60, at least 0.876 with confidence 0.95; the bar is 0.8"),
        ("bar=0.9, episodes=60", 1, "d0: 57/60, at least 0.876 with confidence 0.95; the bar is 0.9"),
        ("bar=0.9, episodes=50", 1, "the bar is set for 50 episodes, condition d0 has 60"),
        (
            "bar=0.99, episodes=60",
            1,
            "with 60 episodes not even 60 successes establish a rate of 0.99 at confidence 0.95; ",
        ),
        ("bar=0.9", 1, "bar needs episodes=N"),
        ("", 1, "takes either baseline=FILE or bar=RATE, episodes=N"),
        ("baseline='b.json', bar=0.9", 1, "takes either baseline=FILE or bar=RATE, episodes=N"),
        ("baseline='b.json', level=0.1", 1, "has no option level; there are: baseline, tier, require, alpha"),
        ("baseline='b.json', tier='strict'", 1, "tier is 'strict'; there are: recorded, exact, paired, sequential"),
        ("baseline='b.json', tier='sequential'", 1, "use success_gate.rollouts"),
        ("baseline='b.json', alpha=7", 1, "alpha is 7; it must be between 0 and 1"),
        ("baseline='b.json'", 0, "all equal"),
        ("baseline='b.json', tier='exact'", 0, "all equal"),
        ("baseline='b.json', require='non-inferior', tier='paired'", 1, "a drop of 0.05 or more is not excluded"),
        (
            "baseline='b.json', require='non-inferior', tier='paired', margin=0.2",
            0,
            "a drop of 0.2 or more is excluded",
        ),
        ("baseline='elsewhere.json', tier='exact'", 0, "SKIPPED"),
        ("baseline='elsewhere.json'", 0, "paired test instead of equality: no drop detected"),
    ],
)
def test_a_run_folder_is_judged_as_the_marker_says(
    pytester: pytest.Pytester, pytest_here: PytestHere, marker: str, code: int, said: str
):
    run = make_run(pytester.path / "run", {"d0": outcomes(57, 3)})
    Baseline.of_run(run, reason="first").write(pytester.path / "b.json")
    other = make_run(pytester.path / "other", {"d0": outcomes(57, 3)}, fingerprint={**FINGERPRINT, "cpu": "other"})
    Baseline.of_run(other, reason="first").write(pytester.path / "elsewhere.json")
    (pytester.path / "test_it.py").write_text(RUN.format(marker=marker, run=str(run)))
    got, shown = pytest_here()
    assert said in shown
    assert got == code


def test_without_a_marker_the_fixture_says_what_it_needs(pytester: pytest.Pytester, pytest_here: PytestHere):
    (pytester.path / "test_it.py").write_text("def test_run(success_gate):\n    pass\n")
    code, shown = pytest_here()
    assert code == 1
    assert "success_gate needs @pytest.mark.success_rate(baseline=FILE) or (bar=RATE, episodes=N)" in shown


def test_a_missing_run_and_an_unknown_outcome_are_named(pytester: pytest.Pytester, pytest_here: PytestHere):
    (pytester.path / "test_run.py").write_text(RUN.format(marker="bar=0.5, episodes=10", run="nowhere"))
    mine = ROLLOUTS.format(episodes=10, solved="'done'", marker="bar=0.5, episodes=10")
    (pytester.path / "test_mine.py").write_text(mine)
    code, shown = pytest_here()
    assert code == 1
    assert "nowhere does not exist; name a run folder of evaluate" in shown
    assert "an episode's outcome is 'done'; give True, False or one of: invalid, policy_error, success" in shown


def test_the_exact_tier_knows_several_machines(tmp_path: Path):
    one = Baseline.of_run(make_run(tmp_path / "one", {"d0": outcomes(9, 1)}), reason="laptop")
    other_print = {**FINGERPRINT, "cpu_capability": "AVX512"}
    two = Baseline.of_run(make_run(tmp_path / "two", {"d0": outcomes(8, 2)}, fingerprint=other_print), reason="server")
    both = one.with_machine(two)
    both.write(tmp_path / "b.json")
    read = Baseline.read(tmp_path / "b.json")
    assert read == both
    assert read.recorded(FINGERPRINT) == one.outcomes
    assert read.recorded(other_print) == two.outcomes
    assert read.recorded({**FINGERPRINT, "mujoco": "9"}) is None
    assert read.with_machine(two) == read
    assert suite(10) == read.suite
