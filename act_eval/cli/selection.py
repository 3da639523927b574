"""Closed-loop evaluation during training: a look at a checkpoint, on seeds that serve nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from act_eval.cli.benches import CheckpointSource, EnvSource, PolicyBenchSource
from act_eval.errors import TimingError
from act_eval.records import INVALID, SUCCESS
from act_eval.rollout import Episode, rollout
from act_eval.seeding import Purpose, episode_seeds
from act_eval.timing import METHODS, Constant, Schedule
from act_eval.types import PolicySpec

_USUAL_DELAYS = (0, 4)
_SLOTS = 8


@dataclass(frozen=True)
class ClosedLoop:
    """Runs a few episodes per delay in this process; called with a checkpoint folder and the step."""

    env: EnvSource
    seeds: tuple[int, ...]
    schedules: dict[int, Schedule]
    """Delay → how chunks are run."""
    device: str

    def __call__(self, folder: Path, _step: int) -> dict[str, float]:
        """Return, per delay d, the success rate `success_d` and each other outcome's rate; `invalid_d` as a count."""
        threads = torch.get_num_threads()
        policy = CheckpointSource(folder=folder, device=self.device, compile="off", threads=threads)
        bench = PolicyBenchSource(env=self.env, policy=policy, slots=min(_SLOTS, len(self.seeds)))()
        try:
            return {
                name: value
                for delay, schedule in self.schedules.items()
                for name, value in _rates(
                    str(delay),
                    [
                        record.outcome
                        for record in rollout(
                            bench.envs,
                            bench.executor(schedule),
                            [Episode(n, seed) for n, seed in enumerate(self.seeds)],
                        )
                    ],
                ).items()
            }
        finally:
            bench.close()


def _rates(arm: str, outcomes: Sequence[str]) -> dict[str, float]:
    valid = [outcome for outcome in outcomes if outcome != INVALID]
    rates: dict[str, float] = {f"{SUCCESS}_d{arm}": 0.0} if valid else {}
    for outcome in sorted(set(valid)):
        rates[f"{outcome}_d{arm}"] = valid.count(outcome) / len(valid)
    if len(valid) < len(outcomes):
        rates[f"{INVALID}_d{arm}"] = len(outcomes) - len(valid)
    return rates


def closed_loop(
    env: EnvSource, spec: PolicySpec, episodes: int, seed: int, delays: Sequence[int] | None, device: str
) -> ClosedLoop:
    """Return the evaluation of a policy under the executor that it is made for, half a chunk at a time.

    Args:
        env: where.
        spec: of the policy.
        episodes: per delay.
        seed: of the training run; decides the episode seeds within those for selection.
        delays: control steps; those of 0 and 4 that the policy allows if None.
        device: where the network runs.

    Raises:
        TimingError: if a delay that was asked for is not possible.
    """
    method = METHODS["rtc" if spec.takes_prefix else "naive"]
    schedules: dict[int, Schedule] = {}
    for delay in _USUAL_DELAYS if delays is None else delays:
        schedule = Schedule(method=method(max(1, spec.chunk // 2)), delay=Constant(delay))
        try:
            schedule.check(spec)
        except TimingError:
            if delays is not None:
                raise
            continue
        schedules[delay] = schedule
    return ClosedLoop(env, tuple(episode_seeds(Purpose.SELECT, seed, episodes)), schedules, device)
