"""Recovery demonstrations: the expert picks an imagined block beside the real one, then recovers."""

import gymnasium as gym
import numpy as np
import pytest

import act_eval.envs  # noqa: F401  registers the environments
from act_eval.envs import recovery_expert
from act_eval.envs.expert import Expert
from act_eval.envs.recovery_expert import RecoveryExpert
from act_eval.scenes.workspace import TRAY


@pytest.fixture
def env():
    env = gym.make("act_eval/ConfuserPick-v0", disable_env_checker=True)
    env.unwrapped.skip_cameras(True)
    yield env
    env.close()


def run(env, act, seed: int, begin=lambda seed: 0) -> tuple[int, list[np.ndarray], list[np.ndarray], str]:
    """Return the length of the mistake, commands, pinch positions and the outcome of an episode."""
    env.reset(seed=seed)
    first = begin(seed)
    commands, pinched, ended = [], [], False
    while not ended:
        commands.append(act())
        *_, terminated, truncated, _ = env.step(commands[-1])
        pinched.append(env.unwrapped.privileged().pinch_pos.copy())
        ended = terminated or truncated
    return first, commands, pinched, env.unwrapped.verdict().outcome


def test_with_probability_zero_it_is_the_plain_expert(env) -> None:
    expert = RecoveryExpert(env.unwrapped, 0.0)
    first, commands, *_ = run(env, expert.act, 7, expert.begin)
    assert first == 0
    _, wanted, _, outcome = run(env, Expert(env.unwrapped).act, 7)
    assert outcome == "success"
    np.testing.assert_array_equal(commands, wanted)


def test_mistakes_follow_from_the_seed_and_mostly_end_well(env) -> None:
    expert = RecoveryExpert(env.unwrapped, 1.0)
    runs = [run(env, expert.act, seed, expert.begin) for seed in range(6)]
    again = run(env, expert.act, 2, expert.begin)
    assert again[0] == runs[2][0]
    np.testing.assert_array_equal(again[1], runs[2][1])
    lengths = [first for first, *_ in runs]
    assert len(set(lengths)) > 3
    assert 5 <= min(lengths) <= max(lengths) <= 90
    assert sum(outcome == "success" for *_, outcome in runs) >= 4


def test_a_long_mistake_mostly_brings_nothing_to_the_tray(env, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery_expert, "_LENGTH", (85, 85))
    expert = RecoveryExpert(env.unwrapped, 1.0)
    empty = 0
    for seed in range(6):
        env.reset(seed=seed)
        for _ in range(expert.begin(seed)):
            env.step(expert.act())
        now = env.unwrapped.privileged()
        empty += bool(TRAY.contains(now.pinch_pos[:2]) and not TRAY.contains(now.target_pos[:2]))
    assert empty >= 3
