"""The training loop on a tiny ACT: real optimiser, files and signals, no simulator."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from act_eval.errors import CheckpointError, CompileError, TrainingError, UnknownName, UsageError
from act_eval.policies.act import ACTConfig, ACTPolicy, Feature
from act_eval.policies.optim import LoopConfig
from act_eval.policies.train import Finish, Trainer
from act_eval.policies.training_log import ProgressView
from act_eval.policies.training_state import Progress
from act_eval.types import ACTION, STATE

IMAGE = "observation.images.top"


CONFIG = ACTConfig(
    input_features={STATE: Feature("STATE", (6,)), IMAGE: Feature("VISUAL", (3, 16, 16))},
    output_features={ACTION: Feature("ACTION", (6,))},
    chunk_size=3,
    n_action_steps=3,
    vision_backbone="resnet_narrow",
    backbone_widths=(8,),
    dim_model=16,
    n_heads=2,
    dim_feedforward=16,
    n_encoder_layers=1,
    n_vae_encoder_layers=1,
    latent_dim=4,
    dropout=0.2,
    optimizer_lr=1e-2,
    optimizer_lr_backbone=1e-3,
)


class Floats(nn.Module):
    def prepare(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v.float() / 255 if k == IMAGE else v for k, v in raw.items()}


class Memory:
    """Forty frames in memory."""

    def __init__(self, frames: int = 40, poison: bool = False) -> None:
        generator = torch.Generator().manual_seed(1)
        self.images = torch.randint(0, 256, (frames, 3, 16, 16), generator=generator, dtype=torch.uint8)
        self.states = torch.randn(frames, 6, generator=generator)
        self.poison = poison

    def __len__(self) -> int:
        return len(self.states)

    @property
    def groups(self) -> list[tuple[int, float]]:
        return [(len(self), 1.0)]

    def batch(self, frames: Sequence[int]) -> dict[str, Tensor]:
        state = self.states[list(frames)]
        action = (state[:, None] * (float("nan") if self.poison else 2.0)).expand(-1, 3, -1)
        is_pad = torch.zeros(action.shape[:2], dtype=torch.bool)
        return {IMAGE: self.images[list(frames)], STATE: state, ACTION: action, "action_is_pad": is_pad}


def write_pretrained(folder: Path, policy: nn.Module, progress: Progress) -> None:
    folder.mkdir()
    save_file({k: v.contiguous() for k, v in policy.state_dict().items()}, folder / "model.safetensors")


TINY = LoopConfig(
    steps=8,
    batch_size=6,
    seed=3,
    shift=2,
    log_every=3,
    save_every=4,
    validate_every=4,
    evaluate_every=0,
    keep=0,
    precision="bf16",
)


def trainer(out: Path, config: LoopConfig = TINY, frames: Memory | None = None, **more: object) -> Trainer:
    torch.manual_seed(0)
    return Trainer(
        ACTPolicy(CONFIG),
        Floats(),
        frames or Memory(),
        Memory(9),
        config,
        out,
        accelerator=Accelerator(cpu=True, mixed_precision="no"),
        write_pretrained=write_pretrained,
        view=lambda first, last: ProgressView(Console(quiet=True), first, last),
        **more,  # type: ignore[arg-type]
    )


def weights(finish: Finish) -> dict[str, bytes]:
    files = ("pretrained_model/model", "training_state/model", "training_state/average", "training_state/optimizer")
    return {name: (finish.checkpoint / f"{name}.safetensors").read_bytes() for name in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finish]:
    out = tmp_path_factory.mktemp("whole")
    return out, trainer(out).run()


class StopAfter(Memory):
    """Frames that send a signal to this process while batch `number` is read."""

    def __init__(self, number: int, signals: int = signal.SIGTERM) -> None:
        super().__init__()
        self.left, self.signal = number, signals

    def batch(self, frames: Sequence[int]) -> dict[str, Tensor]:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.signal)
        return super().batch(frames)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("stop_at", [1, 3, 4, 7])
def test_a_resumed_run_equals_one_that_was_never_stopped(
    tmp_path: Path, whole: tuple[Path, Finish], stop_at: int, number: int
) -> None:
    out, unbroken = whole
    first = trainer(tmp_path, frames=StopAfter(stop_at, number)).run()
    assert first.stopped
    assert first.step == stop_at
    again = trainer(tmp_path)
    assert again.resume() == stop_at
    second = again.run()
    assert not second.stopped
    assert second.step == 8
    assert (tmp_path / "train.jsonl").read_bytes() == (out / "train.jsonl").read_bytes()
    assert weights(second) == weights(unbroken)


def test_a_killed_run_drops_what_it_logged_beyond_its_checkpoint(tmp_path: Path, whole: tuple[Path, Finish]) -> None:
    out, unbroken = whole

    class Crash(Memory):
        left = 7

        def batch(self, frames: Sequence[int]) -> dict[str, Tensor]:
            self.left -= 1
            if self.left < 0:
                raise OSError("disk gone")
            return super().batch(frames)

    with pytest.raises(OSError, match="disk gone"):
        trainer(tmp_path, frames=Crash()).run()
    assert '"step": 6,' in (tmp_path / "train.jsonl").read_text()  # beyond the checkpoint of step 4
    again = trainer(tmp_path)
    assert again.resume() == 4
    assert weights(again.run()) == weights(unbroken)
    assert (tmp_path / "train.jsonl").read_bytes() == (out / "train.jsonl").read_bytes()


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]


def test_every_step_has_a_line_whatever_the_interval_of_logging(tmp_path: Path, whole: tuple[Path, Finish]) -> None:
    trainer(tmp_path, replace(TINY, log_every=5)).run()
    assert (tmp_path / "train.jsonl").read_bytes() == (whole[0] / "train.jsonl").read_bytes()
    steps = [line for line in lines(tmp_path) if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 9))
    assert {"loss", "l1_loss", "kld_loss", "grad_norm", "lr"} < set(steps[0])
    assert [line["step"] for line in lines(tmp_path) if "validation" in line] == [4, 8]
    assert list((tmp_path / "tensorboard").iterdir())


def test_reading_ahead_in_processes_changes_nothing(tmp_path: Path, whole: tuple[Path, Finish]) -> None:
    finish = trainer(tmp_path, replace(TINY, workers=1)).run()
    assert weights(finish) == weights(whole[1])


def test_another_seed_gives_another_run(tmp_path: Path, whole: tuple[Path, Finish]) -> None:
    finish = trainer(tmp_path, replace(TINY, seed=4)).run()
    assert weights(finish) != weights(whole[1])


def test_full_precision_is_close_to_bf16_and_not_the_same(tmp_path: Path, whole: tuple[Path, Finish]) -> None:
    trainer(tmp_path, replace(TINY, precision="fp32")).run()
    full, half = lines(tmp_path)[0]["loss"], lines(whole[0])[0]["loss"]
    assert full != half
    assert full == pytest.approx(half, rel=0.02)


def test_the_loss_falls_on_data_that_can_be_learnt(tmp_path: Path) -> None:
    config = replace(TINY, steps=60, save_every=60, validate_every=0, shift=0, batch_size=16)
    trainer(tmp_path, config, Memory(frames=16)).run()
    losses = [line["l1_loss"] for line in lines(tmp_path)]
    assert losses[-1] < 0.6 * losses[0]


def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"step 1: loss nan, gradient norm nan.*--model.optimizer-lr"):
        trainer(tmp_path, frames=Memory(poison=True)).run()
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        trainer(tmp_path).resume()
    assert len(lines(tmp_path)) == 3  # the poisoned steps are on record


def test_saved_weights_are_the_averaged_ones(whole: tuple[Path, Finish]) -> None:
    folder = whole[1].checkpoint
    saved = load_file(folder / "pretrained_model" / "model.safetensors")
    average = load_file(folder / "training_state" / "average.safetensors")
    present = load_file(folder / "training_state" / "model.safetensors")
    assert saved.keys() == average.keys() == present.keys()
    assert all(torch.equal(saved[name], average[name]) for name in saved)
    assert not torch.equal(saved["model.action_head.weight"], present["model.action_head.weight"])


class Watch:
    """A closed-loop evaluation that notes what it was given."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, bool]] = []

    def __call__(self, folder: Path, step: int, on_episode: Callable[[int, int], None]) -> dict[str, float]:
        self.seen.append((folder.name, step, (folder / "model.safetensors").is_file()))
        on_episode(1, 4)
        torch.rand(7)  # must not move the run's random numbers
        return {"success_d0": 0.25}


