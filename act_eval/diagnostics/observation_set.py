"""Observations from the beginnings of real episodes, where a policy chooses its block.

Legend: `N` observations · `O` moments of a history · `B` = 1 slot · `A` action dim · `K` blocks, the scene's target
first · `S` state size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from act_eval.errors import ActEvalError, SimulationError, UsageError
from act_eval.executors import at_rest
from act_eval.rollout import ObservationBatch, batch_observations
from act_eval.types import Executor, FloatArray, IntArray, Observation, PolicySpec
from act_eval.types.env_hooks import BlockPositionsHook, hooks_of


@dataclass(frozen=True, kw_only=True)
class ObservationSet:
    """Observations with their episodes and steps."""

    observation: Observation
    """N rows, with a time axis if the policy's `history` is above 1."""
    seeds: IntArray
    """(N,) episode seeds."""
    steps: IntArray
    """(N,) control steps within the episodes."""
    states: NDArray[np.float64]
    """(N, O, S) simulator states of an observation's moments, oldest first; S = 0 if the environment has none."""
    last_action: FloatArray
    """(N, A) command of the step before, or the joint angles at step 0."""
    block_xy: NDArray[np.float64]
    """(N, K, 2) centres of the blocks [m]; K = 0 without the hook `block_positions`."""

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return len(np.unique(self.seeds))

    def permuted_rows(self) -> IntArray:
        """Return for each row a row (N,) of another episode, the same in every call.

        Raises:
            UsageError: if all rows come from one episode.
        """
        if self.episodes < 2:
            raise UsageError("a probe needs observations of at least 2 episodes, so that rows can be exchanged")
        rng = np.random.default_rng(0)
        return np.array([rng.choice(np.flatnonzero(self.seeds != seed)) for seed in self.seeds], np.int64)


def collect_observations(
    env: gym.Env[Any, Any],
    executor: Executor,
    seeds: Sequence[int],
    per_episode: int = 5,
    every: int = 3,
    spec: PolicySpec | None = None,
) -> ObservationSet:
    """Run the beginning of each episode and collect every `every`-th observation.

    Args:
        env: a Gymnasium environment; between collected observations the hook `skip_cameras` is used.
        executor: decides the commands, in slot 0.
        seeds: episode seeds.
        per_episode: observations per episode; fewer if an episode ends earlier.
        every: control steps between them.
        spec: of the policy that will read them; its `history` decides which earlier observations they contain.

    Raises:
        UsageError: if a number is below 1, or the policy fails during collection.
    """
    for name, value in (("episodes", len(seeds)), ("observations per episode", per_episode), ("interval", every)):
        if value < 1:
            raise UsageError(f"{name} of a probe is {value}; it must be at least 1")
    collected = range(0, (per_episode - 1) * every + 1, every)
    contained = {step: [step] if spec is None else spec.observed_steps(step) for step in collected}
    rows = [row for seed in seeds for row in _beginning(env, executor, seed, contained)]
    moments = [batch_observations(one) for one in zip(*(row.observed for row in rows), strict=True)]
    states = np.stack([np.stack(row.states) for row in rows])
    return ObservationSet(
        observation=Observation.over_time(moments),
        seeds=np.array([row.seed for row in rows], np.int64),
        steps=np.array([row.step for row in rows], np.int64),
        states=states,
        last_action=np.stack([row.last_action for row in rows]),
        block_xy=_block_xy(hooks_of(env).block_positions, states[:, -1]),
    )


def _block_xy(positions: BlockPositionsHook | None, states_NS: NDArray[np.float64]) -> NDArray[np.float64]:
    if positions is None or states_NS.shape[1] == 0:
        return np.zeros((len(states_NS), 0, 2))
    return np.stack([positions(state)[:, :2] for state in states_NS])


@dataclass(frozen=True)
class _Row:
    observed: Sequence[Mapping[str, Any]]
    """O observations, oldest first."""
    seed: int
    step: int
    states: Sequence[NDArray[np.float64]]
    """Of the same moments."""
    last_action: FloatArray


def _beginning(
    env: gym.Env[Any, Any], executor: Executor, seed: int, contained: Mapping[int, Sequence[int]]
) -> list[_Row]:
    """Return the rows of one episode; `contained` maps the step of a row to those of its observations."""
    hooks = hooks_of(env)
    skip_cameras = hooks.skip_cameras or (lambda skip: None)
    state = hooks.simulator_state or (lambda: np.zeros(0))
    skip_cameras(False)
    observed, _ = _call_env(lambda: env.reset(seed=seed))
    executor.reset([0], [seed])
    batch, rows = ObservationBatch(1), list[_Row]()
    kept: dict[int, tuple[Mapping[str, Any], NDArray[np.float64]]] = {}
    read = {step for steps in contained.values() for step in steps}
    last_action = at_rest(np.asarray(observed["agent_pos"], np.float32), env.action_space.shape)
    for step in range(max(contained) + 1):
        batch.put(0, observed)
        if step in read:
            kept[step] = observed, state()
        if step in contained:
            observations, states = zip(*(kept[one] for one in contained[step]), strict=True)
            rows.append(_Row(observations, seed, step, states, last_action))
        last_action = _command(executor, step, batch.observation)
        needed = step + 1 in read or bool(executor.wants_observation(np.array([step + 1]))[0])
        skip_cameras(not needed)
        command = last_action
        observed, _, terminated, truncated, _ = _call_env(lambda: env.step(command))  # noqa: B023  # called at once
        if terminated or truncated:
            break
    skip_cameras(False)
    return rows


def _call_env(call: Callable[[], Any]) -> Any:
    """Call an environment.

    Raises:
        SimulationError: if it raises.
    """
    try:
        return call()
    except ActEvalError:
        raise
    except Exception as error:  # user code may raise anything
        message = f"the environment failed while observations were collected: {type(error).__name__}: {error}"
        raise SimulationError(message) from error


def _command(executor: Executor, step: int, observation: Observation) -> FloatArray:
    actions = executor.act(np.array([step]), observation)
    if actions.errors:
        raise UsageError(f"the policy failed at step {step} while observations were collected: {actions.errors[0]}")
    return actions.command[0].copy()
