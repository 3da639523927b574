"""The training loop on a tiny ACT: real optimiser, files and signals, no simulator."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor, nn

from act_eval.policies.act import ACTConfig, ACTPolicy, Feature
from act_eval.policies.train import Finish, Trainer
from act_eval.policies.training_config import TrainConfig
from act_eval.policies.training_progress import ProgressView
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

    def batch(self, frames: Sequence[int]) -> dict[str, Tensor]:
        state = self.states[list(frames)]
        action = (state[:, None] * (float("nan") if self.poison else 2.0)).expand(-1, 3, -1)
        is_pad = torch.zeros(action.shape[:2], dtype=torch.bool)
        return {IMAGE: self.images[list(frames)], STATE: state, ACTION: action, "action_is_pad": is_pad}


def write_pretrained(folder: Path, policy: nn.Module, progress: Progress) -> None:
    folder.mkdir()
    save_file({k: v.contiguous() for k, v in policy.state_dict().items()}, folder / "model.safetensors")


TINY = TrainConfig(
    steps=8, batch_size=6, seed=3, shift=2, log_every=3, save_every=4, validate_every=4, evaluate_every=0, keep=0
)


def trainer(out: Path, config: TrainConfig = TINY, frames: Memory | None = None, **more: object) -> Trainer:
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