def test_closed_loop_evaluations_see_a_whole_checkpoint_and_change_nothing(
    tmp_path: Path, whole: tuple[Path, Finish]
) -> None:
    watch = Watch()
    finish = trainer(tmp_path, replace(TINY, evaluate_every=3), evaluate=watch).run()
    assert watch.seen == [("pretrained_model", step, True) for step in (3, 6, 8)]
    assert [line["evaluation"] for line in lines(tmp_path) if "evaluation" in line] == [{"success_d0": 0.25}] * 3
    assert weights(finish) == weights(whole[1])


def test_an_evaluation_that_a_stop_came_before_is_made_up_for(tmp_path: Path) -> None:
    config, watch = replace(TINY, evaluate_every=3), Watch()
    trainer(tmp_path, config, StopAfter(3), evaluate=watch).run()
    assert watch.seen == []
    again = trainer(tmp_path, config, evaluate=watch)
    again.resume()
    again.run()
    assert [step for _, step, _ in watch.seen] == [3, 6, 8]
    assert [line["step"] for line in lines(tmp_path) if "evaluation" in line] == [3, 6, 8]


def test_a_second_interrupt_ends_the_run_at_once(tmp_path: Path) -> None:
    class Impatient(StopAfter):
        def batch(self, frames: Sequence[int]) -> dict[str, Tensor]:
            if self.left == 1:
                os.kill(os.getpid(), signal.SIGINT)
            return super().batch(frames)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, frames=Impatient(2, signal.SIGINT)).run()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("change", "text"),
    [({"steps": 0}, "steps is 0; it must be at least 1"), ({"shift": -1}, "shift is -1; it must be at least 0")],
)
def test_numbers_outside_their_range_are_refused(change: dict[str, int], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        replace(TINY, **change)  # pyright: ignore[reportArgumentType]


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, whole: tuple[Path, Finish]) -> None:
    shutil.copytree(whole[0], tmp_path / "run")
    other = Trainer(
        ACTPolicy(replace(CONFIG, dim_model=32)),
        Floats(),
        Memory(),
        None,
        TINY,
        tmp_path / "run",
        accelerator=Accelerator(cpu=True, mixed_precision="no"),
        write_pretrained=write_pretrained,
        view=lambda first, last: ProgressView(Console(quiet=True), first, last),
    )
    with pytest.raises(CheckpointError, match="does not fit the policy"):
        other.resume()


