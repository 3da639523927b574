"""The compare command on run folders with chosen outcomes, and once on episodes of the real environment."""

import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest
from made_runs import FINGERPRINT, make_run, outcomes, suite

from act_eval.cli import main
from act_eval.comparison import Baseline
from act_eval.results import Manifest
from act_eval.seeding import Purpose, episode_seeds


def compare(*arguments: object) -> int:
    return main(["compare", *map(str, arguments)])


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def worse(tmp_path: Path) -> tuple[Path, Path]:
    """Two conditions of 40 episodes; NEW loses ten pairs of the first and wins none; the second does not change."""
    base = make_run(tmp_path / "base", {"d0": outcomes(38, 2), "d4": outcomes(30, 10)}, video="all")
    new = make_run(tmp_path / "new", {"d0": outcomes(28, 12), "d4": outcomes(30, 10)}, digest="bb", video="all")
    return base, new


def test_a_shown_drop_fails_and_everything_is_written(
    worse: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    files = {kind: tmp_path / "out" / f"c.{kind}" for kind in ("json", "markdown", "junit")}
    flags = [word for kind, path in files.items() for word in (f"--{kind}", path)]
    assert compare(*worse, *flags) == 1
    shown = capsys.readouterr().out
    assert "FAIL --require no-regression: d0 is worse" in shown
    assert "seed 128 (episode 28): success → missed" in shown
    assert str(worse[0] / "d0" / "videos" / "0028_seed128_success.mp4") in shown
    assert str(worse[1] / "d0" / "videos" / "0028_seed128_missed.mp4") in shown
    values = json.loads(files["json"].read_text())
    assert values["exit_code"] == 1
    assert values["decision"] == {"require": "no-regression", "passed": False, "reason": "d0 is worse"}
    d0, d4 = values["conditions"]
    assert (d0["verdict"], d4["verdict"]) == ("worse", "inconclusive")
    assert d0["pairs"] == {"both": 28, "only_first": 10, "only_second": 0, "neither": 2}
    assert d0["p_value"] == pytest.approx(2 * 0.5**10)
    assert d0["p_adjusted"] == pytest.approx(4 * 0.5**10)
    assert {"base": "success", "new": "missed", "episodes": 10} in d0["migration"]
    assert [flip["seed"] for flip in d0["flips"]] == list(range(128, 138))
    assert all(Path(flip["base_video"]).is_file() and Path(flip["new_video"]).is_file() for flip in d0["flips"])
    page = files["markdown"].read_text()
    assert page.startswith("## FAIL --require no-regression: d0 is worse\n")
    assert "| d0 | 38/40 = 0.95 | 28/40 = 0.70 | -0.25 [" in page
    assert "| success | missed | 10 |" in page
    links = re.findall(r"\[\S+\.mp4\]\((\S+)\)", page)
    assert len(links) == 20, "both videos of every flipped seed"
    assert all((files["markdown"].parent / unquote(link)).is_file() for link in links)
    side_by_side = f"act-eval report {worse[0]} {worse[1]}"
    assert f"side by side: {side_by_side}" in shown
    assert f"Side by side: `{side_by_side}`" in page


def test_junit_has_a_case_per_condition_and_counts_that_fit(worse: tuple[Path, Path], tmp_path: Path):
    path = tmp_path / "c.xml"
    assert compare(*worse, "--junit", path) == 1
    (tests,) = ET.fromstring(path.read_bytes()).findall("testsuite")
    cases = {case.get("name"): [child.tag for child in case] for case in tests.findall("testcase")}
    assert cases == {"d0": ["failure", "system-out"], "d4": ["system-out"]}
    assert (tests.get("tests"), tests.get("failures"), tests.get("errors")) == ("2", "1", "0")


def test_turned_around_it_is_a_gain_and_passes(worse: tuple[Path, Path], capsys: pytest.CaptureFixture[str]):
    base, new = worse
    assert compare(new, base) == 0
    shown = capsys.readouterr().out
    assert "better" in shown
    assert "PASS --require no-regression: no drop detected" in shown


@pytest.mark.parametrize(
    ("base", "new", "flags", "code", "said"),
    [
        (outcomes(300, 0), outcomes(300, 0), (), 0, "PASS --require non-inferior: a drop of 0.05 or more is excluded"),
        (
            outcomes(30, 0),
            outcomes(30, 0),
            (),
            3,
            "INCONCLUSIVE --require non-inferior: a drop of 0.05 or",
        ),
        (outcomes(30, 0), outcomes(30, 0), ("--margin", "0.2"), 0, "a drop of 0.2 or more is excluded"),
        (outcomes(40, 0), outcomes(20, 20), (), 1, "FAIL --require non-inferior: a drop is detected, and one of 0.05"),
        # A drop is shown, and it is smaller than the margin: not inferior by what was asked for.
        (outcomes(990, 10), outcomes(980, 20), (), 0, "a drop of 0.05 or more is excluded"),
    ],
)
def test_non_inferior_passes_only_where_the_drop_is_excluded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], base, new, flags: tuple[str, ...], code: int, said: str
):
    runs = make_run(tmp_path / "a", {"d0": base}), make_run(tmp_path / "b", {"d0": new})
    assert compare(*runs, "--require", "non-inferior", *flags) == code
    assert said in capsys.readouterr().out


