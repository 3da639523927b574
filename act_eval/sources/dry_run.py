"""Checks of users' environments and policies before the first episode: the same question must get the same answer."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from act_eval.executors.request import call_policy
from act_eval.rollout import batch_observations
from act_eval.seeding import Purpose, episode_seeds
from act_eval.types import ChunkPolicy, ChunkRequest, Observation
from act_eval.types.env_hooks import hooks_of
from act_eval.user_code import exits_raise

if TYPE_CHECKING:
    import gymnasium as gym

_SEED = episode_seeds(Purpose.PROBE, 0, 1)[0]


def start_warnings(env: "gym.Env[Any, Any]", label: str) -> tuple[str, ...]:
    """Return a warning if two resets with one seed differ, unless the environment's registration says so itself."""
    if env.spec is not None and env.spec.nondeterministic:
        return ()
    first, second = (_unless_raised(lambda: _start(env)) for _ in range(2))
    if first is None or second is None or first == second:
        return ()
    return (
        f"warning: {label} begins differently after two resets with the same seed: its start does not depend on the "
        "seed alone, so conditions and runs of the same seeds are not the same episodes and cannot be paired",
    )


def answer_warnings(policy: ChunkPolicy, env: "gym.Env[Any, Any]", label: str) -> tuple[str, ...]:
    """Return a warning if a policy answers the first observation of an episode differently when asked again."""
    observation = _unless_raised(lambda: batch_observations([env.reset(seed=_SEED)[0]]))
    first, second = (_unless_raised(lambda: _answer(policy, observation)) for _ in range(2))
    if not (isinstance(first, np.ndarray) and isinstance(second, np.ndarray)) or np.array_equal(first, second):
        return ()
    return (
        f"warning: {label} answers the first observation of an episode differently when it is asked again: something "
        "is left over from the episode before (a queue, a hidden state), which a method reset(seed) should clear; or "
        "it samples, which an attribute samples = True declares",
    )


def _unless_raised(call: Callable[[], Any]) -> Any:
    """Return what a call of users' code returns; None if it raises, since the episodes will show that fault."""
    try:
        with exits_raise():
            return call()
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException:  # user code may raise anything
        return None


def _start(env: "gym.Env[Any, Any]") -> list[bytes]:
    """Return the content of the first observation and of the simulator state."""
    observation = batch_observations([env.reset(seed=_SEED)[0]])
    state = hooks_of(env).simulator_state
    parts = [*observation.pixels.values(), observation.agent_pos, observation.environment_state]
    return [np.asarray(part).tobytes() for part in (*parts, None if state is None else state())]


def _answer(policy: ChunkPolicy, observation: Observation) -> Any:
    """Return the chunk for the first observation of an episode, or the text of an error."""
    spec = policy.spec
    policy.reset([0], [_SEED])
    joints = observation.agent_pos
    last = joints if joints.shape == (1, spec.action_dim) else np.full((1, spec.action_dim), np.nan, np.float32)
    zero = np.zeros(1, np.int64)
    seen = Observation.over_time([observation.take(zero)] * spec.history)
    request = ChunkRequest.without_prefix(spec, zero, zero, seen, last)
    return call_policy(policy, request)[0]
