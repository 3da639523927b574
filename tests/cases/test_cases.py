"""Cases from public reports, as users met them: what is refused, what is said beside the rate, and what is right.

`files/` holds environments and policies (one module each), checkpoints as what differs from `ckpt_good`, and data sets.
Kinds of faults have tests of their own beside the rooms that own them.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from act_eval.cli import main
from act_eval.datasets import Demonstrations
from act_eval.errors import CheckpointError
from act_eval.policies.checkpoint import load_pretrained
from act_eval.results.steps import load

FILES = Path(__file__).parent / "files"
WITHOUT_PROCESSORS = ("ckpt_no_processors", "ckpt_old_buffers")


@pytest.fixture(autouse=True)
def at_the_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Import the cases' modules as a user would, from their folder, and forget them afterwards."""
    monkeypatch.syspath_prepend(str(FILES))
    yield
    for name in ("reach", *(path.stem for path in FILES.glob("*.py"))):
        sys.modules.pop(name, None)


def checkpoint(name: str, folder: Path) -> Path:
    """Return a case's checkpoint, put together in a folder."""
    policy = shutil.copytree(FILES / "ckpt_good", folder / name)
    if name in WITHOUT_PROCESSORS:
        for file in policy.glob("policy_*"):
            file.unlink()
    if (FILES / name).is_dir():  # of `ckpt_no_processors` nothing differs but what is missing
        shutil.copytree(FILES / name, policy, dirs_exist_ok=True)
    return policy


def evaluate(out: Path, policy: str, env: str, *more: str) -> int:
    usual = {"--episodes": "4", "--horizon": "30", "--delay": "0", "--batch": "2", "--workers": "1", "--video": "none"}
    words = [word for name, value in usual.items() if name not in more for word in (name, value)]
    return main(["evaluate", "--policy", policy, "--env", env, "--no-probe", *words, *more, "--out", str(out)])


@pytest.mark.parametrize(
    ("env", "policy", "code", "text"),
    [
        ("action_bounds:Env", "action_bounds:Degrees", 0, "100 % of the commands lie outside the action space"),
        ("already_there:There", "already_there:Still", 0, "6 of 6 episodes succeeded at their first step"),
        ("dies:Exits", "reach:Go", 0, "ended as invalid"),
        ("dies:SysExit", "reach:Go", 0, "SystemExit: license check failed"),
        ("dies:RaisesSpecial", "reach:Go", 0, "Odd: (its text cannot be read: ValueError)"),
        ("diverges:Env", "diverges:Wild", 0, "agent_pos of an observation is not finite"),
        ("reset_counter:Env", "reach:Go", 0, "begins differently after two resets with the same seed"),
        ("spaces:IntBox", "reach:Go", 2, "the action space Box(-2, 2, (2,), int32): policies return fractions"),
        ("spaces:OldApi", "reach:Go", 2, "reset"),
        ("spaces:DiscreteAct", "reach:Go", 2, "Discrete(4)"),
        ("success_fraction:Env", "success_fraction:Still", 2, 'as in --success "info.success>=1"'),
        ("success_missing_last:Env", "reach:Go", 2, "the environment signals no success: declare the rule"),
        ("success_nan:Env", "success_nan:Still", 2, "is NaN, which is neither success nor failure"),
        ("argparse_module:Env", "reach:Go", 0, "naive_d0_s5"),
        ("asks_input:Env", "reach:Go", 2, "asks for input while it is imported"),
    ],
)
def test_an_environment_is_refused_or_its_trouble_is_said(
    env: str, policy: str, code: int, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tmp_path / "run", policy, env, "--episodes", "6") == code
    found = capsys.readouterr()
    assert text in " ".join((found.out + found.err).split())


def test_invalid_episodes_stand_beside_the_rate_as_failures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(tmp_path / "run", "diverges:Wild", "diverges:Env", "--episodes", "8", "--horizon", "20") == 0
    out = capsys.readouterr().out
    assert "1/1 = 1.00" in out
    assert "1/8 = 0.12" in out


def test_conditions_that_begin_differently_are_not_paired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert evaluate(run, "reach:Go", "reset_counter:Env", "--delay", "0", "4", "--episodes", "6") == 0
    capsys.readouterr()
    assert main(["compare", str(run), str(run), "--condition", "naive_d0_s5=naive_d4_s5"]) != 0
    assert "begin" in capsys.readouterr().err


def test_a_sweep_says_it_before_its_first_episode_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--policies", "reach:Go", "--envs", "reset_counter:Env", "--delays", "0", "4", "--episodes", "2"]
    assert main(["sweep", *words, "--horizon", "8", "--workers", "1", "--out", str(tmp_path / "sweep")]) != 0
    found = capsys.readouterr()
    said = " ".join(found.out.split())
    assert said.index("begins differently after two resets with the same seed") < said.index("succeeded")
    assert "episodes begin in another state under the same seed" in " ".join(found.err.split())


