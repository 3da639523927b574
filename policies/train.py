"""The training loop: batches in, checkpoints and a loss curve out.

Runs under accelerate: alone on one device, or spread by `accelerate launch`. A run that is stopped (Ctrl-C,
SIGTERM, end of a time slot) writes a checkpoint; resumed, it gives the loss curve and the weights of a run that
was never stopped, to the last digit.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from act_eval.errors import TrainingError, UsageError
from act_eval.policies.act.backbone import narrows_to_one_pixel
from act_eval.policies.act.policy import ChunkingPolicy
from act_eval.policies.compile import compile_for_training, naming_compile_failures
from act_eval.policies.optim import AveragedWeights, LoopConfig, make_optimizer, rate_factor, set_rate
from act_eval.policies.precision import resolve_precision
from act_eval.policies.sampling import frame_orders, seed_torch, shift_images
from act_eval.policies.training_log import ProgressView, TrainingLog
from act_eval.policies.training_state import (
    PRETRAINED,
    Progress,
    last_checkpoint,
    load_state,
    save_state,
    write_checkpoint,
)

Evaluate = Callable[[Path, int, Callable[[int, int], None]], dict[str, float]]
"""Receives a `pretrained_model` folder, the step and a callback for (finished episodes, all episodes); returns
measurements of the policy in closed loop."""


class FrameSource(Protocol):
    """Frames to train on, read from disk on demand."""

    @property
    def groups(self) -> Sequence[tuple[int, float]]:
        """(frames, share of every batch) of each kind of frames, numbered one after the other."""
        ...

    def __len__(self) -> int:
        """Return the number of frames, each the start of one sample."""
        ...

    def batch(self, frames: Sequence[int]) -> dict[str, Tensor]:
        """Return the raw training batch of these frames, see `policies/data.py`."""
        ...


@dataclass(frozen=True)
class Finish:
    """End of a run."""

    checkpoint: Path
    """Folder of the last checkpoint; its `pretrained_model` is ready to evaluate."""
    step: int
    """Finished steps."""
    seconds: float
    """Wall-clock time spent in training, interruptions left out."""
    stopped: bool
    """Whether a signal ended the run before its last step."""


class Trainer:
    """One run in one folder. `run()` trains to the last step or until a signal."""

    def __init__(
        self,
        policy: ChunkingPolicy,
        processor: Any,
        frames: FrameSource,
        held_out: FrameSource | None,
        config: LoopConfig,
        out: Path,
        *,
        accelerator: Accelerator,
        write_pretrained: Callable[[Path, nn.Module, Progress], None],
        view: Callable[[int, int], ProgressView],
        evaluate: Evaluate | None = None,
    ) -> None:
        """Build optimiser and averages around `policy`, which moves to the accelerator's device and may be compiled.

        Args:
            policy: what is trained; its configuration holds the learning rates and the weight decay.
            processor: `prepare(raw batch) -> normalised batch`, buffers included in a checkpoint.
            frames: training frames.
            held_out: frames of episodes that are not trained on, for the validation loss.
            config: how long and how to train.
            out: folder of the run.
            accelerator: made with `mixed_precision="no"`; autocast is this loop's own.
            write_pretrained: writes a `pretrained_model` folder from the averaged policy.
            view: makes the progress bar from (first step, last step).
            evaluate: closed-loop evaluation of a checkpoint.

        Raises:
            UsageError: if the policy cannot be compiled so, or would get wrong gradients on a CPU in bfloat16.
        """
        precision = resolve_precision(config.precision, accelerator.device, policy.config, config.compile)
        self._config, self._out = config, out
        self._frames, self._held_out = frames, held_out
        self._accelerator = accelerator
        self._write_pretrained, self._make_view, self._evaluate = write_pretrained, view, evaluate
        self._policy = policy.to(accelerator.device)
        self._processor = processor.to(accelerator.device)
        rate, decay = policy.config.optimizer_lr, policy.config.optimizer_weight_decay
        self._optimizer = make_optimizer(policy.get_optim_params(), rate, decay)
        self._average = AveragedWeights(policy, config.optim.average)
        self._bf16 = precision == "bf16"
        if self._bf16 and accelerator.device.type == "cpu" and narrows_to_one_pixel(policy.config):
            raise UsageError(  # oneDNN leaves the weights' gradient at the padding unwritten: whatever memory held
                f"--precision bf16 gives {policy.config.vision_backbone} wrong gradients on a CPU for images this "
                "narrow, of which a convolution with stride 2 sees a single pixel; take --precision fp32"
            )
        compile_for_training(policy, config.compile, accelerator.device, self._bf16)
        self._model, self._stepper = accelerator.prepare(policy, self._optimizer)
        self._done = Progress(step=0, seconds=0.0)

    def resume(self) -> int:
        """Continue from the newest checkpoint in the folder; return its step."""
        self._done = load_state(last_checkpoint(self._out), self._policy, self._average.module, self._optimizer)
        return self._done.step

    def run(self) -> Finish:
        """Train; on SIGINT or SIGTERM stop after the step that is running.

        Raises:
            TrainingError: if the loss is no longer finite.
        """
        first, last = self._done.step, self._config.steps
        self._policy.train()
        self._began = time.monotonic() - self._done.seconds
        self._pending: list[dict[str, Any]] = []
        with ExitStack() as stack:
            self._log = TrainingLog(self._out, first) if self._accelerator.is_main_process else None
            if self._log:
                stack.callback(self._log.close)
            stop = stack.enter_context(_catch_signals())
            view = stack.enter_context(self._make_view(first, last))
            self._catch_up_evaluation(first, view)
            finished = self._steps(first, last, stop, view)
        return Finish(last_checkpoint(self._out), finished, self._seconds(), stopped=finished < last)

    def _steps(self, first: int, last: int, stop: list[int], view: ProgressView) -> int:
        """Train until the last step or a stop signal; return the number of finished steps."""
        for step, raw in zip(range(first, last), self._batches(first, last), strict=True):
            self._train_step(step, raw)
            stopped = self._agreed(stop)
            self._after_step(step + 1, stopped, view)
            if stopped:
                return step + 1
        return last

    def _batches(self, first: int, last: int) -> Iterator[dict[str, Tensor]]:
        """Raw batches of steps `first … last - 1`, on this process's device."""
        accelerator, config = self._accelerator, self._config
        ranks = accelerator.process_index, accelerator.num_processes
        orders = frame_orders(self._frames.groups, config.batch_size, config.seed, *ranks)
        loader = DataLoader(
            _Reader(self._frames),
            batch_sampler=(np.concatenate([o.at(step) for o in orders]).tolist() for step in range(first, last)),
            collate_fn=_as_it_is,
            num_workers=config.workers,
            pin_memory=accelerator.device.type == "cuda",
            worker_init_fn=_outlive_signals,
            generator=torch.Generator(),  # else the loader would draw from the global generator
        )
        for raw in loader:
            yield {key: value.to(accelerator.device, non_blocking=True) for key, value in raw.items()}

    def _train_step(self, step: int, raw: dict[str, Tensor]) -> None:
        config, rank = self._config, self._accelerator.process_index
        set_rate(self._optimizer, rate_factor(config.optim, step, config.steps))
        seed_torch(config.seed, step, rank)
        batch = self._processor.prepare(shift_images(raw, config.shift, config.seed, step, rank))
        with self._autocast(), naming_compile_failures(config.compile):
            loss, metrics = self._model(batch)
        self._accelerator.backward(loss)
        norm = self._accelerator.clip_grad_norm_(self._model.parameters(), config.optim.clip)
        self._stepper.step()
        self._stepper.zero_grad()
        self._average.update(step)
        kept = {name: value.detach() for name, value in metrics.items()} | {"loss": loss.detach(), "grad_norm": norm}
        lr = self._optimizer.param_groups[0]["lr"]
        self._pending.append({"step": step + 1, "tensors": self._averaged(kept), "lr": lr})

    def _averaged(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the means over all processes: the log is of the whole batch, not of the first one's share."""
        if self._accelerator.num_processes == 1:
            return values
        means = self._accelerator.reduce(torch.stack([value.float() for value in values.values()]), "mean")
        return dict(zip(values, means, strict=True))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._accelerator.device.type, dtype=torch.bfloat16, enabled=self._bf16)

    def _agreed(self, stop: list[int]) -> bool:
        """Whether any process received a stop signal; all must stop at the same step."""
        if self._accelerator.num_processes == 1:
            return bool(stop)
        flag = torch.tensor(float(bool(stop)), device=self._accelerator.device)
        return bool(self._accelerator.reduce(flag, "sum"))

    def _after_step(self, step: int, stopped: bool, view: ProgressView) -> None:
        config = self._config
        evaluate = self._evaluate is not None and not stopped and self._due(step, config.evaluate_every)
        save = stopped or evaluate or self._due(step, config.save_every)
        validate = self._held_out is not None and self._due(step, config.validate_every)
        if save or validate or step % config.log_every == 0 or view.due(step):
            loss = self._flush()
            view.show(step, loss, config.batch_size * self._accelerator.num_processes)
            if self._log and view.samples_per_s:
                self._log.speed(step, view.samples_per_s)
        if not (save or validate):
            return
        if self._accelerator.is_main_process:
            self._write_down(step, save, validate, evaluate, view)
        self._accelerator.wait_for_everyone()
        view.restart(step)

    def _due(self, step: int, every: int) -> bool:
        return every > 0 and step > 0 and (step == self._config.steps or step % every == 0)

    def _flush(self) -> float:
        """Write the pending steps' metrics; return their mean loss. The only place that waits for the device."""
        names = list(self._pending[0]["tensors"])
        stacked = torch.stack([torch.stack([row["tensors"][n].float() for n in names]) for row in self._pending])
        rows = [
            {"step": row["step"], **dict(zip(names, values, strict=True)), "lr": row["lr"]}
            for row, values in zip(self._pending, stacked.tolist(), strict=True)
        ]
        self._pending.clear()
        if self._log:
            self._log.steps(rows)
        for row in rows:
            if not (math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"])):
                raise TrainingError(
                    f"step {row['step']}: loss {row['loss']}, gradient norm {row['grad_norm']}. Lower "
                    "--model.optimizer-lr or --optim.clip, or check the data set's statistics; the newest "
                    f"checkpoint in {self._out / 'checkpoints'} is from before"
                )
        return sum(row["loss"] for row in rows) / len(rows)

    def _write_down(self, step: int, save: bool, validate: bool, evaluate: bool, view: ProgressView) -> None:
        assert self._log is not None
        average = self._average.refreshed()
        if validate:
            values = self._validation(average)
            self._log.event(step, "validation", values)
            view.say(f"step {step}: validation loss {values['loss']:.4f}")
        if not save:
            return
        progress = Progress(step=step, seconds=self._seconds())

        def fill(folder: Path) -> None:
            self._write_pretrained(folder / PRETRAINED, average, progress)
            save_state(folder, self._policy, average, self._optimizer, progress)

        folder = write_checkpoint(self._out, step, self._config.keep, fill)
        if evaluate:
            self._closed_loop(folder, step, view)

    def _closed_loop(self, folder: Path, step: int, view: ProgressView) -> None:
        assert self._log is not None
        assert self._evaluate is not None
        values = self._evaluate(folder / PRETRAINED, step, view.evaluating)
        self._log.event(step, "evaluation", values)
        view.say(f"step {step}: closed loop " + ", ".join(f"{k} {v:.4g}" for k, v in values.items()))

    def _catch_up_evaluation(self, step: int, view: ProgressView) -> None:
        """Do the evaluation that a stop came before."""
        due = self._evaluate is not None and self._due(step, self._config.evaluate_every)
        if due and self._log and not self._log.has(step, "evaluation"):
            self._closed_loop(last_checkpoint(self._out), step, view)

    @torch.no_grad()
    def _validation(self, average: nn.Module) -> dict[str, float]:
        """Mean metrics of the averaged weights over evenly spread held-out frames; always the same frames."""
        assert self._held_out is not None
        seed_torch(self._config.seed, 0)
        count = min(len(self._held_out), self._config.batch_size * self._config.validation_batches)
        frames = np.linspace(0, len(self._held_out) - 1, count).round().astype(np.int64)
        sums: dict[str, float] = {}
        for part in np.array_split(frames, math.ceil(count / self._config.batch_size)):
            raw = {k: v.to(self._accelerator.device) for k, v in self._held_out.batch(part.tolist()).items()}
            with self._autocast():
                loss, metrics = average(self._processor.prepare(raw))
            for name, value in {**metrics, "loss": loss}.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(part)
        return {name: value / count for name, value in sums.items()}

    def _seconds(self) -> float:
        return time.monotonic() - self._began


class _Reader(Dataset[dict[str, Tensor]]):
    """Lets torch's DataLoader ask for whole batches."""

    def __init__(self, frames: FrameSource) -> None:
        self._frames = frames

    def __getitems__(self, frames: list[int]) -> dict[str, Tensor]:
        return self._frames.batch(frames)


def _outlive_signals(_worker: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; the trainer ends its readers itself
        signal.signal(number, signal.SIG_IGN)


def _as_it_is(batch: Any) -> Any:
    return batch


@contextmanager
def _catch_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying; a second SIGINT interrupts at once."""
    caught: list[int] = []

    def note(number: int, _frame: object) -> None:
        if caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        caught.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
