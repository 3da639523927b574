"""Training in rounds of on-policy correction: collect the expert's corrections of the newest checkpoint, train on them.

Every stage has a folder and continues where it was: `round_0` holds the training on demonstrations, `round_N` the
corrections of round N, a data set per environment, and in `train` the run that follows.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from act_eval.collect import CollectPlan, plan_of
from act_eval.collect.corrections import corrector
from act_eval.policies.checkpoint import load_config
from act_eval.policies.train import Finish
from act_eval.policies.training_state import PRETRAINED
from act_eval.sources.policies import checkpoint_folder
from act_eval.timing import parse_delay
from act_eval.training.config import TrainConfig
from act_eval.training.data import collect_shown
from act_eval.training.folder import claim, is_begun
from act_eval.training.run import image_size, train

_BETWEEN = 0.2
"""Share of the steps without a request that are labelled too."""
_SEEDS = 1000
"""Collection seeds of a training run begin at this times its seed plus one, apart from those of demonstrations."""


def train_in_rounds(job: TrainConfig, words: Sequence[str] = (), console: Console | None = None) -> Finish:
    """Train and correct; return how the last stage ended.

    Args:
        job: all settings; with `resume` the folder of an earlier call.
        words: the command line.
        console: shows progress; standard output by default.

    Raises:
        ActEvalError: as `train` and `collect`.
    """
    console = console or Console(soft_wrap=True, highlight=False)
    out = job.resume or job.out or Path("outputs/train") / "_".join((job.policy, *job.labels()))
    if job.resume is None:
        claim(out, words, {})
    finish: Finish | None = None
    for stage, folder in _stages(job, out, console):
        finish = train(dataclasses.replace(stage, correction_rounds=0, out=folder), words, console)
        if finish.stopped:
            break
    assert finish is not None, "there is at least one round"
    return finish


def _stages(job: TrainConfig, out: Path, console: Console) -> Iterator[tuple[TrainConfig, Path]]:
    """Yield each training with its folder; the corrections of a round are collected before it is yielded."""
    data = job.dataset or ()
    if job.init_from is None:
        yield _begun_or_new(job, out / "round_0")
        start = _newest(out / "round_0")
        data = data or tuple(Path("data") / label for label in job.labels())
    else:
        start = job.init_from
    loop = dataclasses.replace(job.train, steps=job.correction_steps)
    for number in range(1, job.correction_rounds + 1):
        folder = out / f"round_{number}"
        console.print(f"round {number} of {job.correction_rounds}: corrections of {start}")
        named = zip(job.env, job.labels(), strict=True)
        data = (*data, *(_corrections(job, env, number, start, folder / label, console) for env, label in named))
        stage = dataclasses.replace(job, init_from=start, dataset=data, episodes=None, train=loop)
        yield _begun_or_new(stage, folder / "train")
        start = _newest(folder / "train")


def _begun_or_new(stage: TrainConfig, folder: Path) -> tuple[TrainConfig, Path]:
    return dataclasses.replace(stage, resume=folder if is_begun(folder) else None), folder


def _newest(folder: Path) -> Path:
    return folder / "checkpoints" / "last" / PRETRAINED


def _corrections(job: TrainConfig, name: str, number: int, policy: Path, out: Path, console: Console) -> Path:
    """Collect corrections of a checkpoint in an environment, or find them; return their folder."""
    config = load_config(checkpoint_folder(str(policy), others=()))
    options = {"action_noise": 0.0, "gripper_faults": 0.0, **image_size(config)}
    env = job.source(name, options)
    whom, make = corrector(policy, env, None, None, parse_delay(job.correction_delay), _BETWEEN)
    plan = CollectPlan(
        **plan_of(env, job.declaration),
        seed=_SEEDS * (job.train.seed + 1) + number,
        episodes=job.correction_episodes,
        corrections=whom,
    )
    collect_shown(plan, out, make, f"corrections in {name}", console)
    return out
