"""Ablated inputs in rollouts: the same in any batch, and a fault of one episode is nobody else's."""

from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import pytest
from toy_envs import HookedWalk

from act_eval.errors import SimulationError
from act_eval.executors import ChunkExecutor, Foresee
from act_eval.rollout import Episode, hold_of, rollout
from act_eval.seeding import Stream, stream
from act_eval.timing import (
    RTC,
    Ablation,
    Constant,
    ConstantEstimate,
    ExpertPrefix,
    Lognormal,
    PadPrefix,
    PrefixAblation,
    Schedule,
    ShuffledPrefix,
    WrongDelay,
)
from act_eval.types import ActionChunks, ChunkRequest, EpisodeRecord, PolicySpec, StepRecord

ABLATIONS = (ExpertPrefix(), PadPrefix(), ShuffledPrefix(), WrongDelay(2), WrongDelay(-2))


def schedule(prefix: PrefixAblation, delay: int) -> Schedule:
    return Schedule(method=RTC(5), delay=Constant(delay), ablation=Ablation(prefix=prefix))


class Reader:
    """Walks towards the goal, drawn aside by its prefix as far as it may be read and by the joints."""

    spec = PolicySpec(chunk=6, action_dim=2, window="shifted", takes_prefix=True, max_delay=5, inputs={})

    def __init__(self) -> None:
        self.rngs: dict[int, np.random.Generator] = {}

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        for row, seed in zip(rows, seeds, strict=True):
            self.rngs[row] = stream(seed, Stream.POLICY)

    def predict(self, request: ChunkRequest) -> ActionChunks:
        return ActionChunks(np.stack([self.row(request, n) for n in range(len(request.rows))]))

    def row(self, request: ChunkRequest, n: int) -> np.ndarray:
        assert request.observation.environment_state is not None
        assert request.prefix_known is not None
        known = request.prefix[n, : request.prefix_known[n]]
        drift = (known * np.arange(1, len(known) + 1)[:, None]).sum(axis=0) / 50
        drift += request.observation.agent_pos[n] / 20 + request.estimated_delay[n] / 50
        noise = self.rngs[int(request.rows[n])].normal(0, 0.4, (6, 2))
        return (request.observation.environment_state[n] + noise + drift).astype(np.float32)


def of_position(envs: Sequence[gym.Env]) -> Foresee:
    """A foresight that depends on the slot's environment."""
    return lambda slot, steps: np.tile(envs[slot].unwrapped.position, (steps, 1)).astype(np.float32)  # pyright: ignore


EPISODES = [Episode(number, 500 + 3 * number) for number in range(7)]


class Commands:
    """Keeps what runs, by episode."""

    def __init__(self) -> None:
        self.of: dict[int, bytes] = {}

    def on_step(self, record: StepRecord) -> None:
        self.of[record.episode] = self.of.get(record.episode, b"") + record.command.tobytes()

    def on_episode_end(self, record: EpisodeRecord) -> None:
        pass


def walked(slots: int, wanted: Schedule, episodes: Sequence[Episode]) -> dict[int, tuple[EpisodeRecord, bytes]]:
    """Return each episode's record and commands."""
    envs = [HookedWalk() for _ in range(slots)]
    executor = ChunkExecutor(Reader(), wanted, hold_of(envs), foresee=of_position(envs), gripper_dims=(-1,))
    commands = Commands()
    return {one.episode: (one, commands.of[one.episode]) for one in rollout(envs, executor, episodes, (commands,))}


@pytest.mark.parametrize(
    "ablation",
    [
        *(Ablation(prefix=prefix) for prefix in ABLATIONS),
        Ablation(proprio="predicted"),
        Ablation(proprio="predicted-with-gripper"),
    ],
    ids=repr,
)
def test_an_episode_is_the_same_in_any_batch_and_differs_from_the_plain_condition(ablation: Ablation) -> None:
    def wanted(one: Ablation) -> Schedule:
        return Schedule(method=RTC(3), delay=Lognormal(0, 2, 0.6), delay_estimator=ConstantEstimate(3), ablation=one)

    alone = walked(1, wanted(ablation), EPISODES)
    assert len(alone) == len(EPISODES)
    for slots in (2, 5):
        assert walked(slots, wanted(ablation), EPISODES[::-1]) == alone
    assert alone != walked(1, wanted(Ablation()), EPISODES), "the policy reads its input"


def test_a_policy_that_reads_padding_is_named() -> None:
    class Careless(Reader):
        def row(self, request: ChunkRequest, n: int) -> np.ndarray:
            return super().row(request, n) + request.prefix[n].sum()

    envs = [HookedWalk()]
    executor = ChunkExecutor(Careless(), schedule(PadPrefix(), delay=2), hold_of(envs))
    [record] = rollout(envs, executor, EPISODES[:1])
    assert record.outcome == "policy_error"
    assert record.error is not None
    assert record.error.startswith("the policy answered with a non-finite action: nan")


def test_an_expert_that_cannot_be_foreseen_makes_the_episode_invalid_and_no_other() -> None:
    envs = [HookedWalk(), HookedWalk()]

    def fails_in_slot_1(slot: int, steps: int) -> np.ndarray:
        if slot == 1:
            raise SimulationError("physics is no longer finite at t = 0.3 s")
        return np.zeros((steps, 2), np.float32)

    executor = ChunkExecutor(Reader(), schedule(ExpertPrefix(), delay=2), hold_of(envs), foresee=fails_in_slot_1)
    broken, whole = sorted(rollout(envs, executor, EPISODES[:2]), key=lambda record: record.outcome != "invalid")
    assert broken.episode == 1
    assert broken.error == "looking ahead with the expert: physics is no longer finite at t = 0.3 s"
    assert broken.steps > 0
    assert whole.outcome in ("success", "missed")
    assert whole.error is None


def test_a_request_that_is_repeated_row_by_row_keeps_what_is_known() -> None:
    class Alone(Reader):
        def predict(self, request: ChunkRequest) -> ActionChunks:
            if len(request.rows) > 1:
                raise RuntimeError("one at a time")
            return super().predict(request)

    def run_with(policy: Reader) -> list[EpisodeRecord]:
        envs = [HookedWalk() for _ in range(3)]
        return list(rollout(envs, ChunkExecutor(policy, schedule(PadPrefix(), delay=2), hold_of(envs)), EPISODES))

    assert run_with(Alone()) == run_with(Reader())
