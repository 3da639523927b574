"""The probe command, and what evaluate says of inputs: on the real environment with networks of a few weights."""

import json
from pathlib import Path

import pytest
import torch
from untrained import write_checkpoint

from act_eval.cli import main
from act_eval.diagnostics.changes import EXCHANGED
from act_eval.errors import UsageError
from act_eval.policies.checkpoint import load_pretrained, save_pretrained
from act_eval.results import Manifest

SMALL = ["--image-size", "32"]


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "intact", "act_rtc")


@pytest.fixture(scope="module")
def deaf(intact: Path) -> Path:
    """The same network with its coordinates cut off: declared, and read by nothing."""
    policy, processor = load_pretrained(intact)
    with torch.no_grad():
        policy.model.encoder_env_state_input_proj.weight.zero_()
    save_pretrained(intact.parent / "deaf", policy, processor)
    return intact.parent / "deaf"


def probe(*arguments: object) -> int:
    return main(["probe", *map(str, arguments)])


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert probe(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    return error


def test_one_line_per_input_and_all_numbers_in_a_file(
    tmp_path: Path, intact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "numbers" / "probe.json"
    assert probe("--policy", intact, *SMALL, "--episodes", 4, "--per-episode", 4, "--json", file) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(
        line.startswith("bank    16 observations from the beginnings of 4 episodes of the expert") for line in lines
    )
    verdicts = [line.split()[:2] for line in lines[-8:-1]]
    declared = ["state", "environment_state", "images.overhead", "images.wrist"]
    assert [name for name, _ in verdicts] == [*declared, "prefix", "estimated_delay", "camera_order"]
    assert {mode for _, mode in verdicts} <= {"used", "weak"}
    numbers = json.loads(file.read_text())
    assert [verdict["mode"] for verdict in numbers["verdicts"]] == [mode for _, mode in verdicts]
    assert {effect["name"] for effect in numbers["effects"]} >= {"zeroed", "grey", EXCHANGED, "confuser hidden"}
    assert numbers["observations"] == 16


@pytest.mark.parametrize("bank", ["expert", "policy"])
def test_a_dead_input_is_named_and_is_the_exit_code(deaf: Path, capsys: pytest.CaptureFixture[str], bank: str) -> None:
    assert probe("--policy", deaf, *SMALL, "--short", "--bank", bank, "--episodes", 4, "--per-episode", 4) == 3
    shown = capsys.readouterr().out
    assert "\nenvironment_state ignored no change moves the chunk by more than" in shown
    assert shown.count(" ignored ") == 1


def test_without_a_confuser_there_is_no_choice_to_report(deaf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe("--policy", deaf, "--env", "pick", *SMALL, "--short", "--episodes", 4, "--per-episode", 4) == 3
    shown = capsys.readouterr().out
    assert "environment_state ignored" in shown
    assert " open" not in shown
    assert "confuser" not in shown


def test_what_cannot_be_probed_is_refused(intact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "the scripted expert declares no inputs" in refusal(capsys, "--policy", "expert")
    assert "--goal-input none: a probe changes the coordinates itself" in refusal(capsys, "--goal-input", "none")
    assert "episodes of a probe is 0" in refusal(capsys, "--policy", intact, *SMALL, "--episodes", 0)
    assert "a probe needs observations of at least 2 episodes" in refusal(
        capsys, "--policy", intact, *SMALL, "--episodes", 1
    )
    assert "the policy was made for (32, 32, 3)" in refusal(capsys, "--policy", intact)
    assert "unknown policy 'act_rct'" in refusal(capsys, "--policy", "act_rct")


def evaluate(*arguments: object) -> int:
    return main(["evaluate", "--seeds", "3", "--delay", "0", *SMALL, "--workers", "1", *map(str, arguments)])


def test_evaluate_warns_of_dead_inputs_unless_estimated_not_to(
    tmp_path: Path, deaf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("--policy", deaf, "--out", tmp_path / "probed", "--video", "none") == 0
    shown = capsys.readouterr().out
    assert "warning: input environment_state ignored no change moves the chunk" in shown
    assert any("environment_state ignored" in line for line in Manifest.read(tmp_path / "probed").input_check)
    assert "rtc_d0_s4: inconclusive" in shown
    assert evaluate("--policy", deaf, "--out", tmp_path / "silent", "--video", "none", "--no-probe") == 0
    assert "warning: input" not in capsys.readouterr().out
    runs = [(tmp_path / name / "rtc_d0_s4" / "episodes.jsonl").read_bytes() for name in ("probed", "silent")]
    assert runs[0] == runs[1]


def test_a_run_of_the_same_checkpoint_warns_again_without_probing_and_one_of_another_probes(
    tmp_path: Path, deaf: Path, intact: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert evaluate("--policy", deaf, "--out", tmp_path / "first", "--video", "none") == 0
    assert "warning: input environment_state ignored" in capsys.readouterr().out

    def probed(*_: object, **__: object) -> None:
        raise UsageError("it was probed")

    monkeypatch.setattr("act_eval.diagnostics.input_check.check_inputs", probed)
    assert evaluate("--policy", deaf, "--out", tmp_path / "second", "--video", "none") == 0
    assert "warning: input environment_state ignored" in capsys.readouterr().out
    checks = [Manifest.read(tmp_path / name).input_check for name in ("first", "second")]
    assert checks[0] == checks[1] != ()
    assert evaluate("--policy", intact, "--out", tmp_path / "other", "--video", "none") == 0
    assert "could not be probed: it was probed" in capsys.readouterr().out
    others = ("--goal-input", "exact"), ("--rows-per-call", "4")
    for number, more in enumerate(others):
        assert evaluate("--policy", deaf, "--out", tmp_path / f"more{number}", "--video", "none", *more) == 0
        assert "could not be probed: it was probed" in capsys.readouterr().out, more


def test_a_blind_run_says_so_and_is_another_configuration_of_the_same_suite(
    tmp_path: Path, intact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, flags in (("seeing", []), ("mask_images", ["--mask-images"])):
        assert evaluate("--policy", intact, "--out", tmp_path / name, "--video", "none", "--no-probe", *flags) == 0
    assert "prefix of up to 4, images masked" in capsys.readouterr().out
    seeing, mask_images = (Manifest.read(tmp_path / name) for name in ("seeing", "mask_images"))
    assert seeing.suite.hash == mask_images.suite.hash
    assert mask_images.configuration["policy"] == {**seeing.configuration["policy"], "mask_images": True}
    assert evaluate("--policy", intact, "--out", tmp_path / "seeing", "--video", "none", "--mask-images") == 1
    assert "configuration.policy" in capsys.readouterr().err
    assert evaluate("--policy", "expert", "--mask-images") == 2
    assert "the expert uses no camera" in capsys.readouterr().err
