#!/usr/bin/env python3
"""Train a policy on demonstrations of an environment, collecting them first where they are missing.

python scripts/train.py                                   act_rtc on confuser_pick, the shipped recipe
python scripts/train.py --policy act --steps 20000 --model.chunk-size 50 --model.n-action-steps 25
python scripts/train.py --resume outputs/train/act_rtc_confuser_pick
accelerate launch scripts/train.py --device cuda          one process per GPU
"""

import dataclasses
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from accelerate import Accelerator
from rich.console import Console
from torch import nn

from act_eval.demos import Demonstrations, open_cache
from act_eval.errors import ActEvalError, DatasetError, RunFolderError, UsageError
from act_eval.policies.act.config import ACTConfig, Feature
from act_eval.policies.act.presets import features, small_act, small_act_rtc
from act_eval.policies.checkpoint import load_config, save_pretrained
from act_eval.policies.data import Windows, split_episodes
from act_eval.policies.rtc import ACTRTCConfig
from act_eval.policies.train import Finish, Trainer
from act_eval.policies.training_config import TrainConfig
from act_eval.policies.training_progress import ProgressView, spell
from act_eval.policies.training_setup import (
    check_same,
    fingerprint,
    fitted,
    fresh_policy,
    fresh_processor,
    take_weights,
)
from act_eval.policies.training_state import PRETRAINED, Progress, last_checkpoint, write_json

_EPISODES = 400  # demonstrations where there are none yet and no number is given
_FROM_DATA = Annotated[Mapping[str, Feature], tyro.conf.Suppress]


@dataclass(frozen=True, kw_only=True)
class ACTFlags(ACTConfig):
    """ACT; features come from the data set."""

    input_features: _FROM_DATA = field(default_factory=dict)
    output_features: _FROM_DATA = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ACTRTCFlags(ACTRTCConfig):
    """ACT-RTC; features come from the data set."""

    input_features: _FROM_DATA = field(default_factory=dict)
    output_features: _FROM_DATA = field(default_factory=dict)


@dataclass(frozen=True)
class Arguments:
    """Train a policy."""

    policy: Literal["act", "act_rtc"] = "act_rtc"
    """What to train; `--model.*` then offers its configuration."""
    env: str = "confuser_pick"
    """Environment of the demonstrations and of the closed-loop evaluations."""
    dataset: Path | None = None
    """LeRobotDataset v3 folder; data/ENV by default. Missing demonstrations are collected into it."""
    episodes: int | None = None
    """Demonstrations to train on; all that the folder has by default, 400 where there is none."""
    held_out: float = 0.05
    """Share of the demonstrations kept for the validation loss."""
    cameras: tuple[str, ...] | None = None
    """Cameras that the policy sees; all of the data set's by default."""
    coordinates: bool = True
    """Whether the policy is told the target's coordinates."""
    init_from: Path | None = None
    """Begin with the weights of this `pretrained_model` folder, where they fit; its configuration is the default."""
    resume: Path | None = None
    """Folder of a run to continue with the settings that it was started with."""
    out: Path | None = None
    """Folder of the run; outputs/train/POLICY_ENV by default."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: CUDA where there is one."""
    threads: int | None = None
    """CPU threads; torch's choice by default."""
    train: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    """How long and how to train."""
    model: ACTFlags | ACTRTCFlags = field(default_factory=ACTRTCFlags)
    """What to train."""


CHANGEABLE = ("resume", "out", "device", "threads", "log_every", "save_every", "keep", "workers", "validate_every",
              "validation_batches", "evaluate_every")  # fmt: skip
"""Settings that a resumed run may change: none of them moves the loss curve on the same device."""


def main(argv: Sequence[str]) -> int:
    """Parse, build, train, say where the result lies."""
    console = Console(stderr=False, soft_wrap=True)
    try:
        return run(parse(list(argv)), list(argv), console)
    except ActEvalError as error:
        console.print(f"[red]error:[/red] {error}", highlight=False, markup=True)
        return 2


def parse(argv: list[str]) -> Arguments:
    """Read the command line; a resumed run starts from the line that it was begun with."""
    first = _peek(argv)
    if first.resume is not None:
        stored = _run_file(first.resume)
        argv = [*stored["arguments"], *argv]
        first = _peek(argv)
    return tyro.cli(Arguments, args=argv, default=_defaults(first), config=(tyro.conf.AvoidSubcommands,))


def _peek(argv: list[str]) -> "_First":
    if "-h" in argv or "--help" in argv:
        argv = [word for word in argv if word not in ("-h", "--help")]
    return tyro.cli(_First, args=argv, return_unknown_args=True)[0]


