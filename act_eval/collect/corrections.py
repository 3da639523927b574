"""Corrections: a policy acts under delay, and the scripted expert shows what it should have done.

A policy trained on demonstrations alone has never seen the states that it gets itself into, and the prefixes that it
was trained on are the expert's, which already answer to what the observation does not show. Here the simulator is
forked at every request of the policy, and at some steps between two: the commands that are committed run for d steps,
then the expert acts. What is kept is the observation, d, the committed commands and the expert's (DAgger: Ross et al.,
2011, with the expert's labels as windows).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from act_eval.collect.plan import Corrections, LabelPrefix
from act_eval.collect.recording import shown_by
from act_eval.datasets import Episode, Feature, ImageStorage
from act_eval.datasets.layout import (
    CORRECTION,
    CORRECTION_DELAY,
    CORRECTION_LENGTH,
    EPISODE_STEP,
    PAST_KEPT,
    ROLLOUT_SUCCESS,
    correction_features,
)
from act_eval.envs.expert_executor import ExpertLookahead
from act_eval.errors import SimulationError, UsageError
from act_eval.executors import ChunkExecutor, at_rest
from act_eval.rollout import Episode as Rollout
from act_eval.rollout import rollout
from act_eval.scenes.arm import JOINTS
from act_eval.seeding import Stream, stream
from act_eval.sources.environments import EnvSource, check_features
from act_eval.sources.executors import load_executor
from act_eval.sources.policies import Network, PolicySource, policy_source
from act_eval.sources.workers import PolicyWorkerSource
from act_eval.timing import DelayModel, Schedule, describe, extremes
from act_eval.types import (
    ENVIRONMENT_STATE,
    IMAGE_PREFIX,
    LAST_ACTION,
    PAST_ACTIONS,
    STATE,
    SUCCESS,
    Actions,
    BoolArray,
    ExecutorStatistics,
    FloatArray,
    IntArray,
    Observation,
    PolicySpec,
)

UNLABELLED = "unlabelled"
"""Outcome of a rollout without a correction: its first step failed."""


def corrector(
    policy: Any,
    env: EnvSource,
    executor: str | None,
    execution_horizon: int | None,
    delay: DelayModel,
    between: float,
    prefix: LabelPrefix = "own",
) -> tuple[Corrections, "MakeCorrector"]:
    """Return whom the expert corrects, and what builds it in a worker.

    Args:
        policy: what `act_eval.evaluate` takes.
        env: in which it acts.
        executor: its name; `rtc`, or `naive` for a policy without a prefix, if None.
        execution_horizon: s [control steps]; half of the chunk if None.
        delay: of inference; bounded.
        between: share of the steps without a request that are labelled too.
        prefix: whose commands a label begins with.

    Raises:
        ActEvalError: if the policy cannot be loaded.
        TimingError: if the policy cannot run so.
        UsageError: if the delays are unbounded.
    """
    source = policy_source(policy, {}, Network(), usual_rows=1)
    loaded = source.load(ready=False)
    spec = loaded.spec
    name = executor or ("rtc" if spec.takes_prefix else "naive")
    method = load_executor(name).build(execution_horizon or max(1, spec.chunk // 2))
    schedule = Schedule(method=method, delay=delay)
    schedule.check(spec)
    _bounds(schedule)
    facts = source.facts(loaded)
    whom = Corrections(
        policy=str(policy),
        weights=str(facts.identity.get("digest", dict(facts.identity))),  # an openpi server has none
        executor=name,
        execution_horizon=method.execution_horizon,
        delay=describe(delay),
        between=between,
        prefix=prefix,
    )
    return whom, MakeCorrector(policy=source, env=env, schedule=schedule, between=between, prefix=prefix)


@dataclass(frozen=True, kw_only=True)
class MakeCorrector:
    """Builds a `Corrector` in a worker."""

    policy: PolicySource
    env: EnvSource
    schedule: Schedule
    between: float
    prefix: LabelPrefix

    def __call__(self) -> "Corrector":
        worker = PolicyWorkerSource(env=self.env, policy=self.policy, slots=1)()
        executor, facts = worker.executor(self.schedule), worker.facts.policy
        if not isinstance(executor, ChunkExecutor) or facts is None:
            raise UsageError(f"corrections need a shipped executor; {self.schedule.method.name} does not say its plan")
        check_features(facts.spec, worker.envs[0])
        labels = _Labels(worker.envs[0], executor, facts.spec, self.between, self.prefix, worker.facts.env.horizon)
        return Corrector(worker.envs[0], labels, JOINTS if self.env.declared is None else ())


def _bounds(schedule: Schedule) -> tuple[int, int]:
    """Return the shortest and the longest delay [control steps].

    Raises:
        UsageError: if the delays are unbounded.
    """
    low, high = extremes(schedule.delay)
    if high is None:
        raise UsageError("corrections need bounded delays, as in 4 or uniform:0,8")
    return low, high


class Corrector:
    """An environment in which a policy acts and the expert corrects it; a source of attempts for `collect`."""

    def __init__(self, env: Any, labels: "_Labels", joints: Sequence[str]) -> None:
        self.env, self._labels, self._joints = env, labels, joints

    def features(self, images: ImageStorage) -> dict[str, Feature]:
        """Return the features of the data set."""
        return correction_features(shown_by(self.env, self._joints), images, self._labels.window)

    def attempt(self, seed: int) -> tuple[str, Episode | None]:
        """Run one rollout; return its labelled moments, whatever its outcome."""
        (record,) = rollout([self.env], self._labels, [Rollout(0, seed)])
        rows = self._labels.rows
        if not rows:
            return UNLABELLED, None
        vectors = {key: np.stack([row[key] for row in rows]) for key in rows[0] if not key.startswith(IMAGE_PREFIX)}
        vectors[ROLLOUT_SUCCESS] = np.full(len(rows), record.outcome == SUCCESS)
        frames = {key: np.stack([row[key] for row in rows]) for key in rows[0] if key.startswith(IMAGE_PREFIX)}
        return SUCCESS, Episode(seed, vectors, frames)


class _Labels:
    """The policy's executor, of one slot, with the expert's labels of its moments; implements `Executor`."""

    def __init__(
        self, env: Any, executor: ChunkExecutor, spec: PolicySpec, between: float, prefix: LabelPrefix, horizon: int
    ) -> None:
        self._inner, self._spec, self._between, self._prefix = executor, spec, between, prefix
        self._low, self._high = _bounds(executor.schedule)
        self._ahead = ExpertLookahead([env])
        self._horizon = horizon
        # What a network with this chunk and this max_delay learns.
        self.window = spec.chunk + max(self._high, spec.max_delay)
        self.rows: list[dict[str, np.ndarray]] = []

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        rng = stream(seeds[0], Stream.LABELS)
        self._chosen = rng.random(self._horizon + 1) < self._between
        self._delays = rng.integers(self._low, self._high + 1, self._horizon + 1)
        self.rows = []
        self._before: list[FloatArray] = []  # the last commands, at most as many as a label holds
        self._inner.reset(rows, seeds)

    def wants_observation(self, steps_B: IntArray) -> BoolArray:
        chosen_B = np.array([step >= 0 and self._chosen[step] for step in steps_B.tolist()], np.bool_)
        return self._inner.wants_observation(steps_B) | chosen_B

    def act(self, steps_B: IntArray, observation: Observation) -> Actions:
        actions = self._inner.act(steps_B, observation)
        step = int(steps_B[0])
        if not (actions.errors or actions.invalid) and (delay := self._delay(step, actions)) is not None:
            self._label(step, delay, observation)
        self._before = [*self._before, actions.command[0].copy()][-PAST_KEPT:]
        return actions

    def statistics(self, row: int) -> ExecutorStatistics:
        return self._inner.statistics(row)

    def inference_ms(self, row: int) -> tuple[float, ...]:
        return self._inner.inference_ms(row)

    def _delay(self, step: int, actions: Actions) -> int | None:
        """Return the delay of a label at this step: a request's, or a random one between two; None without a label."""
        if asked := actions.predictions.get(0):
            return asked[-1].estimated if self._spec.takes_prefix else asked[-1].actual
        return int(self._delays[step]) if self._chosen[step] else None

    def _label(self, step: int, delay: int, observation: Observation) -> None:
        committed = self._inner.planned(0, delay if self._prefix == "own" else 0)
        try:
            expert = self._ahead.after(0, committed, delay + self._spec.chunk - len(committed))
        except SimulationError:
            return  # the committed commands lead out of the finite numbers: there is nothing to show
        shown = np.concatenate((committed, expert))
        if len(shown) <= delay:
            return
        window = np.zeros((self.window, self._spec.action_dim), np.float32)
        window[: len(shown)] = shown
        before = self._before or [at_rest(observation.agent_pos[0], (self._spec.action_dim,))]
        row = {
            STATE: observation.agent_pos[0].copy(),
            LAST_ACTION: before[-1].copy(),
            PAST_ACTIONS: np.concatenate([before[0]] * (PAST_KEPT - len(before)) + before),
            CORRECTION: window.ravel(),
            CORRECTION_LENGTH: np.int64(len(shown)),
            CORRECTION_DELAY: np.int64(delay),
            EPISODE_STEP: np.int64(step),
        }
        if observation.environment_state is not None:
            row[ENVIRONMENT_STATE] = observation.environment_state[0].copy()
        self.rows.append(row | {IMAGE_PREFIX + name: images[0].copy() for name, images in observation.pixels.items()})
