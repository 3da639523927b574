"""Faults of users' environments and policies: each costs its episode, is named, and never looks like a result."""

from pathlib import Path

import numpy as np
import pytest

from act_eval.cli import main
from act_eval.evaluation.reporter import Silent
from act_eval.results.records import read_episodes
from act_eval.results.steps import load

pytestmark = pytest.mark.usefixtures("in_tmp")
FAST = ["--no-probe", "--horizon", "12", "--workers", "1", "--batch", "2"]


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def evaluate(*arguments: str, policy: str = "user_faults:Go", env: str = "user_faults:Reach") -> int:
    video = [] if "--video" in arguments else ["--video", "none"]
    options = [] if "--episodes" in arguments else ["--episodes", "6"]
    options += [] if "--delay" in arguments else ["--delay", "0"]
    return main(["evaluate", "--policy", policy, "--env", env, "--out", "run", *FAST, *video, *options, *arguments])


def only(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if name in line)


@pytest.mark.parametrize(
    ("env", "error"),
    [
        ("Exits", "SystemExit: os._exit(0)"),
        ("SysExit", "SystemExit: license check failed"),
        ("NoText", "Odd: (its text cannot be read: ValueError)"),
        ("LongText", "RuntimeError: xxx"),
        ("Surrogates", "RuntimeError: caf\\udce9"),
        ("OtherShape", "agent_pos"),
        ("OddFlag", "SimulationError: terminated is 'no'; it must be one truth value"),
        ("OddReward", "TypeError: float() argument must be"),
        ("NoState", "RuntimeError: no state"),
        ("OddState", "SimulationError: simulator_state() returned shape (3,); expected a constant (S,)"),
        ("NoMotion", "RuntimeError: no motion"),
    ],
)
def test_a_fault_of_the_environment_costs_its_episode(env: str, error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(env=f"user_faults:{env}") == 0
    records = read_episodes(Path("run/naive_d0_s5/episodes.jsonl"))
    broken = [record for record in records if record.outcome == "invalid"]
    assert [record.episode for record in broken] == [1, 2]
    assert {record.outcome for record in records} == {"invalid", "success"}
    for record in broken:
        assert record.error is not None
        assert error in record.error
        assert len(record.error) < 2500
        trace = Path(f"run/naive_d0_s5/errors/{record.episode:04d}.txt").read_text()
        assert trace.startswith("Traceback (most recent call last):")
    shown = capsys.readouterr().out
    assert "ended as invalid (1, 2); first:" in shown
    assert "(traceback: run/naive_d0_s5/errors/0001.txt)" in shown
    assert evaluate(env=f"user_faults:{env}") == 0, "the same command does not crash again"


@pytest.mark.parametrize(
    ("env", "error"),
    [
        ("NoFrame", "render() raised RuntimeError: EGL lost; --video none evaluates without videos"),
        ("GrayFrame", "render() returned (12, 16) uint8; a video needs (H, W, 3) uint8, or choose --video none"),
    ],
)
def test_a_frame_that_is_missing_costs_its_episode(env: str, error: str) -> None:
    assert evaluate("--video", "all", env=f"user_faults:{env}") == 0
    records = read_episodes(Path("run/naive_d0_s5/episodes.jsonl"))
    assert [record.episode for record in records if record.outcome == "invalid"] == [1, 2]
    assert all(record.error is None or error in record.error for record in records)


def test_a_hook_of_the_video_that_raises_costs_its_episode() -> None:
    for _ in range(2):  # the same command does not crash again
        assert evaluate("--video", "all", env="user_faults:NoReplay") == 0
    records = read_episodes(Path("run/naive_d0_s5/episodes.jsonl"))
    assert {r.episode: r.error for r in records if r.outcome == "invalid"} == dict.fromkeys(
        (1, 2), "RuntimeError: no replay"
    )
    assert sorted(path.name[:4] for path in Path("run/naive_d0_s5/videos").iterdir()) == [
        "0000",
        "0003",
        "0004",
        "0005",
    ]


def test_a_hold_rule_that_raises_costs_its_episode() -> None:
    assert evaluate("--executor", "sync_hold", "--delay", "2", env="user_faults:NoHold") == 0
    records = read_episodes(Path("run/sync_hold_d2_s5/episodes.jsonl"))
    assert [record.episode for record in records if record.outcome == "invalid"] == [1, 2]
    assert {record.error for record in records if record.outcome == "invalid"} == {
        "SimulationError: hold_action() raised RuntimeError: no hold"
    }


def test_the_end_of_the_process_is_no_success_in_workers_either(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--workers", "2", env="user_faults:Exits") == 0
    assert "ended as invalid (1, 2); first: SystemExit: os._exit(0)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("how", "code", "text"),
    [
        ("construct", 2, "calling it with (how='construct') raised SystemExit: os._exit(0)"),
        ("sys.exit", 2, "calling it with (how='sys.exit') raised SystemExit: 0"),
        ("predict", 1, "every episode ended by an error, so there is no success rate; the first: SystemExit: os._exit"),
    ],
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_policy_that_ends_the_process_ends_no_run_as_a_success(
    how: str, code: int, text: str, workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--policy-options", f"how={how}", "--workers", workers, "--episodes", "2")
    assert evaluate(*options, policy="user_faults:Leaves") == code
    assert text in capsys.readouterr().err


def test_a_condition_of_errors_alone_is_not_a_rate_of_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(policy="user_faults:Failing") == 1
    found = capsys.readouterr()
    assert "naive_d0_s5: every episode ended by an error" in found.err
    assert "KeyError: 'no such token'" in found.err
    assert 'raise KeyError("no such token")' in Path("run/naive_d0_s5/errors/0000.txt").read_text()


@pytest.mark.parametrize(
    ("source", "code", "text"),
    [
        ("import argparse\nargparse.ArgumentParser().parse_args()\nfrom user_faults import Reach as Env\n", 0, None),
        ("input('Another folder? (Y/N): ')\n", 2, "asks for input while it is imported; import it by hand once"),
        ("import sys\nsys.exit()\n", 2, "module 'imported' cannot be imported: SystemExit"),
        ("import os\nos._exit(0)\n", 2, "module 'imported' cannot be imported: SystemExit: os._exit(0)"),
        ("raise KeyError('x')\n", 2, "module 'imported' cannot be imported: KeyError: 'x'"),
    ],
)
def test_what_a_module_does_when_it_is_imported(
    source: str, code: int, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    sys.modules.pop("imported", None)
    Path("imported.py").write_text(source)
    assert evaluate("--episodes", "2", env="imported:Env") == code
    assert text is None or text in capsys.readouterr().err


@pytest.mark.parametrize("probe", [[], ["--probe"]])
def test_starts_that_do_not_depend_on_the_seed_are_named(probe: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--delay", "0", "4", *probe, env="user_faults:Counter") == 0
    shown = capsys.readouterr().out
    assert "warning: Counter begins differently after two resets with the same seed" in shown
    assert "naive_d4_s5: 6 of 6 episodes begin in another state than under naive_d0_s5" in shown


def test_starts_that_depend_on_the_seed_are_not_accused(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--delay", "0", "4") == 0
    shown = capsys.readouterr().out
    assert "begins differently" not in shown
    assert "in another state" not in shown


@pytest.mark.parametrize(
    ("policy", "accused"), [("Queue", True), ("Undeclared", True), ("Samples", False), ("Go", False)]
)
def test_a_policy_is_asked_twice(policy: str, accused: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--episodes", "2", policy=f"user_faults:{policy}") == 0
    warning = f"warning: {policy} answers the first observation of an episode differently when it is asked again"
    assert (warning in capsys.readouterr().out) is accused


@pytest.mark.parametrize(
    ("env", "executor", "line", "second"),
    [
        ("Never", "ensemble", "ensemble averages actions in every dimension", [-1, -0.5025, -0.00666656]),
        ("NeverWithGripper", "ensemble", "dimensions [1] come from the newest chunk", [-1, 0, 1]),
        ("Never", "ensemble:newest_only=[-1]", "dimensions [-1] come from the newest chunk", [-1, 0, 1]),
        ("NeverWithGripper", "ensemble:newest_only=[]", "actions in every dimension", [-1, -0.5025, -0.00666656]),
    ],
)
def test_an_ensemble_averages_all_but_what_is_declared(
    env: str, executor: str, line: str, second: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--executor", executor, "--execution-horizon", "1", "--episodes", "1")
    assert evaluate(*options, policy="user_faults:Count", env=f"user_faults:{env}") == 0
    assert line in capsys.readouterr().out
    (steps,) = Path("run").glob("*/steps/0000.npz")
    command = load(steps).command[:3]
    np.testing.assert_allclose(command[:, 0], [-1, -0.5025, -0.00666656], atol=1e-6)
    np.testing.assert_allclose(command[:, 1], second, atol=1e-6)


def test_an_ensemble_refuses_a_dimension_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--executor", "ensemble:newest_only=[5]") == 2
    assert "newest_only is [5]; an action has the dimensions 0 to 1" in capsys.readouterr().err


def test_joints_are_predicted_without_the_gripper_only_where_there_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--proprio", "predicted", "--delay", "2") == 2
    assert "declares no gripper_dims" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "warned"), [((), False), (("--delay", "2"), True), (("--delay", "2", "--hold", "repeat"), False)]
)
def test_an_undeclared_hold_rule_is_named_where_robots_wait(
    options: tuple[str, ...], warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("--episodes", "1", *options) == 0
    assert ("warning: no hold rule is declared" in capsys.readouterr().out) is warned


def test_an_unknown_option_of_the_environment_lists_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--env-options", "sise=3") == 2
    assert "unexpected keyword argument 'sise' (its options: render_mode)" in capsys.readouterr().err


def test_a_delay_in_milliseconds_points_to_its_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--delay", "200ms") == 2
    assert "delay '200ms': delays are control steps; milliseconds are --latency-ms 200" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("nonsense", "MUJOCO_GL is 'nonsense'; allowed: egl, osmesa, glfw, or unset"),
        ("osmesa", "MUJOCO_GL=osmesa cannot be loaded (libOSMesa is missing): unset it or use egl"),
    ],
)
def test_a_renderer_that_cannot_be_loaded_is_one_line(
    value: str, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", value)
    monkeypatch.setattr("act_eval.scenes.backend.find_library", lambda name: None)
    monkeypatch.setattr("act_eval.scenes.backend.usual_backend", lambda: "egl")
    assert evaluate() == 1
    assert capsys.readouterr().err == f"error: {text}\n"


def test_reused_buffers_and_spoilt_arrays_change_nothing() -> None:
    options = ("--delay", "0", "4", "--horizon", "30", "--hold", "repeat")
    assert evaluate(*options, policy="user_faults:DriftOneBuffer", env="user_faults:OneBuffer") == 0
    Path("run").rename("spoilt")
    assert evaluate(*options, policy="user_faults:Drift", env="user_faults:Reach") == 0
    for path in sorted(Path("run").glob("*/steps/*.npz")):
        clean, spoilt = load(path), load("spoilt" / path.relative_to("run"))
        for name, values in vars(clean).items():
            np.testing.assert_array_equal(vars(spoilt)[name], values, err_msg=f"{path}: {name}")


def test_from_python_too_a_run_of_errors_is_named() -> None:
    import user_faults

    import act_eval

    class Kept(Silent):
        def line(self, text: str) -> None:
            lines.append(text)

    lines: list[str] = []
    options = {"episodes": 2, "delays": [0], "horizon": 12, "video": "none", "out": "run", "progress": Kept()}
    act_eval.evaluate(user_faults.Failing, user_faults.Reach, workers=1, probe=False, **options)
    note = "naive_d0_s5: 2 episodes ended as policy_error (0, 1); first: KeyError: 'no such token' (traceback: run/"
    assert any(line.startswith(note) for line in lines)


def test_the_probe_names_a_policy_that_raises(capsys: pytest.CaptureFixture[str]) -> None:
    probe = ["probe", "--policy", "user_faults:Failing", "--env", "user_faults:Reach", "--episodes", "1"]
    assert main([*probe, "--horizon", "12"]) in (1, 2)
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "KeyError: 'no such token'" in error
