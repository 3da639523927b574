"""What a sweep must know of its policies and environments before the first episode."""

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

from act_eval.cli.benches import CheckpointSource
from act_eval.cli.environments import EnvFacts, EnvSource, env_facts
from act_eval.errors import LaunchError
from act_eval.types import PolicySpec


@dataclass(frozen=True, kw_only=True)
class PolicyFacts:
    """What a policy says of itself, and how it is run."""

    spec: PolicySpec
    run: Mapping[str, Any]
    """For a run's configuration."""
    numeric: Mapping[str, str]
    """For a run's fingerprint."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Facts by name."""

    policies: Mapping[str, PolicyFacts]
    envs: Mapping[str, EnvFacts]


def survey(policies: Mapping[str, CheckpointSource], envs: Mapping[str, EnvSource], apart: bool) -> Survey:
    """Return the facts of policies and environments, each built once.

    Args:
        policies: Name → source.
        envs: Name → source.
        apart: Whether another process does it, so that this one needs neither torch nor MuJoCo.

    Raises:
        LaunchError: if that process died.
        ActEvalError: what loading a policy or making an environment raised on purpose.
    """
    if not apart:
        return _look(policies, envs)
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(_look, policies, envs).result()
    except BrokenProcessPool as error:
        raise LaunchError(f"the process that loads {', '.join([*policies, *envs])} was killed") from error


def _look(policies: Mapping[str, CheckpointSource], envs: Mapping[str, EnvSource]) -> Survey:
    return Survey(
        policies={name: _policy_facts(source) for name, source in policies.items()},
        envs={name: _env_facts(source) for name, source in envs.items()},
    )


def _policy_facts(source: CheckpointSource) -> PolicyFacts:
    run = source.run_facts()
    loaded = replace(source, compile="off").load()  # nothing is asked of it here
    return PolicyFacts(spec=loaded.spec, run=run, numeric=source.numeric_facts())


def _env_facts(source: EnvSource) -> EnvFacts:
    env = source.make()
    try:
        return env_facts(env, source.options)
    finally:
        env.close()