def test_an_ensemble_averages_every_dimension(tmp_path: Path) -> None:
    """ACT's rule over chunks of -1, 0, 1, 2 …, with weights exp(-0.01 i), oldest first, computed by hand."""
    ensemble = ("--executor", "ensemble", "--execution-horizon", "1", "--episodes", "1", "--horizon", "8")
    assert evaluate(tmp_path / "run", "ensemble:Count", "ensemble:Never", *ensemble) == 0
    command = load(tmp_path / "run/ensemble_d0_s1/steps/0000.npz").command
    chunks = np.arange(-1.0, 7)
    weights = np.exp(-0.01 * np.arange(4))
    expected = [np.average(chunks[max(0, t - 3) : t + 1], weights=weights[: min(4, t + 1)]) for t in range(8)]
    assert command[:, 0] == pytest.approx(expected, abs=1e-5)
    assert command[:, 1] == pytest.approx(command[:, 0], abs=1e-6)


@pytest.mark.parametrize("kind", ["odd", "one", "huge", "strange", "negstride"])
def test_frames_of_any_size_are_filmed(kind: str, tmp_path: Path) -> None:
    options = ("--env-options", f"kind={kind}", "--video", "all", "--episodes", "1", "--horizon", "4")
    assert evaluate(tmp_path / "run", "reach:Go", "frames:Frames", *options) == 0
    assert len(list((tmp_path / "run/naive_d0_s5/videos").glob("*.mp4"))) == 1


def test_reused_buffers_and_spoilt_arrays_change_nothing(tmp_path: Path) -> None:
    runs = {}
    for name, env in (("Drift", "alias_obs:Env"), ("Clean", "reach:Reach")):
        assert evaluate(tmp_path / name, f"alias_obs:{name}", env, "--horizon", "12") == 0
        runs[name] = load(tmp_path / name / "naive_d0_s5/steps/0000.npz").command
    assert np.allclose(runs["Drift"], runs["Clean"], atol=1e-6)


def first_command(folder: Path) -> np.ndarray:
    policy, processor = load_pretrained(folder)
    raw = {
        "observation.state": torch.tensor([[0.3, -0.2]]),
        "observation.environment_state": torch.tensor([[0.5, 0.4]]),
    }
    return processor.restore(policy.predict_action_chunk(processor.prepare(raw)))[0, 0].numpy()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ckpt_no_processors", r"does not exist: .*from before 0\.4"),
        ("ckpt_old_buffers", r"from before 0\.4 .*migrate_policy_normalization"),
        ("ckpt_relative_steps", "step 3 is 'relative_actions_processor' with enabled = True"),
        ("ckpt_rename_swap", "step 0 is 'rename_observations_processor' with rename_map"),
        ("ckpt_stats_inf", r"'mean' of 'observation\.state' is inf at index \[0\]"),
        ("ckpt_stats_nan", r"'mean' of 'observation\.state' is nan at index \[0\]"),
        ("ckpt_steps_dict", r"policy_preprocessor\.json is damaged: steps is an object"),
    ],
)
def test_a_checkpoint_that_would_be_misread_is_refused(name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=text):
        load_pretrained(checkpoint(name, tmp_path))


def test_checkpoints_that_load_do_what_their_files_say(tmp_path: Path) -> None:
    good = first_command(FILES / "ckpt_good")
    # The unnormaliser's means are 5 where those of the intact checkpoint are 0.1 and -0.1.
    assert first_command(checkpoint("ckpt_post_differs", tmp_path)) - good == pytest.approx([4.9, 5.1], abs=1e-4)
    assert first_command(checkpoint("ckpt_stats_bf16", tmp_path)) == pytest.approx(good, abs=0.02)
    assert np.abs(first_command(checkpoint("ckpt_eps_big", tmp_path)) - good).max() > 1e-3


def test_a_checkpoint_that_is_set_for_ensembling_runs_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = checkpoint("ckpt_ensemble_coeff", tmp_path)
    assert evaluate(tmp_path / "run", str(policy), "reach:Reach", "--episodes", "1", "--horizon", "12") == 0
    assert (
        "its checkpoint sets n_action_steps 1, temporal_ensemble_coeff 0.01; here ensemble" in capsys.readouterr().out
    )


def test_frames_of_a_denser_video_are_those_of_their_time() -> None:
    twice, good = (Demonstrations(FILES / name) for name in ("data_video_twice_fps", "data_good"))
    for episode in range(len(good.episodes)):
        for camera in good.cameras:
            difference = twice.frames(episode, camera).astype(int) - good.frames(episode, camera)
            assert np.abs(difference).mean() < 3  # both are H.264, encoded apart


def test_the_single_camera_of_pusht_is_read() -> None:
    data = Demonstrations(FILES / "data_single_image_key")
    assert data.cameras == ("image",)
    assert data.frames(0, "image").shape[1:] == data.shapes["observation.images.image"]


def test_every_case_is_tried() -> None:
    source = Path(__file__).read_text()
    names = {path.stem for path in FILES.iterdir() if not path.name.startswith((".", "__"))}
    assert not {name for name in names if name not in source}
