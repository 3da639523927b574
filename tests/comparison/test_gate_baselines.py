import json
from dataclasses import replace
from pathlib import Path

import pytest

from act_eval.cli import main
from act_eval.comparison import Baseline, judge
from act_eval.errors import RunFolderError, SuiteMismatch
from act_eval.results import Manifest, fingerprint, notes, open_run
from act_eval.results.records import ShardLine, ShardWriter
from act_eval.results.suites import Suite
from act_eval.types import EpisodeRecord, Timing

SUITE = Suite(env="act_eval/Pick-v0", kwargs={}, horizon=200, seeds=tuple(range(30)))
GOOD = ("success",) * 28 + ("timeout", "between")
BASE = Baseline(
    reason="first",
    suite=SUITE,
    configuration={"policy": {"name": "act", "digest": "aa"}, "conditions": {"d0": {"delay": 0}, "d4": {"delay": 4}}},
    fingerprint=fingerprint(threads=1, renderer="llvmpipe", cpu_capability="AVX2"),
    outcomes={"d0": GOOD, "d4": GOOD},
)
ELSEWHERE = {**BASE.fingerprint, "cpu_capability": "AVX512"}


def worse_by(lost: int) -> tuple[str, ...]:
    return ("missed",) * lost + GOOD[lost:]


def test_on_the_recorded_machine_outcomes_must_be_equal():
    judgement = judge(BASE, BASE)
    assert judgement.passed
    assert judgement.exact
    assert judgement.text == "same numeric fingerprint, 60 outcomes compared one by one: all equal"


def test_on_the_recorded_machine_a_single_flip_fails_and_is_named():
    judgement = judge(BASE, replace(BASE, outcomes={"d0": GOOD, "d4": worse_by(1)}))
    assert not judgement.passed
    assert "d4, episode 0 (seed 0): success before, missed now" in judgement.text
    # A flip to success is a change too: what changed it is unknown.
    better = ("success",) * 29 + ("between",)
    assert not judge(BASE, replace(BASE, outcomes={"d0": better, "d4": GOOD})).passed


def test_versions_that_no_outcome_depends_on_do_not_end_equality():
    assert judge(BASE, replace(BASE, fingerprint={**BASE.fingerprint, "act_eval": "9", "av": "9"})).exact


@pytest.mark.parametrize(("lost", "passed"), [(0, True), (1, True), (6, True), (7, False), (20, False)])
def test_elsewhere_only_a_drop_that_is_shown_fails(lost: int, passed: bool):
    """Two conditions: Holm doubles the smaller p, so that 2·2·0.5^n must fall below 0.05: seven flips, not six."""
    judgement = judge(BASE, replace(BASE, fingerprint=ELSEWHERE, outcomes={"d0": GOOD, "d4": worse_by(lost)}))
    assert judgement.passed == passed
    assert not judgement.exact
    assert "fingerprint.cpu_capability: AVX2 against AVX512): paired test instead of equality" in judgement.text
    assert f"d4: 28/30 before, {28 - lost}/30 now, {lost} lost, 0 won" in judgement.text


def test_elsewhere_a_gain_passes_and_invalid_episodes_count_as_failed():
    poor = replace(BASE, outcomes={"d0": worse_by(20), "d4": GOOD})
    assert judge(poor, replace(BASE, fingerprint=ELSEWHERE)).passed
    broken = ("invalid",) * 20 + GOOD[20:]
    assert not judge(BASE, replace(BASE, fingerprint=ELSEWHERE, outcomes={"d0": broken, "d4": GOOD})).passed


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"suite": replace(SUITE, horizon=100)}, "suite.horizon: 200 against 100"),
        (
            {"configuration": {**BASE.configuration, "policy": {"name": "act", "digest": "bb"}}},
            "configuration.policy.digest: aa against bb",
        ),
    ],
)
def test_a_run_of_something_else_is_refused(change: dict, line: str):
    with pytest.raises(SuiteMismatch, match="does not match the baseline") as refusal:
        judge(BASE, replace(BASE, **change))
    assert f"  {line}" in str(refusal.value).splitlines()


def test_a_baseline_survives_the_disk(tmp_path: Path):
    BASE.write(tmp_path / "deep" / "act.json")
    assert Baseline.read(tmp_path / "deep" / "act.json") == BASE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 1}, "has schema 1; this version reads schema 2; act_eval 0.1.0 reads it"),
        ({"outcomes": {"d0": ["success"]}}, "condition d0 has 1 outcomes for 30 seeds"),
        ({"outcomes": {"d0": ["fine"] * 30}}, r"condition d0 has unknown outcomes \['fine'\]"),
        ({"suite": {}}, "is damaged"),
        ({"outcomes": 3}, "is damaged"),
    ],
)
def test_a_damaged_baseline_is_named(tmp_path: Path, change: dict, message: str):
    path = tmp_path / "act.json"
    BASE.write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RunFolderError, match=message):
        Baseline.read(path)