def test_invalid_episodes_that_could_change_the_answer_refuse_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    base = make_run(tmp_path / "a", {"d0": outcomes(40, 0)})
    new = make_run(tmp_path / "b", {"d0": outcomes(30, 0, invalid=10)})
    assert compare(base, new, "--junit", tmp_path / "c.xml") == 3
    shown = capsys.readouterr().out
    assert (
        "10 invalid episodes could make it 'worse' or 'inconclusive'; over the valid ones it is 'inconclusive'" in shown
    )
    assert "INCONCLUSIVE --require no-regression: invalid episodes, which are failures of the environment" in shown
    assert "30/30" in shown
    assert "<error message=" in (tmp_path / "c.xml").read_text()


def test_invalid_episodes_that_change_nothing_leave_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    base = make_run(tmp_path / "a", {"d0": outcomes(40, 0)})
    new = make_run(tmp_path / "b", {"d0": outcomes(20, 18, invalid=2)})
    assert compare(base, new) == 1
    assert "38" in capsys.readouterr().out
    assert (
        compare(make_run(tmp_path / "c", {"d0": outcomes(40, 0)}), make_run(tmp_path / "d", {"d0": ["invalid"] * 40}))
        == 3
    )
    assert "nothing to compare: no valid episode is left in d0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "line", "advice"),
    [
        ({"horizon": 100}, "suite.horizon: 200 against 100", "the same horizon"),
        ({"env": "act_eval/MovingPick-v0"}, "suite.env: act_eval/Pick-v0 against act_eval/MovingPick-v0", "same --env"),
        ({"kwargs": {"confusers": 2}}, "suite.kwargs.confusers: (absent) against 2", "same options"),
        ({"facts": {"scene": "bb", "outcome_rules": 1}}, "suite.facts.scene: aa against bb", "evaluate BASE again"),
        ({"facts": {"scene": "aa", "outcome_rules": 2}}, "suite.facts.outcome_rules: 1 against 2", "evaluate BASE"),
        (
            {"seeds": tuple(range(105, 115))},
            "suite.seeds: entry 0 is 100 against 105",
            "5 seeds are in both; --unpaired",
        ),
    ],
)
def test_other_suites_are_refused_by_the_field_that_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict, line: str, advice: str
):
    base = make_run(tmp_path / "a", {"d0": outcomes(5, 5)})
    new = make_run(tmp_path / "b", {"d0": outcomes(5, 5)}, of=suite(10, **change))
    assert compare(base, new, "--json", tmp_path / "c.json", "--junit", tmp_path / "c.xml") == 3
    refusal = capsys.readouterr().err
    assert refusal.startswith("error: ")
    assert f"  {line}" in refusal.splitlines()
    assert advice in refusal
    assert json.loads((tmp_path / "c.json").read_text())["exit_code"] == 3
    assert ET.parse(tmp_path / "c.xml").getroot().find("testsuite/testcase/error") is not None


