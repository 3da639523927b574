"""Picklable builders of what a worker needs: environments, and a policy behind an executor per condition.

Everything heavy is imported when a worker builds its bench, in that worker. What a run's plan must know of them
travels back as `WorkerFacts`, so that the planning process needs neither torch nor MuJoCo.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from act_eval.errors import UsageError
from act_eval.sources.environments import EnvFacts, EnvSource
from act_eval.sources.policy_sources import PolicySource
from act_eval.timing import ExpertPrefix, Schedule
from act_eval.types import ChunkPolicy, Executor, PolicySpec
from act_eval.types.env_hooks import hooks_of

if TYPE_CHECKING:
    import gymnasium as gym

    from act_eval.executors import Foresee

    Envs = Sequence[gym.Env[Any, Any]]


@dataclass(frozen=True, kw_only=True)
class WorkerFacts:
    """What a run's plan must know of a bench."""

    env: EnvFacts
    policy: PolicySpec | None = None
    """None where there is no chunk policy."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """How the network runs, for a run's configuration: device, precision, compile mode, rows of a call."""
    numeric: Mapping[str, str] = field(default_factory=dict)
    """What its numbers may depend on, for a run's fingerprint."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    """What the policy is, for a run's manifest."""
    remarks: tuple[str, ...] = ()
    """Lines about the policy, for the screen."""
    warnings: tuple[str, ...] = ()
    """Warnings about the policy's inputs and the rate of its training data."""


def rate_warnings(rates: Mapping[str, float], chunk: int, env: str, control_hz: float) -> tuple[str, ...]:
    """Return a line for each rate of training data that is not that of the environment's control steps.

    Args:
        rates: data set, for messages → frames per second.
        chunk: actions of a chunk.
        env: the environment, for messages.
        control_hz: its control steps per second.
    """
    return tuple(
        f"warning: {data} has {hz:g} frames per second, {env} {control_hz:g} control steps: a chunk of {chunk} actions "
        f"lasts {chunk / hz:g} s in the data and is run over {chunk / control_hz:g} s"
        for data, hz in rates.items()
        if not math.isclose(hz, control_hz, rel_tol=1e-3)
    )


@dataclass(frozen=True, kw_only=True)
class PolicyWorkerSource:
    """Builds a `PolicyWorker` in a worker."""

    env: EnvSource
    policy: PolicySource
    slots: int
    mask_images: bool = False
    """Show the policy grey in place of every camera's images."""
    probe: bool = False
    """Whether facts hold warnings about inputs that move nothing."""
    call_timeout_s: float | None = None
    """Time that a call of the policy or of an environment may take [s]; None: any."""

    def __call__(self) -> "PolicyWorker":
        from act_eval.diagnostics import MaskedImages

        policy = self.policy.load()
        envs = [self.env.make() for _ in range(self.slots)]
        about = self.policy.facts(policy)
        env = self.env.facts(envs[0])
        rates = {f"the training data of {self.policy.label}": hz for hz in about.trained_hz}
        facts = WorkerFacts(
            env=env,
            policy=about.spec,
            run=about.run,
            numeric=about.numeric,
            identity=about.identity,
            remarks=about.remarks,
            warnings=rate_warnings(rates, about.spec.chunk, self.env.label, 1000 / env.control_ms),
        )
        seeing = MaskedImages(policy) if self.mask_images else policy
        if self.call_timeout_s is not None:
            from act_eval.rollout.timeouts import PolicyTimeout

            seeing = PolicyTimeout(seeing, self.call_timeout_s)
        return PolicyWorker(with_timeout(envs, self.call_timeout_s), seeing, facts, self.env if self.probe else None)


class PolicyWorker:
    """Environments and a policy; each condition runs it under its own schedule."""

    def __init__(self, envs: "Envs", policy: ChunkPolicy, facts: WorkerFacts, probed: EnvSource | None = None) -> None:
        self.envs = envs
        self._facts = facts
        self._policy = policy
        self._probed = probed

    @cached_property
    def facts(self) -> WorkerFacts:
        """With warnings about the policy's inputs where that was asked for: finding them takes a few seconds."""
        if self._probed is None:
            return self._facts
        from act_eval.diagnostics.input_check import input_warnings

        env = self._probed.for_probe().make()
        try:
            return replace(self._facts, warnings=(*self._facts.warnings, *input_warnings(self._policy, env)))
        finally:
            env.close()

    def executor(self, schedule: Schedule | None) -> Executor:
        """Return a fresh executor."""
        from act_eval.executors import make_executor
        from act_eval.rollout import hold_of

        assert schedule is not None
        return make_executor(
            self._policy,
            schedule,
            hold_of(self.envs),
            self._facts.env.control_ms,
            self._foresight(schedule),
            hooks_of(self.envs[0]).gripper_dims,
        )

    def _foresight(self, schedule: Schedule) -> "Foresee | None":
        if not isinstance(schedule.ablation.prefix, ExpertPrefix):
            return None
        from act_eval.envs.expert_lookahead import ExpertLookahead

        return ExpertLookahead(self.envs)

    def close(self) -> None:
        """Close the environments, and the line to a policy that is elsewhere."""
        for env in self.envs:
            env.close()
        if hasattr(self._policy, "close"):
            self._policy.close()  # pyright: ignore[reportAttributeAccessIssue]  # an ability that some have


@dataclass(frozen=True, kw_only=True)
class ExpertWorkerSource:
    """Builds an `ExpertWorker` in a worker."""

    env: EnvSource
    slots: int
    call_timeout_s: float | None = None
    """As in `PolicyWorkerSource`."""

    def __call__(self) -> "ExpertWorker":
        envs = [self.env.make() for _ in range(self.slots)]
        if hooks_of(envs[0]).privileged is None:
            raise UsageError(f"{self.env.env_id} offers no privileged state, which the scripted expert needs")
        return ExpertWorker(with_timeout(envs, self.call_timeout_s), WorkerFacts(env=self.env.facts(envs[0])))


def with_timeout(envs: "Envs", limit_s: float | None) -> "Envs":
    """Return the environments with a limit on how long a call may take."""
    if limit_s is None:
        return envs
    from act_eval.rollout.timeouts import EnvTimeout

    return [EnvTimeout(env, limit_s) for env in envs]


class ExpertWorker:
    """Environments and their scripted expert."""

    def __init__(self, envs: "Envs", facts: WorkerFacts) -> None:
        self.envs = envs
        self.facts = facts

    def executor(self, schedule: Schedule | None) -> Executor:
        """Return a fresh executor."""
        from act_eval.envs.expert_executor import ExpertExecutor

        return ExpertExecutor(self.envs)

    def close(self) -> None:
        """Close the environments."""
        for env in self.envs:
            env.close()