@pytest.mark.slow  # compiles C++
def test_compiled_training_gives_the_eager_curve_and_plain_names(tmp_path: Path) -> None:
    compiled = replace(TINY, compile="default", precision="fp32")
    finish = trainer(tmp_path / "compiled", compiled).run()
    eager = trainer(tmp_path / "eager", replace(compiled, compile="off")).run()
    names = [set(load_file(f.checkpoint / "training_state" / "model.safetensors")) for f in (finish, eager)]
    assert names[0] == names[1]
    losses = [[row["loss"] for row in lines(tmp_path / name) if "lr" in row] for name in ("compiled", "eager")]
    assert len(losses[0]) == TINY.steps
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_a_failure_to_compile_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(tmp_path, replace(TINY, compile="default", precision="fp32"))
    monkeypatch.setattr(ACTPolicy.forward.__globals__["ACT"], "latent", lambda *_: torch._dynamo.graph_break())
    with pytest.raises(
        CompileError, match=r"torch.compile \(mode 'default'\) failed: .*; --compile off trains without"
    ):
        made.run()


def test_an_unknown_compile_mode_lists_those_that_exist() -> None:
    with pytest.raises(UnknownName, match=r"compile mode 'fast'.*reduce-overhead"):
        LoopConfig(compile="fast")


def test_compiled_training_in_mixed_precision_is_refused_on_a_cpu(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--compile default and --precision bf16 do not go together on a CPU"):
        trainer(tmp_path, replace(TINY, compile="default", precision="bf16"))
    assert trainer(tmp_path, replace(TINY, compile="auto", precision="bf16"))  # where it pays: not here