def test_unpaired_compares_rates_of_different_episodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    base = make_run(tmp_path / "a", {"d0": outcomes(45, 5)})
    new = make_run(tmp_path / "b", {"d0": outcomes(20, 20)}, of=suite(40, first_seed=500, horizon=100))
    assert compare(base, new, "--unpaired", "--json", tmp_path / "c.json") == 1
    shown = capsys.readouterr().out
    assert "different episodes; Barnard's exact test" in shown
    assert "note: suite.horizon: 200 against 100: rates of two different tasks" in shown
    (condition,) = json.loads((tmp_path / "c.json").read_text())["conditions"]
    assert (condition["test"], condition["pairs"], condition["flips"], condition["migration"]) == (
        "Barnard",
        None,
        [],
        [],
    )
    assert condition["verdict"] == "worse"
    assert compare(base, make_run(tmp_path / "c", {"d0": outcomes(45, 5)}), "--unpaired") == 0
    assert "same suite: without --unpaired the comparison detects smaller differences" in capsys.readouterr().out


@pytest.mark.parametrize("entry", ["renderer", "mujoco", "torch", "cpu_capability"])
def test_another_machine_or_version_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], entry: str):
    base = make_run(tmp_path / "a", {"d0": outcomes(5, 5)})
    new = make_run(tmp_path / "b", {"d0": outcomes(5, 5)}, fingerprint={**FINGERPRINT, entry: "other"})
    assert compare(base, new) == 0
    wanted = f"note: fingerprint.{entry}: {FINGERPRINT[entry]} against other: floating-point noise may flip an episode"
    assert wanted in capsys.readouterr().out.splitlines()


def test_conditions_are_chosen_by_name_pair_or_place(worse: tuple[Path, Path], capsys: pytest.CaptureFixture[str]):
    base, new = worse
    assert compare(base, new, "--condition", "d4") == 0
    assert f"note: d0 is in {base} and not compared" in capsys.readouterr().out
    assert compare(base, new, "--condition", "d0=d4") == 1
    assert "d0 → d4" in squeezed(capsys.readouterr().out)
    assert compare(f"{base}:d0", f"{base}:d4") == 1
    assert "d0 → d4 is worse" in capsys.readouterr().out
    assert compare(f"{base}:d0", new) == 1
    assert "d0 is worse" in capsys.readouterr().out


def test_conditions_of_other_names_are_paired_only_where_that_is_clear(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    one = make_run(tmp_path / "a", {"naive_d0": outcomes(5, 5)})
    other = make_run(tmp_path / "b", {"rtc_d0": outcomes(5, 5)})
    assert compare(one, other) == 0
    two = make_run(tmp_path / "c", {"rtc_d0": outcomes(5, 5), "rtc_d4": outcomes(5, 5)})
    capsys.readouterr()
    assert compare(one, two) == 2
    assert "pair them, as in --condition naive_d0=rtc_d0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{base}"], "compare takes BASE and NEW, got 1"),
        ([], "compare takes BASE and NEW, got 0: nothing"),
        (["{base}", "{base}"], "are the same condition of the same run"),
        (["{base}", "{new}", "--condition", "d9"], "unknown condition of"),
        (["{base}:d9", "{new}"], "'d9'; there are: d0, d4"),
        (
            ["{base}:d0", "{new}", "--condition", "d0"],
            "RUN:CONDITION already names the conditions; omit --condition",
        ),
        (["{base}", "{new}", "--alpha", "5"], "alpha is 5.0; it must be between 0 and 1, as in 0.05"),
        (["{base}", "{new}", "--margin", "0"], "margin is 0.0; it is a difference of rates between 0 and 1"),
        (["{base}", "{new}", "--held-out", "{new}"], "--held-out belongs to --checkpoints"),
        (["{base}", "{new}", "--json", "{base}"], "cannot write"),
        (["{base}", "none"], "none does not exist; name a run folder of evaluate, or a file of baseline"),
    ],
)
def test_wrong_usage_is_named_and_ends_with_2(
    worse: tuple[Path, Path], capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
):
    base, new = worse
    assert compare(*(word.format(base=base, new=new) for word in arguments)) == 2
    refusal = capsys.readouterr().err
    assert refusal.startswith("error: ")
    assert message in refusal


def damage_truncate(run: Path) -> None:
    path = run / "d0" / "episodes.jsonl"
    path.write_bytes(path.read_bytes()[:-20])


def damage_unfinished(run: Path) -> None:
    (run / "d0" / "episodes.jsonl").unlink()


def damage_foreign(run: Path) -> None:
    (run / "manifest.json").unlink()


def damage_schema(run: Path) -> None:
    path = run / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 7}))


