"""Closed-loop evaluation of checkpoints during training, on seeds that are used for nothing else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch

from act_eval.errors import TimingError
from act_eval.rollout import Episode, rollout
from act_eval.seeding import Purpose, episode_seeds
from act_eval.sources.environments import EnvSource
from act_eval.sources.network_sources import CheckpointSource
from act_eval.sources.workers import PolicyWorkerSource
from act_eval.stats import SuccessRate
from act_eval.timing import METHODS, Constant, Schedule
from act_eval.types import INVALID, SUCCESS, PolicySpec

_DEFAULT_DELAYS = (0, 4)
_SLOTS = 8


@dataclass(frozen=True)
class ClosedLoop:
    """Runs a few episodes per delay in this process; called with a checkpoint folder and the step."""

    envs: Mapping[str, EnvSource]
    """Name → environment."""
    seeds: tuple[int, ...]
    schedules: dict[int, Schedule]
    """Delay → schedule of the executor."""
    device: str

    def __call__(self, folder: Path, _step: int, on_episode: Callable[[int, int], None]) -> dict[str, float]:
        """Return, per delay d, the success rate `success_d` and each other outcome's rate; `invalid_d` as a count.

        With several environments, names are prefixed by the environment: `pick/success_d0`.

        Args:
            folder: `pretrained_model` of the checkpoint.
            on_episode: called with the finished and the total number of episodes.
        """
        finished, total = count(1), len(self.envs) * len(self.schedules) * len(self.seeds)
        on_episode(0, total)
        threads = torch.get_num_threads()
        policy = CheckpointSource(folder=folder, device=self.device, compile="off", threads=threads)
        episodes = [Episode(number, seed) for number, seed in enumerate(self.seeds)]
        rates: dict[str, float] = {}
        for name, env in self.envs.items():
            before = f"{name}/" if len(self.envs) > 1 else ""
            worker = PolicyWorkerSource(env=env, policy=policy, slots=min(_SLOTS, len(self.seeds)))()
            try:
                for delay, schedule in self.schedules.items():
                    outcomes = []
                    for record in rollout(worker.envs, worker.executor(schedule), episodes):
                        outcomes.append(record.outcome)
                        on_episode(next(finished), total)
                    rates |= {f"{before}{outcome}_d{delay}": rate for outcome, rate in _rates(outcomes).items()}
            finally:
                worker.close()
        return rates


def _rates(outcomes: Sequence[str]) -> dict[str, float]:
    """Return the rate of each outcome over the valid episodes, and the count of the invalid ones."""
    success = SuccessRate.of_outcomes(outcomes)
    rates = {SUCCESS: success.rate} if success.trials else {}
    rates |= {one: outcomes.count(one) / success.trials for one in sorted(set(outcomes) - {SUCCESS, INVALID})}
    return rates | ({INVALID: outcomes.count(INVALID)} if INVALID in outcomes else {})


def closed_loop(
    envs: Mapping[str, EnvSource],
    spec: PolicySpec,
    episodes: int,
    seed: int,
    delays: Sequence[int] | None,
    device: str,
) -> ClosedLoop:
    """Return the evaluation of a policy under its own executor, half a chunk at a time.

    Args:
        envs: by name.
        spec: of the policy.
        episodes: per delay.
        seed: of the training run; determines the episode seeds within those for selection.
        delays: control steps; those of 0 and 4 that the policy allows if None.
        device: where the network runs.

    Raises:
        TimingError: if a requested delay is not possible.
    """
    method = METHODS["rtc" if spec.takes_prefix else "naive"]
    schedules: dict[int, Schedule] = {}
    for delay in _DEFAULT_DELAYS if delays is None else delays:
        schedule = Schedule(method=method(max(1, spec.chunk // 2)), delay=Constant(delay))
        try:
            schedule.check(spec)
        except TimingError:
            if delays is not None:
                raise
            continue
        schedules[delay] = schedule
    return ClosedLoop(envs, tuple(episode_seeds(Purpose.SELECT, seed, episodes)), schedules, device)