@dataclass(frozen=True)
class _First:
    """What decides the defaults of everything else."""

    policy: Literal["act", "act_rtc"] = "act_rtc"
    resume: Path | None = None
    init_from: Path | None = None


def _defaults(first: _First) -> Arguments:
    some = features({"overhead": (96, 96)})  # stand-ins: the data set's features replace them
    config: ACTConfig = small_act_rtc(some) if first.policy == "act_rtc" else small_act(some)
    if first.init_from is not None:
        found = load_config(first.init_from)
        config = found if type(found) is type(config) else config
    flags = ACTRTCFlags if first.policy == "act_rtc" else ACTFlags
    return Arguments(policy=first.policy, model=flags(**_values(config)))


def _values(config: ACTConfig) -> dict[str, Any]:
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}


def run(arguments: Arguments, argv: list[str], console: Console) -> int:
    """Train as told."""
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    accelerator = Accelerator(cpu=_on_cpu(arguments.device), mixed_precision="no")  # the loop has its own autocast
    out = arguments.resume or arguments.out or Path("outputs/train") / f"{arguments.policy}_{arguments.env}"
    if not accelerator.is_main_process:
        console = Console(quiet=True)
    with accelerator.main_process_first():
        data = demonstrations(arguments, console)
        trainer = build(arguments, argv, data, out, accelerator, console)
    finish = trainer.run()
    _say_end(finish, arguments, out, console)
    return 0


def _on_cpu(device: str) -> bool:
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no CUDA device here; use --device cpu")
    return device == "cpu" or not torch.cuda.is_available()


def demonstrations(arguments: Arguments, console: Console) -> Demonstrations:
    """Open the data set; collect it first where there is none."""
    folder = arguments.dataset or Path("data") / arguments.env
    if not folder.exists() and arguments.resume is None:
        console.print(f"no demonstrations in {folder}: collecting {arguments.episodes or _EPISODES}", highlight=False)
        _collect(arguments.env, folder, arguments.episodes or _EPISODES)
    data = Demonstrations(folder)
    if arguments.episodes is not None and arguments.episodes > len(data.episodes):
        raise DatasetError(
            f"{folder} holds {len(data.episodes)} demonstrations; asked for {arguments.episodes}. "
            "Name another folder with --dataset to collect them there"
        )
    return data


def _collect(env: str, folder: Path, episodes: int) -> None:
    """Run scripts/collect.py, whose defaults are the ones that ship; interrupted, it continues next time."""
    script = Path(__file__).with_name("collect.py")
    command = [sys.executable, str(script), "--env", env, "--episodes", str(episodes), "--out", str(folder)]
    if subprocess.run(command, check=False).returncode:
        raise DatasetError(f"collecting demonstrations failed or was interrupted; continue: {shlex.join(command[1:])}")


def build(
    arguments: Arguments, argv: list[str], data: Demonstrations, out: Path, accelerator: Accelerator, console: Console
) -> Trainer:
    """Make everything that the training loop takes, in a new or a resumed run folder."""
    plain = ACTRTCConfig if arguments.policy == "act_rtc" else ACTConfig
    config = fitted(plain(**_values(arguments.model)), data, arguments.cameras, arguments.coordinates)
    torch.manual_seed(arguments.train.seed)
    policy = fresh_policy(config, backbone_weights=arguments.init_from is None and arguments.resume is None)
    if arguments.init_from is not None and arguments.resume is None:
        console.print(f"{arguments.init_from}: {take_weights(policy, arguments.init_from)}", highlight=False)
    episodes = min(arguments.episodes or len(data.episodes), len(data.episodes))
    trained_on, held_out = split_episodes(episodes, arguments.held_out, arguments.train.seed)
    cache = open_cache(data, on_episode=_decoding(console))
    window, cameras = config.target_steps, [key.removeprefix("observation.images.") for key in config.image_features]
    facts = _facts(arguments, data, len(trained_on), len(held_out))
    if arguments.resume is None:
        _claim(out, arguments, argv, facts, accelerator)
    processor = fresh_processor(config, data)
    trainer = Trainer(
        policy,
        processor,
        Windows(data, cache, window, episodes=trained_on, cameras=cameras),
        Windows(data, cache, window, episodes=held_out, cameras=cameras) if held_out else None,
        arguments.train,
        out,
        accelerator=accelerator,
        write_pretrained=lambda folder, average, progress: _write(folder, average, processor, facts, progress),
        view=lambda first, last: ProgressView(console, first, last),
    )
    _say_start(arguments, policy, facts, out, accelerator, console)
    if arguments.resume is not None:
        _check_resumed(arguments, facts, out)
        check_same(load_config(last_checkpoint(out) / PRETRAINED), config, out)
        console.print(f"resumed after step {trainer.resume()} of {arguments.train.steps}", highlight=False)
    return trainer