def test_a_missing_baseline_is_named(tmp_path: Path):
    with pytest.raises(RunFolderError, match=r"none.json does not exist"):
        Baseline.read(tmp_path / "none.json")


def write_run(out: Path, outcomes: list[str]) -> None:
    suite = replace(SUITE, seeds=SUITE.seeds[: len(outcomes)])
    configuration = {"policy": {"name": "act"}, "conditions": {"d0": {"delay": 0}}, "video": "none"}
    manifest = Manifest(suite=suite, configuration=configuration, fingerprint=ELSEWHERE, notes=notes())
    with open_run(out, manifest) as run, ShardWriter(run.new_shards(1)[0]) as shard:
        for i, outcome in enumerate(outcomes):
            record = EpisodeRecord(episode=i, seed=i, outcome=outcome, steps=9)
            shard.write(ShardLine(condition="d0", record=record, timing=Timing(episode=i, wall_s=1.0)))
        run.finish()


def test_a_run_is_recorded_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_run(tmp_path / "run", ["success", "missed", "success"])
    to = tmp_path / "act.json"
    assert main(["baseline", str(tmp_path / "run"), str(to), "--reason", "new checkpoint"]) == 0
    assert "d0: 2/3 = 0.67" in capsys.readouterr().out
    baseline = Baseline.read(to)
    assert baseline.reason == "new checkpoint"
    assert baseline.outcomes == {"d0": ("success", "missed", "success")}
    assert "video" not in baseline.configuration


def test_a_run_with_invalid_episodes_makes_no_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_run(tmp_path / "run", ["success", "invalid"])
    assert main(["baseline", str(tmp_path / "run"), str(tmp_path / "act.json"), "--reason", "x"]) == 1
    assert "condition d0 has invalid episodes; run them again before recording" in capsys.readouterr().err
    assert not (tmp_path / "act.json").exists()


def test_a_replaced_baseline_stays_in_the_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    to = tmp_path / "act.json"
    for name, outcomes in (("one", ["success"] * 3), ("two", ["success", "missed", "success"])):
        write_run(tmp_path / name, outcomes)
        assert main(["baseline", str(tmp_path / name), str(to), "--reason", f"reason {name}"]) == 0
    shown = capsys.readouterr().out
    assert "replacing:\nd0: 3/3 = 1.00" in shown
    assert "(reason one)" in shown
    baseline = Baseline.read(to)
    assert baseline.reason == "reason two"
    assert baseline.history == (f"reason one (d0 3/3; suite {baseline.suite.hash})",)


def test_another_machine_is_recorded_beside_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    to = tmp_path / "act.json"
    write_run(tmp_path / "run", ["success", "missed", "success"])
    run = Baseline.of_run(tmp_path / "run", reason="first")
    here = replace(run, fingerprint={**run.fingerprint, "cpu": "another"}, outcomes={"d0": ("success",) * 3})
    here.write(to)
    assert main(["baseline", str(tmp_path / "run"), str(to), "--reason", "server", "--add-machine"]) == 0
    assert "which holds 2 machines" in capsys.readouterr().out
    both = Baseline.read(to)
    assert both.outcomes == here.outcomes
    assert judge(both, run).exact
    assert judge(both, here).exact
    assert judge(both, run).passed
    write_run(tmp_path / "other", ["success", "missed"])
    assert main(["baseline", str(tmp_path / "other"), str(to), "--reason", "x", "--add-machine"]) == 2
    assert "suite.seeds: 3 entries against 2" in capsys.readouterr().err
    assert Baseline.read(to) == both
    assert main(["baseline", str(tmp_path / "run"), str(tmp_path / "no.json"), "--reason", "x", "--add-machine"]) == 1
    assert "no.json does not exist; record one with: act-eval baseline" in capsys.readouterr().err


def test_elsewhere_invalid_episodes_that_could_change_the_answer_do_not_pass():
    few = ("invalid",) * 10 + GOOD[10:]
    judgement = judge(BASE, replace(BASE, fingerprint=ELSEWHERE, outcomes={"d0": few, "d4": GOOD}))
    assert not judgement.passed
    assert "could change the verdict" in judgement.text
    assert "d0: 18/20 before, 18/20 now, 0 lost, 0 won" in judgement.text
    assert "10 invalid episodes" in judgement.text
    one = ("invalid", *GOOD[1:])
    assert judge(BASE, replace(BASE, fingerprint=ELSEWHERE, outcomes={"d0": one, "d4": GOOD})).passed
