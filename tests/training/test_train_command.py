"""The training command from its words to the files it leaves, on small data sets and a tiny network."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from act_eval.cli import main
from act_eval.cli.train import parse, run
from act_eval.errors import (
    CheckpointError,
    DatasetError,
    FeatureMismatch,
    RunFolderError,
    TimingError,
    UnknownName,
    UsageError,
)
from act_eval.policies.act.presets import features
from act_eval.policies.checkpoint import fresh_policy, load_extra, load_pretrained, trained_rates
from act_eval.policies.precision import has_bf16
from act_eval.policies.rtc import ACTRTCConfig
from act_eval.sources.environments import EnvSource
from act_eval.sources.network_sources import CheckpointSource
from act_eval.sources.workers import PolicyWorkerSource
from act_eval.training.config import values
from act_eval.types import ENVIRONMENT_STATE

TINY = [
    *("--model.dim-model", "16", "--model.n-heads", "2", "--model.dim-feedforward", "16"),
    *("--model.n-encoder-layers", "1", "--model.n-decoder-layers", "1", "--model.backbone-widths", "8"),
    *("--model.chunk-size", "4", "--model.n-action-steps", "2"),
    *("--batch-size", "4", "--steps", "4", "--save-every", "2", "--validate-every", "2", "--validation-batches", "1"),
]
RTC = ["--model.rtc-max-delay", "2"]
NO_LOOK = ["--evaluate-every", "0"]


def train(*words: object) -> int:
    return run([str(word) for word in words], prog="act-eval train")


@pytest.fixture
def demos(tmp_path: Path, make_demos: Callable) -> Path:
    make_demos(tmp_path / "demos", lengths=(7, 6, 9), size=16)
    return tmp_path / "demos"


@pytest.fixture
def begun(tmp_path: Path, demos: Path) -> Path:
    assert train("--dataset", demos, "--out", tmp_path / "run", "--held-out", 0.34, *TINY, *RTC, *NO_LOOK) == 0
    return tmp_path / "run"


def test_a_run_leaves_a_policy_and_says_what_to_do_next(
    tmp_path: Path, demos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert train("--dataset", demos, "--out", out, "--held-out", 0.34, *TINY, *RTC, *NO_LOOK) == 0
    said = capsys.readouterr().out
    checkpoint = out / "checkpoints" / "last" / "pretrained_model"
    assert f"evaluate: act-eval evaluate --policy {checkpoint} --env confuser_pick" in said
    assert "on 2 demonstrations" in said
    assert "LeRobot can load the checkpoints with the plugin lerobot_policy_act_rtc" in said
    assert f"(1 held out); 4 steps of 4 samples, {'bf16' if has_bf16('cpu') else 'fp32'} on cpu" in said
    policy, _ = load_pretrained(checkpoint)
    assert isinstance(policy.config, ACTRTCConfig)
    assert (policy.config.dim_model, policy.config.chunk_size, policy.config.rtc_max_delay) == (16, 4, 2)
    assert set(policy.config.image_features) == {"observation.images.overhead", "observation.images.wrist"}
    noted = load_extra(checkpoint)["training"]
    assert noted["steps"] == 4
    assert noted["settings"]["train"]["batch_size"] == 4
    assert noted["data"][0]["episodes"] == 2
    assert noted["command"].startswith("act-eval train --dataset")
    assert noted["versions"]["torch"] == version("torch")


def test_a_preset_that_lerobot_can_load_says_so_and_is_exported_in_half_precision(
    tmp_path: Path, make_demos: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    make_demos(tmp_path / "demos", lengths=(7, 6, 9), size=34)
    words = [word for word in TINY if word not in ("--model.backbone-widths", "8")]  # a field beyond LeRobot's
    preset = ["--policy", "act", "--preset", "lerobot", "--steps", "1", *NO_LOOK]
    assert train("--dataset", tmp_path / "demos", "--out", tmp_path / "run", "--held-out", 0, *words, *preset) == 0
    assert "LeRobot can load the checkpoints (docs/lerobot.md)." in capsys.readouterr().out
    trained = tmp_path / "run" / "checkpoints" / "last" / "pretrained_model"
    assert main(["export-lerobot", str(trained), str(tmp_path / "out")]) == 0
    assert {tensor.dtype for tensor in load_file(tmp_path / "out" / "model.safetensors").values()} == {torch.float16}
    (before, _), (after, _) = load_pretrained(trained), load_pretrained(tmp_path / "out")
    assert after.config == before.config
    assert after.config.type == "act"
    for name, tensor in before.state_dict().items():
        assert torch.equal(after.state_dict()[name], tensor.half().float()), name
    assert main(["export-lerobot", str(trained), str(tmp_path / "out")]) == 2
    assert "out exists and is no empty folder" in capsys.readouterr().err
    with pytest.raises(UsageError, match="--preset lerobot is a preset of --policy act, not of act_rtc"):
        parse(["--preset", "lerobot"])


def test_images_for_which_a_cpu_in_bf16_gives_wrong_gradients_are_refused(tmp_path: Path, demos: Path) -> None:
    words = ["--dataset", demos, "--held-out", 0, *TINY, "--model.backbone-widths", 8, 8, 8, 8, "--steps", 1, *NO_LOOK]
    with pytest.raises(UsageError, match=r"resnet_narrow wrong gradients .* take --precision fp32"):
        train(*words, "--out", tmp_path / "refused", "--precision", "bf16")
    assert train(*words, "--out", tmp_path / "run") == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["facts"]["settings"]["train"]["precision"] == "fp32"


@pytest.mark.parametrize("native", [True, False])
def test_bf16_is_taken_where_the_processor_computes_in_it(
    tmp_path: Path, demos: Path, native: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("act_eval.policies.precision", "act_eval.training.run"):
        monkeypatch.setattr(f"{module}.has_bf16", lambda device: native)
    words = ["--dataset", demos, "--held-out", 0, *TINY, "--steps", 1, *NO_LOOK]
    assert train(*words, "--out", tmp_path / "auto") == 0
    said = capsys.readouterr().out
    assert f"{'bf16' if native else 'fp32'} on cpu" in said
    assert "warning: this processor" not in said
    assert train(*words, "--out", tmp_path / "asked", "--precision", "bf16") == 0
    assert ("warning: this processor has no instructions for bfloat16" in capsys.readouterr().out) is not native
    monkeypatch.setattr("act_eval.policies.precision.has_bf16", lambda device: not native)
    with pytest.raises(RunFolderError, match=r"train\.precision was '(bf16|fp32)', is '(bf16|fp32)'"):
        train("--resume", tmp_path / "auto", *words)


def test_what_lerobot_cannot_load_is_said_before_training_and_refused_after(
    tmp_path: Path, demos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["--policy", "act", "--held-out", "0", *TINY, "--steps", "1", *NO_LOOK]
    assert train("--dataset", demos, "--out", tmp_path / "run", *short) == 0
    told = "vision_backbone = 'resnet_narrow', backbone_widths = (8,), camera_embedding = True"
    said = capsys.readouterr().out
    assert f"LeRobot cannot load the checkpoints: {told}. It can load those of --preset lerobot." in said
    trained = tmp_path / "run" / "checkpoints" / "last" / "pretrained_model"
    assert main(["export-lerobot", str(trained), str(tmp_path / "out")]) == 1
    assert f"'act_eval_act' is no LeRobot ACT: {told}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_a_run_is_not_written_over(begun: Path, demos: Path) -> None:
    before = (begun / "train.jsonl").read_bytes()
    with pytest.raises(RunFolderError, match=f"{begun} is not empty; continue it with --resume {begun}"):
        train("--dataset", demos, "--out", begun, *TINY, *RTC, *NO_LOOK)
    assert (begun / "train.jsonl").read_bytes() == before


def test_a_resumed_run_needs_no_other_word_and_ends_the_same(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = {path.name: path.read_bytes() for path in (begun / "checkpoints/000004").rglob("*.safetensors")}
    curve = (begun / "train.jsonl").read_bytes()
    shutil.rmtree(begun / "checkpoints/000004")
    (begun / "checkpoints/last").unlink()
    (begun / "checkpoints/last").symlink_to("000002")
    assert train("--resume", begun) == 0
    assert "resumed after step 2 of 4" in capsys.readouterr().out
    assert (begun / "train.jsonl").read_bytes() == curve
    assert {path.name: path.read_bytes() for path in (begun / "checkpoints/000004").rglob("*.safetensors")} == whole


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--steps", "3"], r"train\.steps was 4, is 3"),
        (["--model.optimizer-lr", "0.5", "--shift", "1"], r"model\.optimizer_lr was 0\.0003, is 0\.5; train\.shift"),
        (["--no-goal-input"], "goal_input was True, is False"),
    ],
)
def test_settings_that_would_bend_the_curve_are_refused(begun: Path, words: list[str], text: str) -> None:
    with pytest.raises(RunFolderError, match=text + ".*Start a new run with --init-from"):
        train("--resume", begun, *words)
    assert train("--resume", begun, "--threads", torch.get_num_threads(), "--log-every", 7) == 0


def test_a_finished_run_may_be_lengthened(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = (begun / "train.jsonl").read_text()
    assert train("--resume", begun, "--steps", 6) == 0
    assert "lengthened from 4 to 6 steps: the rate goes on by the schedule of 6" in capsys.readouterr().out
    curve = (begun / "train.jsonl").read_text()
    assert curve.startswith(start)
    assert [line["step"] for line in map(json.loads, curve[len(start) :].splitlines()) if "lr" in line] == [5, 6]
    shutil.rmtree(begun / "checkpoints/000006")
    (begun / "checkpoints/last").unlink()
    (begun / "checkpoints/last").symlink_to("000004")
    assert train("--resume", begun) == 0  # without another word: the folder knows its length
    assert "resumed after step 4 of 6" in capsys.readouterr().out
    with pytest.raises(RunFolderError, match=r"train\.steps was 6, is 5"):
        train("--resume", begun, "--steps", 5)


def test_an_unfinished_run_keeps_its_length(begun: Path) -> None:
    (begun / "checkpoints/last").unlink()
    (begun / "checkpoints/last").symlink_to("000002")
    with pytest.raises(RunFolderError, match=r"train\.steps was 4, is 9"):
        train("--resume", begun, "--steps", 9)


def test_a_resumed_run_refuses_other_data(begun: Path, demos: Path, tmp_path: Path, make_demos: Callable) -> None:
    shutil.rmtree(demos)
    with pytest.raises(DatasetError, match=f"no data set folder {demos}"):
        train("--resume", begun)
    make_demos(demos, lengths=(7, 6, 8), size=16)
    with pytest.raises(RunFolderError, match=f"the data set {demos} has changed since the run started"):
        train("--resume", begun)
    with pytest.raises(UsageError, match=r"--resume .*nowhere does not exist; name the folder of a training run"):
        train("--resume", tmp_path / "nowhere")


def test_weights_are_taken_where_they_fit_and_the_rest_is_listed(
    begun: Path, demos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = begun / "checkpoints" / "last" / "pretrained_model"
    words = ["--dataset", demos, "--init-from", source, "--steps", 1, *NO_LOOK]
    capsys.readouterr()
    assert train(*words, "--out", tmp_path / "same") == 0
    said = capsys.readouterr().out
    assert " tensors taken\n" in said
    assert load_pretrained(tmp_path / "same/checkpoints/last/pretrained_model")[0].config.dim_model == 16
    assert train(*words, "--model.chunk-size", 6, "--out", tmp_path / "longer") == 0
    said = capsys.readouterr().out
    assert "not taken, other shape: model.decoder_pos_embed.weight" in said
    assert train(*words, "--no-goal-input", "--model.use-vae", "--out", tmp_path / "no_goal") == 0
    said = capsys.readouterr().out
    assert "not taken, unknown here: model.encoder_env_state_input_proj" in said
    assert "random, not in the checkpoint: model.vae_encoder" in said


def test_an_act_begins_with_the_weights_of_an_act_rtc(
    begun: Path, demos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = begun / "checkpoints" / "last" / "pretrained_model"
    words = ["--policy", "act", "--dataset", demos, *TINY, *NO_LOOK]
    assert train(*words, "--init-from", source, "--out", tmp_path / "act") == 0
    assert "not taken, unknown here: model.delay_embed.weight" in capsys.readouterr().out
    assert load_pretrained(tmp_path / "act/checkpoints/last/pretrained_model")[0].config.type == "act_eval_act"


@pytest.mark.parametrize(
    ("words", "kind", "text"),
    [
        (["--cameras", "front"], FeatureMismatch, "no camera 'front'; it has: overhead, wrist"),
        (["--episodes", "4"], DatasetError, "holds 3 demonstrations; --episodes is 4"),
        (["--init-from", "nobody"], UnknownName, "unknown policy 'nobody'"),
        (["--env", "pikc"], UnknownName, "unknown environment 'pikc'.*Did you mean 'pick'"),
        (["--model.chunk-size", "0"], UsageError, "chunk_size"),
        ([], FeatureMismatch, r"(?s)wrist: the policy was made for \(16, 18, 3\).*--evaluate-every 0 trains without"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    demos: Path, tmp_path: Path, words: list[str], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        train("--dataset", demos, "--out", tmp_path / "run", *TINY, *RTC, *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_missing_device_is_named(demos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--device cuda: torch finds no CUDA device here; use --device cpu"):
        train("--dataset", demos, "--out", tmp_path / "run", "--device", "cuda", *TINY, *RTC)


def test_unknown_flags_and_policies_list_what_exists(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"unknown option '--polcy'; there are: .*--policy.*Did you mean '--policy'"):
        train("--polcy", "act")
    with pytest.raises(UsageError, match=r"unknown policy 'nope'; there are: act, (?!.*expert).*or the path"):
        train("--init-from", "nope")
    with pytest.raises(SystemExit):
        train("--policy", "act_rtx")
    assert "act_rtc" in capsys.readouterr().err


def test_missing_demonstrations_are_collected_and_checkpoints_looked_at_in_closed_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [tmp_path / "data/pick", tmp_path / "data/moving_pick"]
    words = ["--env", "pick", "moving_pick", "--episodes", 2, "--evaluate-episodes", 1]
    words += [*TINY, *RTC]
    assert train(*words, "--out", tmp_path / "run") == 0
    for folder in folders:
        assert json.loads((folder / "meta/info.json").read_text())["total_episodes"] == 2
    events = [json.loads(line) for line in (tmp_path / "run/train.jsonl").read_text().splitlines()]
    looks = [event["evaluation"] for event in events if "evaluation" in event]
    assert len(looks) == 1
    assert {looks[0]["pick/success_d0"], looks[0]["moving_pick/success_d0"]} <= {0.0, 1.0}
    assert not any("success_d4" in name for name in looks[0])  # beyond this policy's rtc_max_delay of 2
    with pytest.raises(TimingError, match="4"):
        train(*words, "--evaluate-delays", 0, 4, "--out", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_policy_without_images_is_trained_looked_at_and_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env, out = ("--env", "moving_pick-v0"), tmp_path / "run"
    collected = ("collect", *env, "--obs-type", "state", "--episodes", "2", "--workers", "1")
    assert main([*collected, "--out", str(tmp_path / "data")]) == 0
    look = ("--evaluate-every", 4, "--evaluate-episodes", 1, "--evaluate-delays", 0)
    assert train("--dataset", tmp_path / "data", "--out", out, *env, "--held-out", 0, *TINY, *RTC, *look) == 0
    checkpoint = str(out / "checkpoints" / "last" / "pretrained_model")
    assert f"--policy {checkpoint} --env moving_pick-v0 --env-options obs_type=state" in capsys.readouterr().out
    policy, _ = load_pretrained(Path(checkpoint))
    assert policy.config.image_features == {}
    assert policy.config.input_features[ENVIRONMENT_STATE].shape == (13,)
    evaluate = ("evaluate", "--policy", checkpoint, *env, "--episodes", "1", "--delay", "0", "2", "--workers", "1")
    state = ("--env-options", "obs_type=state")
    assert main([*evaluate, *state, "--out", str(tmp_path / "rollouts")]) == 0
    assert list((tmp_path / "rollouts").rglob("*.mp4"))
    assert main([*evaluate, "--out", str(tmp_path / "sees")]) == 2
    assert "13" in capsys.readouterr().err


def test_one_policy_learns_from_several_environments(
    tmp_path: Path, demos: Path, make_demos: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    make_demos(tmp_path / "more", lengths=(5, 8), size=16)
    out = tmp_path / "run"
    words = ["--dataset", demos, tmp_path / "more", "--held-out", 0.34, *TINY, *RTC, *NO_LOOK]
    assert train(*words, "--out", out) == 0
    assert f"on 3 demonstrations of {demos}, {tmp_path / 'more'} (2 held out)" in capsys.readouterr().out
    noted = load_extra(out / "checkpoints/last/pretrained_model")["training"]["data"]
    assert [(part["folder"], part["episodes"], part["held_out"]) for part in noted] == [
        (str(demos), 2, 1),
        (str(tmp_path / "more"), 1, 1),
    ]
    assert train("--resume", out) == 0
    with pytest.raises(RunFolderError, match="there were 2 data sets, there are 1"):
        train("--resume", out, "--dataset", demos)
    make_demos(tmp_path / "wide", lengths=(5,), size=12)
    with pytest.raises(FeatureMismatch, match=r"(?s)wide does not fit.*overhead: \(16, 16, 3\) is needed"):
        train("--dataset", demos, tmp_path / "wide", "--out", tmp_path / "x", *TINY, *RTC, *NO_LOOK)


def test_a_data_set_that_does_not_exist_is_never_collected(tmp_path: Path, demos: Path) -> None:
    typo = tmp_path / "demo"
    text = rf"no data set folder {typo}; did you mean {demos}\? `act-eval collect --env pick --out {typo}` collects one"
    with pytest.raises(DatasetError, match=text):
        train("--env", "pick", "--dataset", demos, typo, "--out", tmp_path / "x", *TINY, *RTC, *NO_LOOK)
    with pytest.raises(DatasetError, match=rf"no data set folder {tmp_path}/a/b; there are: none"):
        train("--dataset", tmp_path / "a/b", "--out", tmp_path / "x", *TINY, *RTC, *NO_LOOK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demos"]


def test_the_rate_of_the_data_is_kept_and_compared(
    tmp_path: Path, demos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = json.loads((demos / "meta/info.json").read_text())
    (demos / "meta/info.json").write_text(json.dumps(info | {"fps": 50}))
    words = ["--env", "pick", "--dataset", demos, "--out", tmp_path / "run", "--held-out", 0, *TINY, *RTC, *NO_LOOK]
    assert train(*words, "--steps", 1) == 0
    said = capsys.readouterr().out
    assert (
        f"warning: {demos} has 50 frames per second, pick 20 control steps: a chunk of 4 actions lasts 0.08 s" in said
    )
    checkpoint = tmp_path / "run/checkpoints/last/pretrained_model"
    assert trained_rates(checkpoint) == (50,)
    env = EnvSource(env_id="act_eval/Pick-v1", options={"image_size": 16})
    worker = PolicyWorkerSource(env=env, policy=CheckpointSource(folder=checkpoint), slots=1)()
    assert "has 50 frames per second, pick 20 control steps: a chunk of 4 actions" in worker.facts.warnings[0]
    worker.close()
    extra = json.loads((checkpoint / "act_eval.json").read_text())
    extra["training"]["data"][0]["fps"] = 0
    (checkpoint / "act_eval.json").write_text(json.dumps(extra))
    with pytest.raises(CheckpointError, match=r"act_eval\.json: training\.data\[0\]: fps is 0; it must be above 0"):
        trained_rates(checkpoint)


def test_the_configuration_of_the_batch_expansion_plan_can_be_given_by_flags() -> None:
    words = (
        "--model.vision-backbone resnet34 --model.pretrained-backbone-weights ResNet34_Weights.IMAGENET1K_V1 "
        "--model.chunk-size 8 --model.n-action-steps 8 --model.n-decoder-layers 4 --model.pre-norm --model.no-use-vae "
        "--model.rtc-max-delay 3 --model.dim-model 512 --model.dim-feedforward 3200 --model.optimizer-lr 3e-5 "
        "--model.optimizer-lr-backbone 3e-5 --model.no-rtc-train-all-delays --steps 500 --batch-size 32 "
        "--optim.schedule constant --episodes 1 --held-out 0 --shift 0"
    )
    flags = parse(words.split())
    config = replace(
        ACTRTCConfig(**values(flags.model)),
        input_features=features({"wrist": (224, 224)}, environment_state=None),
    )
    policy = fresh_policy(config, backbone_weights=False)
    blocks = [len(getattr(policy.model.backbone, f"layer{n}")) for n in (1, 2, 3, 4)]  # pyright: ignore
    assert blocks == [3, 4, 6, 3]  # ResNet34
    assert not config.rtc_train_all_delays
    assert (config.target_steps, config.pre_norm, config.use_vae, flags.train.steps) == (11, True, False, 500)
    rates = [group.get("lr", config.optimizer_lr) for group in policy.get_optim_params()]
    assert rates == [3e-5, 3e-5]
