"""The demonstrations of a training run: one data set or several, collected first if missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from act_eval.collect import (
    DEMONSTRATED,
    CollectPlan,
    CollectProgress,
    MakeAttempts,
    collect,
    expert_demonstrator,
    plan_of,
)
from act_eval.datasets import Demonstrations, FrameCache, open_cache
from act_eval.datasets.layout import INFO
from act_eval.errors import DatasetError
from act_eval.policies.act.config import ACTConfig
from act_eval.policies.data import Windows, split_episodes
from act_eval.policies.rtc import ACTRTCConfig
from act_eval.policies.training_setup import fingerprint
from act_eval.sources.environments import EnvSource
from act_eval.training.config import TrainConfig
from act_eval.types import IMAGE_PREFIX

_EPISODES = 400  # demonstrations to collect per environment by default


@dataclass(frozen=True, kw_only=True)
class DataPart:
    """One data set and its split into training and held-out episodes."""

    data: Demonstrations
    cache: FrameCache
    trained_on: Sequence[int]
    held_out: Sequence[int]

    def facts(self) -> dict[str, Any]:
        """Return its facts for the checkpoints."""
        return {
            "folder": str(self.data.root),
            "fps": self.data.fps,
            "fingerprint": fingerprint(self.data),
            "episodes": len(self.trained_on),
            "held_out": len(self.held_out),
            "collection": (self.data.collection() or {}).get("plan"),
        }

    def windows(self, episodes: Sequence[int], config: ACTConfig) -> Windows:
        """Return the samples of some episodes, as a network of this configuration learns from them."""
        past = config.n_past_actions if isinstance(config, ACTRTCConfig) else 0
        cameras = [key.removeprefix(IMAGE_PREFIX) for key in config.image_features]
        return Windows(self.data, self.cache, config.target_steps, episodes=episodes, cameras=cameras, past=past)


_OBSERVED_AS = ("robot_meshes", "obs_type")


def observed_as(data: Sequence[Demonstrations]) -> dict[str, Any]:
    """Return the environment's options for what is observed with which all data sets were collected.

    Evaluations of what is trained on them need the same: the robot's meshes, or no images.
    """
    plans = [(part.collection() or {}).get("plan") for part in data]
    options = [plan.get("options") if isinstance(plan, dict) else None for plan in plans]
    chosen = [part if isinstance(part, dict) else {} for part in options]
    shared = {name: [part.get(name) for part in chosen] for name in _OBSERVED_AS}
    return {name: values[0] for name, values in shared.items() if values[0] and values.count(values[0]) == len(values)}


def demonstrations(config: TrainConfig, console: Console) -> list[DataPart]:
    """Open the data sets; without `dataset`, collect first those of the environments that do not exist.

    Raises:
        UnknownName: if there is no such environment.
        DatasetError: if a data set is missing, or has fewer demonstrations than `episodes`.
    """
    sources = [config.source(name, DEMONSTRATED) for name in config.env]
    folders = config.dataset or tuple(Path("data") / source.label for source in sources)
    for folder in folders:
        if config.dataset is not None and not folder.exists():
            raise DatasetError(_missing(folder, config.env[0]))
    for source, folder in zip(sources, folders, strict=False):
        if not folder.exists() and config.resume is None:
            _collect(config, source, folder, console)
    return [_part(config, folder, console) for folder in folders]


def _missing(folder: Path, env: str) -> str:
    """Return the message for a data set that does not exist, with the nearest name beside it and how to collect."""
    beside = [found for place in {folder.parent, Path("data")} if place.is_dir() for found in place.iterdir()]
    there = {found.name: found for found in beside if (found / INFO).is_file()}
    close = [str(there[name]) for name in get_close_matches(folder.name, there, n=1)]
    known = ", ".join(map(str, sorted(there.values()))) or "none"
    hint = f"did you mean {close[0]}?" if close else f"there are: {known}."
    return f"there is no data set folder {folder}; {hint} `act-eval collect --env {env} --out {folder}` collects one"


def _part(config: TrainConfig, folder: Path, console: Console) -> DataPart:
    data = Demonstrations(folder)
    if config.episodes is not None and config.episodes > len(data.episodes):
        raise DatasetError(
            f"{folder} holds {len(data.episodes)} demonstrations; --episodes is {config.episodes}. "
            "Collect more into another folder with `act-eval collect`, and name it with --dataset"
        )

    def say(done: int, total: int) -> None:
        if done == total or done % 100 == 0:
            console.print(f"decoding the images of episode {done}/{total}")

    cache = open_cache(data, on_episode=say)
    trained_on, held_out = split_episodes(config.episodes or len(data.episodes), config.held_out, config.train.seed)
    return DataPart(data=data, cache=cache, trained_on=trained_on, held_out=held_out)


def _collect(config: TrainConfig, source: EnvSource, folder: Path, console: Console) -> None:
    plan = CollectPlan(**plan_of(source, config.declaration), episodes=config.episodes or _EPISODES)
    collect_shown(plan, folder, partial(expert_demonstrator, source), f"demonstrations of {source.env_id}", console)


def collect_shown(plan: CollectPlan, folder: Path, make: MakeAttempts, what: str, console: Console) -> None:
    """Collect a data set, or find it, with its progress on the console."""
    with console.status("") as status:

        def show(progress: CollectProgress) -> None:
            status.update(f"{what}, into {folder}: collected {progress.episodes} of {plan.episodes} episodes")

        try:
            done = collect(plan, folder, make, on_progress=show)
        except KeyboardInterrupt:
            console.print("the episodes so far are kept; the training continues from them")
            raise
    console.print(f"{what}: {done.frames} samples of {done.episodes} episodes in {folder}")
