"""Assembles a training run from its settings, and reports its start and end."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from torch import nn

from act_eval.datasets import Demonstrations
from act_eval.errors import FeatureMismatch, UsageError
from act_eval.policies.act.config import ACTConfig
from act_eval.policies.checkpoint import Policy, beyond_lerobot, fresh_policy, load_config, save_pretrained
from act_eval.policies.data import JoinedWindows
from act_eval.policies.normalize import Processor
from act_eval.policies.pipeline import read_processor
from act_eval.policies.precision import EMULATED, has_bf16, resolve_precision
from act_eval.policies.rtc import ACTRTCConfig
from act_eval.policies.serve import TorchChunkPolicy
from act_eval.policies.train import Evaluate, Finish, Trainer
from act_eval.policies.training_log import ProgressView, format_duration
from act_eval.policies.training_setup import check_same, fitted, fresh_processor, take_weights
from act_eval.policies.training_state import PRETRAINED, Progress, finished_steps, last_checkpoint
from act_eval.scenes.workspace import CONTROL_HZ
from act_eval.sources.environments import check_features
from act_eval.sources.external_envs import is_foreign
from act_eval.sources.policies import checkpoint_folder
from act_eval.sources.workers import rate_warnings
from act_eval.training.config import TrainConfig, values
from act_eval.training.data import DataPart, demonstrations, observed_as
from act_eval.training.folder import check_continues, claim, facts
from act_eval.training.selection import closed_loop
from act_eval.types.env_hooks import hooks_of


def train(job: TrainConfig, words: Sequence[str] = (), console: Console | None = None) -> Finish:
    """Train a policy; return how the run ended.

    Args:
        job: all settings.
        words: the command line, stored with every checkpoint.
        console: shows progress; standard output by default.

    Raises:
        ActEvalError: if the settings, the data or the folder of the run do not fit together.
    """
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    accelerator = Accelerator(cpu=_on_cpu(job.device), mixed_precision="no")  # the loop has its own autocast
    console = console or Console(soft_wrap=True, highlight=False)
    console.quiet = console.quiet or not accelerator.is_main_process
    out = job.resume or job.out or Path("outputs/train") / "_".join((job.policy, *job.labels()))
    if out.is_file():
        raise UsageError(f"{out} is a file; name a folder")
    with accelerator.main_process_first():
        parts = demonstrations(job, console)
    # Outside: building joins the processes, which would wait for those that wait for the first one.
    trainer = build(job, words, parts, out, accelerator, console)
    finish = trainer.run()
    _say_end(finish, job, [part.data for part in parts], out, console)
    return finish


def _on_cpu(device: str) -> bool:
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA device here; use --device cpu")
    return device == "cpu" or not torch.cuda.is_available()


def build(
    job: TrainConfig,
    words: Sequence[str],
    parts: Sequence[DataPart],
    out: Path,
    accelerator: Accelerator,
    console: Console,
) -> Trainer:
    """Build the trainer, in a new or a resumed run folder."""
    plain = ACTRTCConfig if job.policy == "act_rtc" else ACTConfig
    data = [part.data for part in parts]
    config = fitted(plain(**values(job.model)), data, job.cameras, job.goal_input)
    if config.conditioning == "crop":
        config = dataclasses.replace(config, crop_projection=_overhead_projection(job))
    precision = resolve_precision(job.train.precision, accelerator.device, config, job.train.compile)
    job = dataclasses.replace(job, train=dataclasses.replace(job.train, precision=precision))
    noted = facts(job, words, parts)
    if job.resume is not None:
        done = finished_steps(out)
        if check_continues(out, words, noted, done):
            total = job.train.steps
            console.print(f"lengthened from {done} to {total} steps: the rate goes on by the schedule of {total}")
        check_same(load_config(last_checkpoint(out) / PRETRAINED), config, out)
    policy, processor = _first_policy(job, config, console), _normalizer(job, config, data)
    evaluate = _evaluation(job, policy, processor, data, accelerator) if job.train.evaluate_every else None
    trained_on = [part.windows(part.trained_on, config) for part in parts]
    held_out = [part.windows(part.held_out, config) for part in parts if part.held_out]
    if job.resume is None and accelerator.is_main_process:
        claim(out, words, noted)
    trainer = Trainer(
        policy,
        processor,
        JoinedWindows(trained_on, job.correction_share),
        JoinedWindows(held_out) if held_out else None,
        job.train,
        out,
        accelerator=accelerator,
        write_pretrained=lambda folder, average, progress: _write(folder, average, processor, noted, progress),
        view=lambda first, last: ProgressView(console, first, last),
        evaluate=evaluate,
    )
    rates = {str(one.root): one.fps for one in data}
    if not any(map(is_foreign, job.env)):  # those do not say their rate before they are made
        for line in rate_warnings(rates, config.chunk_size, ", ".join(job.env), CONTROL_HZ):
            console.print(line)
    _say_start(job, policy, noted, out, accelerator, console)
    if job.resume is not None:
        console.print(f"resumed after step {trainer.resume()} of {job.train.steps}")
    return trainer


def _overhead_projection(job: TrainConfig) -> tuple[float, ...]:
    """Return the overhead camera's homography of the environments.

    Raises:
        UsageError: if an environment has none, or they differ.
    """
    found: set[tuple[float, ...]] = set()
    for name in job.env:
        env = job.source(name).make()
        projection = hooks_of(env).overhead_projection
        if projection is None:
            raise UsageError(f"conditioning 'crop' needs the hook overhead_projection, which {name} lacks")
        found.add(projection())
        env.close()
    if len(found) > 1:
        raise UsageError(f"conditioning 'crop' needs one overhead camera; those of {', '.join(job.env)} differ")
    return found.pop()


def _first_policy(job: TrainConfig, config: ACTConfig, console: Console) -> Policy:
    torch.manual_seed(job.train.seed)
    if job.init_from is None or job.resume is not None:
        return fresh_policy(config, backbone_weights=job.resume is None)
    policy = fresh_policy(config, backbone_weights=False)
    folder = checkpoint_folder(str(job.init_from), others=())
    console.print(f"{folder}: {take_weights(policy, folder)}")
    return policy


def _normalizer(job: TrainConfig, config: ACTConfig, data: Sequence[Demonstrations]) -> Processor:
    """Return the normaliser of the data; with corrections that of the checkpoint, which its weights were fitted to."""
    if job.init_from is None or not any(part.holds_corrections for part in data):
        return fresh_processor(config, data)
    return read_processor(checkpoint_folder(str(job.init_from), others=()), config)


def _evaluation(
    job: TrainConfig, policy: Policy, processor: Processor, data: Sequence[Demonstrations], accelerator: Accelerator
) -> Evaluate:
    spec = TorchChunkPolicy(policy, processor).spec
    options = image_size(policy.config) | observed_as(data)
    sources = {name: job.source(name, options) for name in job.env}
    for source in sources.values():
        env = source.make()
        try:
            check_features(spec, env)
        except FeatureMismatch as error:
            raise FeatureMismatch(f"{error}\n--evaluate-every 0 trains without closed-loop evaluations") from error
        finally:
            env.close()
    count, seed = job.evaluate_episodes, job.train.seed
    return closed_loop(sources, spec, count, seed, job.evaluate_delays, accelerator.device.type)


def image_size(config: ACTConfig) -> dict[str, Any]:
    """Return the environment's option for a policy's images; empty where its cameras differ or are none."""
    sizes = {feature.shape[1] for feature in config.image_features.values()}
    return {"image_size": sizes.pop()} if len(sizes) == 1 else {}


def _write(folder: Path, average: nn.Module, processor: Processor, noted: dict[str, Any], progress: Progress) -> None:
    training = noted | {"steps": progress.step, "seconds": round(progress.seconds, 1)}
    save_pretrained(folder, average, processor, extra={"training": training})  # pyright: ignore[reportArgumentType]


def _say_start(
    job: TrainConfig, policy: Policy, noted: dict[str, Any], out: Path, accelerator: Accelerator, console: Console
) -> None:
    size = sum(p.numel() for p in policy.parameters()) / 1e6
    config, parts = job.train, noted["data"]
    episodes, held_out = (sum(part[key] for part in parts) for key in ("episodes", "held_out"))
    folders = ", ".join(part["folder"] for part in parts)
    samples = config.batch_size * accelerator.num_processes
    console.print(
        f"{job.policy}, {size:.1f} M parameters, on {episodes} demonstrations of {folders} "
        f"({held_out} held out); {config.steps} steps of {samples} samples, "
        f"{config.precision} on {accelerator.device}, {noted['threads']} threads. Log, checkpoints: {out}. "
        "The first ten steps give an estimate of the duration."
    )
    if config.precision == "bf16" and not has_bf16(accelerator.device):
        console.print(f"warning: {EMULATED}")
    console.print(_who_loads(policy.config))


def _who_loads(config: ACTConfig) -> str:
    """Say whether LeRobot can load the checkpoints."""
    lacks = beyond_lerobot(config)
    if lacks is None:
        return "LeRobot can load the checkpoints (docs/lerobot.md)."
    if isinstance(config, ACTRTCConfig):
        return "LeRobot can load the checkpoints with the plugin lerobot_policy_act_rtc (docs/lerobot.md)."
    return f"LeRobot cannot load the checkpoints: {lacks}. It can load those of --preset lerobot."


def _say_end(finish: Finish, job: TrainConfig, data: Sequence[Demonstrations], out: Path, console: Console) -> None:
    if finish.stopped:
        console.print(
            f"stopped after step {finish.step} of {job.train.steps}; checkpoint {finish.checkpoint}\n"
            f"continue: {shlex.join(['act-eval', 'train', '--resume', str(out)])}"
        )
        return
    checkpoint = out / "checkpoints" / "last" / PRETRAINED
    command = ["act-eval", "evaluate", "--policy", str(checkpoint), "--env", job.env[0]]
    options = [f"{name}={str(value).lower()}" for name, value in observed_as(data).items()]
    declared = {**vars(job.declaration), "env_options": (*options, *job.declaration.env_options)}
    for flag, value in declared.items():
        if value not in (None, ()):
            values = value if isinstance(value, tuple) else (value,)
            command += [f"--{flag.replace('_', '-')}", *map(str, values)]
    console.print(
        f"trained {finish.step} steps in {format_duration(finish.seconds)}; checkpoint {checkpoint}\n"
        f"evaluate: {shlex.join(command)}"
    )