def damage_seeds(run: Path) -> None:
    path = run / "d0" / "episodes.jsonl"
    path.write_text(path.read_text().replace('"seed":103', '"seed":999'))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_truncate, "is truncated; delete it and repeat the run's command"),
        (damage_unfinished, "is missing: the run has not finished; repeat its command to resume it"),
        (damage_foreign, "is not a run folder: it has no manifest.json"),
        (damage_schema, "has schema 7; this version reads schema 2"),
        (damage_seeds, "does not hold the seeds of the suite"),
    ],
)
def test_a_damaged_run_is_named_and_is_no_regression(
    worse: tuple[Path, Path], capsys: pytest.CaptureFixture[str], damage, message: str
):
    base, new = worse
    damage(new)
    assert compare(base, new) == 2
    refusal = capsys.readouterr().err
    assert message in refusal
    assert str(new) in refusal


def test_a_video_that_is_gone_is_named_with_what_to_do(worse: tuple[Path, Path], capsys: pytest.CaptureFixture[str]):
    gone = worse[1] / "d0" / "videos" / "0028_seed128_missed.mp4"
    gone.unlink()
    assert compare(*worse) == 1
    shown = capsys.readouterr().out
    again = f"act-eval render {worse[1]} --condition d0 --episodes 28 --size 256 renders it"
    assert f"{gone} is missing; {again}" in shown


def test_no_command_is_offered_for_a_film_that_cannot_be_made_again(worse: tuple[Path, Path], capsys):
    manifest = json.loads((worse[1] / "manifest.json").read_text())
    (worse[1] / "manifest.json").write_text(json.dumps(manifest | {"notes": {"replayable": False}}))
    gone = worse[1] / "d0" / "videos" / "0028_seed128_missed.mp4"
    gone.unlink()
    assert compare(*worse) == 1
    shown = capsys.readouterr().out
    assert f"{gone} is missing and cannot be rendered: it was recorded during the episode" in shown
    assert f"{worse[1]} --condition d0 --episodes 28" not in shown


def test_a_baseline_takes_the_place_of_a_run(worse: tuple[Path, Path], tmp_path: Path, capsys):
    base, new = worse
    assert main(["baseline", str(base), str(tmp_path / "base.json"), "--reason", "first"]) == 0
    assert compare(tmp_path / "base.json", new, "--markdown", tmp_path / "c.md") == 1
    assert "a baseline keeps no videos" in (tmp_path / "c.md").read_text()
    other = Baseline.read(tmp_path / "base.json")
    replace(other, suite=replace(other.suite, horizon=9)).write(tmp_path / "other.json")
    assert compare(tmp_path / "other.json", new) == 3
    (tmp_path / "base.json").write_text("{}")
    capsys.readouterr()
    assert compare(tmp_path / "base.json", new) == 2
    assert "record one with: act-eval baseline RUN FILE --reason WHY" in capsys.readouterr().err


def test_hostile_names_stay_names(tmp_path: Path):
    condition = "<b>&|`x`"
    base = make_run(tmp_path / "a", {condition: outcomes(20, 0)})
    new = make_run(tmp_path / "b", {condition: outcomes(0, 20)})
    assert compare(base, new, "--markdown", tmp_path / "c.md", "--junit", tmp_path / "c.xml") == 1
    page = (tmp_path / "c.md").read_text()
    assert "<b>" not in page
    assert all(line.count("|") - line.count("\\|") == 7 for line in page.splitlines() if line.startswith("| &lt;b"))
    assert ET.parse(tmp_path / "c.xml").getroot().find("testsuite/testcase/failure") is not None


def test_the_noise_floor_is_shown_alone_and_beside_a_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first = make_run(tmp_path / "a", {"d0": outcomes(45, 5)})
    second = make_run(tmp_path / "b", {"d0": outcomes(40, 10)}, of=suite(50, first_seed=900))
    assert compare("--noise-floor", first, second, "--json", tmp_path / "c.json") == 0
    assert "2 disjoint suites of 50 episodes, same weights: 0.90 0.80" in capsys.readouterr().out
    (floor,) = json.loads((tmp_path / "c.json").read_text())["noise_floor"]
    assert floor["largest"] == pytest.approx(0.1)
    new = make_run(tmp_path / "n", {"d0": outcomes(45, 5)}, digest="bb")
    assert compare(first, new, "--noise-floor", first) == 0
    assert "2 disjoint suites of 25 episodes" in capsys.readouterr().out
    assert compare("--noise-floor", first, new) == 3
    assert "configuration.policy.digest: aa against bb" in capsys.readouterr().err
    assert compare("--noise-floor", first, make_run(tmp_path / "o", {"d0": outcomes(45, 5)})) == 3
    assert "repeats 50 episode seeds" in capsys.readouterr().err


