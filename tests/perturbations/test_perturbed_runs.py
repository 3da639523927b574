"""Runs with perturbations: conditions beside their twins, paired by seed, with the same delays and noise."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_bench import Wanderer
from toy_envs import HookedWalk

import act_eval
from act_eval.cli import main
from act_eval.errors import UsageError
from act_eval.evaluation.reporter import Silent
from act_eval.perturbations import label_of
from act_eval.perturbations.signals import GoalError, JointNoise
from act_eval.sources.perturbations import load_perturbations
from act_eval.types import PolicySpec

SMALL: dict[str, Any] = {"episodes": 5, "horizon": 14, "video": "none", "probe": False, "workers": 1}
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


class Seer(Wanderer):
    """Walks to the goal by its noisy way, and declares everything that it is shown."""

    spec = PolicySpec(
        chunk=8,
        action_dim=2,
        window="same",
        takes_prefix=False,
        max_delay=0,
        inputs={
            "observation.images.top": (4, 4, 3),
            "observation.state": (2,),
            "observation.environment_state": (2,),
        },
    )


def evaluated(out: Path, *perturb: Any, **more: Any) -> act_eval.Run:
    given = {"delays": ["uniform:0,2"], "execution_horizon": 4, "progress": False, **SMALL, **more}
    return act_eval.evaluate(Seer, HookedWalk, perturb=perturb, out=out, **given)


def test_a_perturbed_condition_stands_beside_its_twin(tmp_path: Path):
    run = evaluated(tmp_path / "run", "goal_error=5", "joint_noise=1+brightness=3", delays=[0, 2])
    assert list(run.conditions) == [
        f"naive_d{d}_s4{label}" for d in (0, 2) for label in ("", "_goal_error5", "_joint_noise1_brightness3")
    ]
    settings = run.conditions["naive_d2_s4_goal_error5"].settings
    assert (settings["perturbation"], settings["perturbation_writes"]) == ({"goal_error": 5}, ["environment_state"])
    plain = act_eval.load_run(evaluated(tmp_path / "plain", delays=[0, 2]).folder)
    assert plain.conditions["naive_d2_s4"].suite.hash == run.conditions["naive_d2_s4_goal_error5"].suite.hash
    assert plain.conditions["naive_d2_s4"].records == run.conditions["naive_d2_s4"].records
    found = run.compare("naive_d2_s4", "naive_d2_s4_goal_error5")
    assert found.pairs is not None
    assert found.pairs.pairs == 5


def test_what_differs_is_in_the_manifest(tmp_path: Path):
    run = evaluated(tmp_path, "goal_error=2")
    notes = json.loads((run.folder / "manifest.json").read_text())["notes"]
    assert notes["purity"]["goal_error2"]["goal"] is True
    assert notes["purity"]["goal_error2"]["initial_states"] == 0


def test_delays_and_noise_stay_those_of_the_twin(tmp_path: Path):
    run = evaluated(tmp_path, "brightness=5")
    plain, dark = run.conditions.values()
    for one, other in zip(plain.records, dark.records, strict=True):
        assert one.detail["actual_delays"] == other.detail["actual_delays"]
        # Seer ignores its images: a perturbation of them alone must change nothing at all.
        np.testing.assert_array_equal(plain.steps(one.episode).state, dark.steps(other.episode).state)
        assert one == other


@pytest.mark.parametrize("batch", [1, 3])
def test_a_record_does_not_depend_on_the_batch(tmp_path: Path, batch: int):
    wide = evaluated(tmp_path / "wide", "goal_error=5", "command_noise=5")
    run = evaluated(tmp_path / "run", "goal_error=5", "command_noise=5", batch=batch)
    for name, condition in wide.conditions.items():
        own = run.conditions[name]
        assert (own.folder / "episodes.jsonl").read_bytes() == (condition.folder / "episodes.jsonl").read_bytes()
    assert len({tuple(one.steps for one in condition.records) for condition in run.conditions.values()}) > 1


def test_objects_and_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.syspath_prepend(EXAMPLES)
    run = evaluated(tmp_path, "own_perturbation:Fog:shade=90=2", (GoalError(1), JointNoise(2)))
    assert [name.partition("_s4")[2] for name in run.conditions] == ["", "_fog2-shade-90", "_goal_error1_joint_noise2"]
    settings = list(run.conditions.values())[1].settings
    assert settings["perturbation_options"] == {"fog": {"shade": 90}}
    assert settings["perturbation_sources"]["fog"]["class"] == "own_perturbation:Fog"
    assert run._stored.manifest.purity["fog2-shade-90"]["observation"] == ["pixels.top"]


def test_all_takes_what_the_environment_offers(tmp_path: Path):
    lines: list[str] = []

    class Keeps(Silent):
        def line(self, text: str) -> None:
            lines.append(text)

    run = evaluated(tmp_path, "all=1", episodes=1, progress=Keeps())
    names = {name.rpartition("_s4_")[2] for name in run.conditions}
    assert {"brightness1", "goal_error1", "rate_jitter1", "joint_delay1"} <= names
    assert any("left out perturbation blur=1 changes nothing this policy sees" in line for line in lines)  # one colour


@pytest.mark.parametrize(
    ("perturb", "text"),
    [
        ("blurr=3", r"unknown axis 'blurr'; did you mean 'blur'\? there are: .*\(environments with cameras\)"),
        ("blur", r"blur: expected AXIS=SEVERITY.*did you mean 'blur'\? there are: "),
        ("blur=6", r"severity is '6'; allowed: 1 to 5; there are: .*\(any environment\)"),
        ("blur=2+jpeg=3", r"blur and jpeg both write pixels; give them as two conditions"),
        ("blur:width=3=2", r"there is no option 'width'; there are: cameras"),
        ("all=3+blur=1", r"`all` stands alone"),
        ("toy_envs:Walk=2", r"is no subclass of act_eval\.perturbations\.Perturbation"),
        ("no_such_module:Fog=2", r"there is no module 'no_such_module'"),
    ],
)
def test_bad_input_says_what_exists(perturb: str, text: str):
    with pytest.raises(UsageError, match=text):
        load_perturbations([perturb])


def test_an_object_of_another_type_is_named():
    with pytest.raises(UsageError, match=r"perturb has 3; allowed: texts such as 'light=3'"):
        load_perturbations([3])


def test_severities_and_axes_combine():
    found = load_perturbations(["blur=1,3", "joint_noise=2+goal_error=4,5", "blur=3"])
    assert [label_of(one.parts) for one in found] == [
        "_blur1",
        "_blur3",
        "_joint_noise2_goal_error4",
        "_joint_noise2_goal_error5",
    ]
    assert [label_of(one.parts) for one in load_perturbations(['blur:cameras=["wrist"]=2'])] == ["_blur2-cameras-wrist"]


def test_an_axis_that_the_environment_cannot_offer_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match=r"perturbation blur=2: HookedWalk has no camera 'wrist'; it shows top"):
        evaluated(tmp_path, 'blur:cameras=["wrist"]=2')


def test_many_perturbations_are_read_from_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    axes = ["command_noise", "command_scale", "mass"]
    flags = ["--policy", "expert", "--env", "pick", "--episodes", "2", "--workers", "1", "--image-size", "16"]
    assert main(["robustness", *flags, "--axes", *axes, "--out", str(tmp_path / "run")]) == 0
    begun, finished = capsys.readouterr().out.split("folder  ", 1)
    assert [line for line in begun.splitlines() if line.startswith("condition ")] == [
        "condition expert: no inference, no delay"
    ]
    severities = "1, 2, 3, 4, 5"
    assert f"perturbed, 15 conditions beside these: {'; '.join(f'{axis} {severities}' for axis in axes)}" in begun
    rates, paired = finished.split("Perturbed against unperturbed")
    assert "expert_mass3" not in rates.split("done    ")[-1].split("\n", 1)[1]  # nor in the tables of rates and metrics
    assert all(f"{axis} 3" in paired for axis in axes)
    assert "with the delay" not in paired
    written = json.loads((tmp_path / "run/robustness.json").read_text())
    assert (len(written["conditions"]), written["delay_effects"]) == (15, [])


def test_robustness_names_its_own_flags(capsys: pytest.CaptureFixture[str]):
    for flags, text in (
        (["--severities", "3", "9"], "--severities has 9; allowed: 1, 2, 3, 4, 5"),
        (["--axes", "light=3"], "--axes light=3: an axis stands alone here; --severities says how strong"),
        (["--axes"], "--axes and --severities need at least one value each"),
        (["--axes", "lights"], "unknown axis 'lights'; did you mean 'light'? there are: "),
    ):
        assert main(["robustness", *flags]) == 2
        assert text in capsys.readouterr().err