def _write(folder: Path, average: nn.Module, processor: Any, facts: dict[str, Any], progress: Progress) -> None:
    training = facts | {"steps": progress.step, "seconds": round(progress.seconds, 1)}
    save_pretrained(folder, average, processor, extra={"training": training})  # pyright: ignore[reportArgumentType]


def _facts(arguments: Arguments, data: Demonstrations, trained_on: int, held_out: int) -> dict[str, Any]:
    """What is written beside every checkpoint of the run."""
    settings = json.loads(json.dumps(dataclasses.asdict(arguments), default=str))
    for key in ("input_features", "output_features"):
        del settings["model"][key]
    return {
        "command": shlex.join(["python", "scripts/train.py", *sys.argv[1:]]),
        "settings": settings,
        "data": {
            "folder": str(data.root),
            "fingerprint": fingerprint(data),
            "episodes": trained_on,
            "held_out": held_out,
            "collection": data.collection(),
        },
        "versions": {name: version(name) for name in ("act_eval", "torch", "torchvision", "accelerate", "numpy")},
        "threads": torch.get_num_threads(),
    }


def _run_file(out: Path) -> dict[str, Any]:
    path = out / "run.json"
    if not path.is_file():
        raise RunFolderError(f"{out} is not the folder of a training run: {path} is missing")
    return json.loads(path.read_text())


def _claim(out: Path, arguments: Arguments, argv: list[str], facts: dict[str, Any], accelerator: Accelerator) -> None:
    if not accelerator.is_main_process:
        return
    if out.exists() and any(out.iterdir()):
        raise RunFolderError(f"{out} is not empty; continue it with --resume {out}, or name another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "run.json", {"arguments": argv, "facts": facts})


def _check_resumed(arguments: Arguments, facts: dict[str, Any], out: Path) -> None:
    """Refuse to continue with settings or data that would bend the loss curve."""
    before = _run_file(out)["facts"]
    then, now = _flat(before["settings"]), _flat(facts["settings"])
    wrong = [
        f"{key}: {then.get(key)!r} then, {now.get(key)!r} now"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key) and key.split(".")[-1] not in CHANGEABLE
    ]
    if before["data"]["fingerprint"] != facts["data"]["fingerprint"]:
        wrong.append(f"data set {facts['data']['folder']}: {before['data']['fingerprint']} then, other contents now")
    if wrong:
        raise RunFolderError(
            f"{out} cannot be continued with other settings ({'; '.join(wrong)}); "
            f"begin a new run with --init-from {out / 'checkpoints/last' / PRETRAINED}"
        )


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {before + key: value}
    return flat


def _decoding(console: Console) -> Any:
    def say(done: int, total: int) -> None:
        if done == total or done % 100 == 0:
            console.print(f"decoding the pictures of episode {done}/{total}", highlight=False)

    return say


def _say_start(
    arguments: Arguments,
    policy: nn.Module,
    facts: dict[str, Any],
    out: Path,
    accelerator: Accelerator,
    console: Console,
) -> None:
    size = sum(p.numel() for p in policy.parameters()) / 1e6
    config, data = arguments.train, facts["data"]
    samples = config.batch_size * accelerator.num_processes
    console.print(
        f"{arguments.policy}, {size:.1f} M parameters, on {data['episodes']} demonstrations of {data['folder']} "
        f"({data['held_out']} held out); {config.steps} steps of {samples} samples, "
        f"{config.precision} on {accelerator.device}, {facts['threads']} threads. Log, checkpoints: {out}. "
        "How long it takes is measured in the first ten steps.",
        highlight=False,
    )


def _say_end(finish: Finish, arguments: Arguments, out: Path, console: Console) -> None:
    if finish.stopped:
        console.print(
            f"stopped after step {finish.step} of {arguments.train.steps}; checkpoint {finish.checkpoint}\n"
            f"continue: python scripts/train.py --resume {out}",
            highlight=False,
        )
        return
    checkpoint = out / "checkpoints" / "last" / PRETRAINED
    console.print(
        f"trained {finish.step} steps in {spell(finish.seconds)}; checkpoint {checkpoint}\n"
        f"evaluate: python scripts/evaluate.py --policy {checkpoint} --env {arguments.env}",
        highlight=False,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