def test_several_checkpoints_are_reported_by_their_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    runs = [
        make_run(tmp_path / name, {"d0": outcomes(successes, 50 - successes)}, digest=name)
        for name, successes in (("a", 40), ("b", 45), ("c", 35))
    ]
    assert compare("--checkpoints", *runs, "--json", tmp_path / "c.json") == 0
    shown = capsys.readouterr().out
    assert "mean over 3 checkpoints 0.800, standard deviation 0.100" in shown
    assert "warning: the rate of the best of 3 on the episodes that chose it is biased upwards" in shown
    assert json.loads((tmp_path / "c.json").read_text())["best"] == 1
    held_out = make_run(tmp_path / "h", {"d0": outcomes(41, 9)}, digest="b", of=suite(50, first_seed=900))
    assert compare("--checkpoints", *runs, "--held-out", held_out, "--markdown", tmp_path / "c.md") == 0
    shown = capsys.readouterr().out
    assert "warning" not in shown
    assert f"d0: held out, {runs[1]}: 41/50 = 0.82, 95% Wilson [0.69, 0.90]: the number to report" in shown
    assert "41/50 = 0.82" in (tmp_path / "c.md").read_text()


@pytest.mark.parametrize(
    ("digest", "first_seed", "code", "message"),
    [
        ("z", 900, 2, "is a run of policy z, which is not among"),
        ("b", 140, 3, "shares 10 episode seeds with the suite that chose the checkpoint"),
    ],
)
def test_a_held_out_run_must_be_of_a_checkpoint_on_other_episodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], digest: str, first_seed: int, code: int, message: str
):
    runs = [make_run(tmp_path / name, {"d0": outcomes(40, 10)}, digest=name) for name in "ab"]
    held_out = make_run(tmp_path / "h", {"d0": outcomes(41, 9)}, digest=digest, of=suite(50, first_seed=first_seed))
    assert compare("--checkpoints", *runs, "--held-out", held_out) == code
    assert message in capsys.readouterr().err


def test_checkpoints_on_different_suites_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    runs = [make_run(tmp_path / str(i), {"d0": outcomes(5, 5)}, of=suite(10, first_seed=i)) for i in (100, 300)]
    assert compare("--checkpoints", *runs) == 3
    assert "suite.seeds" in capsys.readouterr().err
    assert compare("--checkpoints", runs[0]) == 2
    assert "--checkpoints needs at least two runs, got 1" in capsys.readouterr().err


def test_two_real_runs_of_the_expert_are_equal_episode_by_episode(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in "ab":
        flags = ["--policy", "expert", "--env", "pick", "--seeds", "3,17", "--workers", "1", "--video", "none"]
        assert main(["evaluate", *flags, "--image-size", "32", "--out", str(tmp_path / name)]) == 0
    capsys.readouterr()
    assert compare(tmp_path / "a", tmp_path / "b", "--json", tmp_path / "c.json") == 0
    shown = capsys.readouterr().out
    assert "note: same policy, same conditions: any difference comes from the code or from the machine" in shown
    assert "no drop detected; too few episodes to detect any drop" in shown
    (condition,) = json.loads((tmp_path / "c.json").read_text())["conditions"]
    assert (condition["base"]["successes"], condition["flips"]) == (2, [])


def test_a_held_out_evaluation_shares_no_episode_with_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    flags = ["--policy", "expert", "--env", "pick", "--workers", "1", "--video", "none", "--image-size", "32"]
    out = ["--out", str(tmp_path / "run")]
    assert main(["evaluate", *flags, "--episodes", "2", "--held-out", *out]) == 0
    assert "2 episodes, held-out seed 0" in capsys.readouterr().out
    seeds = Manifest.read(tmp_path / "run").suite.seeds
    assert list(seeds) == episode_seeds(Purpose.HELD_OUT, 0, 2)
    assert not set(seeds) & set(episode_seeds(Purpose.EVALUATE, 0, 100))
    assert main(["evaluate", *flags, "--seeds", "3", "--held-out", *out]) == 2
    assert "--seeds lists the episodes, --held-out draws them" in capsys.readouterr().err
