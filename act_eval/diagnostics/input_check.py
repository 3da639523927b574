"""The input check: observations are collected in an environment, then the policy is probed on them."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym

from act_eval.decoding import read_json
from act_eval.diagnostics.input_probe import ProbeReport, probe
from act_eval.diagnostics.observation_set import collect_observations
from act_eval.errors import ActEvalError, RunFolderError
from act_eval.executors import ChunkExecutor
from act_eval.results.machine import machine, user_cache
from act_eval.results.records import write_atomically
from act_eval.rollout import hold_of
from act_eval.seeding import Purpose, episode_seeds
from act_eval.timing import Constant, Schedule, Sync
from act_eval.types import ENVIRONMENT_STATE, ChunkPolicy, Executor
from act_eval.types.env_hooks import hooks_of

Env = gym.Env[Any, Any]
SHORT_EPISODES, SHORT_PER_EPISODE, EVERY = 4, 4, 3
LONGEST_S = 15.0
"""Longest time of the predictions of the short form [s]."""
_SOURCES = Path(__file__).parents[1]


def check_inputs(
    policy: ChunkPolicy,
    env: Env,
    seeds: Sequence[int],
    *,
    expert: Callable[[Env], Executor] | None = None,
    per_episode: int,
    every: int = EVERY,
    short: bool = False,
) -> ProbeReport:
    """Collect observations in an environment and probe a policy on them.

    Args:
        policy: any chunk policy whose inputs the environment gives.
        env: is reset and steps; it stays open.
        seeds: one per episode, at least two.
        expert: makes the executor that acts while observations are collected; the policy itself acts by default.
        per_episode: observations of each episode, from its beginning.
        every: control steps between two observations.
        short: only what the verdicts rest on.

    Raises:
        UsageError: if a number is too small, or the policy fails while observations are collected.
    """
    executor = _half_chunks(policy, env) if expert is None else expert(env)
    bank = collect_observations(env, executor, seeds, per_episode, every, policy.spec)
    return probe(policy, bank, hooks_of(env), short=short)


def input_warnings(policy: ChunkPolicy, env: Env, facts: object = None) -> tuple[str, ...]:
    """Return the warnings of the short form: inputs that are ignored, and goal coordinates that decide little.

    The observations are those that the policy itself meets; that takes a few seconds. A policy that would need longer
    is not probed. It can be evaluated, and so can one that cannot be probed; both are a warning.

    Args:
        policy: any chunk policy.
        env: an environment of its own.
        facts: all that policy and environment depend on, if that is known, with a `repr` that tells it; the verdicts
            are kept in the user's cache, and found there by the next run with equal facts, machine and sources.
    """
    known = None if facts is None else _place(facts)
    if known is not None:
        with suppress(RunFolderError):  # there are none, or the file is damaged
            return read_json(known, tuple[str, ...])
    try:
        seeds = episode_seeds(Purpose.PROBE, 0, SHORT_EPISODES)
        each_s, all_s = _expected_s(policy, env, seeds[:1])
        if all_s > LONGEST_S:
            return (
                f"warning: the inputs were not probed: a prediction takes {each_s:.1f} s, the check would take about "
                f"{all_s:.0f} s; `act-eval probe` takes that time",
            )
        report = check_inputs(policy, env, seeds, per_episode=SHORT_PER_EPISODE, short=True)
    except ActEvalError as error:
        return (f"warning: the inputs could not be probed: {error}",)
    accused = [v for v in report.verdicts if v.mode == "ignored" or (v.mode == "weak" and v.input == ENVIRONMENT_STATE)]
    warnings = tuple(f"warning: input {verdict.line}" for verdict in accused)
    if known is not None:
        with suppress(OSError):  # then the next run makes the check again
            known.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(known, json.dumps(warnings).encode())
    return warnings


def _place(facts: object) -> Path:
    """Return the file of the verdicts on a policy in an environment, named after all that they depend on."""
    content = hashlib.sha256(repr((facts, machine())).encode())
    # Some of the folders may be links, which `**` does not follow everywhere.
    sources = {path.resolve() for pattern in ("*.py", "*/**/*.py") for path in _SOURCES.glob(pattern)}
    for path in sorted(sources):
        content.update(path.read_bytes())
    return user_cache() / "input_checks" / f"{content.hexdigest()[:24]}.json"


def _half_chunks(policy: ChunkPolicy, env: Env) -> ChunkExecutor:
    """Return the executor with which a policy collects its own observations."""
    schedule = Schedule(method=Sync(max(1, policy.spec.chunk // 2)), delay=Constant(0))
    return ChunkExecutor(policy, schedule, hold_of([env]))


def _expected_s(policy: ChunkPolicy, env: Env, seeds: Sequence[int]) -> tuple[float, float]:
    """Return the time of one prediction, the first one aside, and the expected one of the short form's [s]."""
    executor = _half_chunks(policy, env)
    for _ in range(2):
        collect_observations(env, executor, seeds, per_episode=1, spec=policy.spec)
    each_s = executor.inference_ms(0)[-1] / 1000
    steps = (SHORT_PER_EPISODE - 1) * EVERY + 1
    collecting = SHORT_EPISODES * -(-steps // executor.schedule.method.execution_horizon)
    # Intact, repeated, all exchanged, the other block's, each input; all observations take as long as two predictions.
    return each_s, each_s * (collecting + 2 * (4 + len(policy.spec.inputs)))
