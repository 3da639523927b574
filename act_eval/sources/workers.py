"""Picklable builders of what a worker needs: environments, and a policy behind an executor per condition.

Everything heavy is imported when a worker is built, in its process. What a run's plan must know of them
travels back as `WorkerFacts`, so that the planning process needs neither torch nor MuJoCo.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from act_eval.errors import UsageError
from act_eval.perturbations.base import Perturbations
from act_eval.seeding import Purpose, episode_seeds
from act_eval.sources.environments import EnvFacts, EnvSource
from act_eval.sources.lerobot import LeRobotSource
from act_eval.sources.network_sources import CheckpointSource, PolicyFacts, PolicySource
from act_eval.sources.perturbations import AskedPerturbation
from act_eval.sources.policy_sources import FactorySource, ObjectSource, ServerSource
from act_eval.timing import ExpertPrefix, Schedule
from act_eval.types import ChunkPolicy, Executor
from act_eval.types.env_hooks import hooks_of
from act_eval.user_code import user_code

if TYPE_CHECKING:
    import gymnasium as gym

    from act_eval.executors import Foresee

    Envs = Sequence[gym.Env[Any, Any]]


PURITY_EPISODES = 10
"""Episodes in which the effect of a perturbation is looked for."""


@dataclass(frozen=True, kw_only=True)
class WorkerFacts:
    """What a run's plan must know of a worker."""

    env: EnvFacts
    policy: PolicyFacts | None = None
    """None where there is no chunk policy."""
    perturbations: tuple["CheckedPerturbation", ...] = ()
    """Those that the environment offers, as checked."""
    perturbations_left_out: tuple[str, ...] = ()
    """Optional ones that it does not offer, or that change nothing here, with the reason."""
    warnings: tuple[str, ...] = ()
    """About the policy and its inputs, and the environment's starts."""


@dataclass(frozen=True, kw_only=True)
class CheckedPerturbation:
    """The perturbations of a condition, and what they change."""

    parts: Perturbations
    purity: Mapping[str, Any]
    """See `act_eval.perturbations.purity.Purity`."""


def checked_perturbations(
    asked: Sequence[AskedPerturbation], env: "gym.Env[Any, Any]", label: str, inputs: Collection[str]
) -> "tuple[tuple[CheckedPerturbation, ...], tuple[str, ...]]":
    """Return the perturbations that run, as checked in an environment, and the optional ones that do not.

    Args:
        asked: the requested ones.
        env: an environment, which is reset.
        label: its name, for messages.
        inputs: names of the policy's declared inputs; none for the scripted expert.

    Raises:
        UsageError: for a requested one that the environment does not offer, or that does not change what it declares.
    """
    if not asked:
        return (), ()
    from act_eval.perturbations.purity import PurityCheck

    check = PurityCheck(env, label, inputs, episode_seeds(Purpose.PROBE, 0, PURITY_EPISODES))
    found, left_out = list[CheckedPerturbation](), list[str]()
    for one in asked:
        try:
            found.append(CheckedPerturbation(parts=one.parts, purity=check.check(one.parts).to_json()))
        except UsageError as error:
            if not one.optional:
                raise
            left_out.append(str(error))
    return tuple(found), tuple(left_out)


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
    perturbations: tuple[AskedPerturbation, ...] = ()
    """Requested perturbations, which facts hold as checked."""
    call_timeout_s: float | None = None
    """Time that a call of the policy or of an environment may take [s]; None: any."""

    def __call__(self) -> "PolicyWorker":
        from act_eval.diagnostics import MaskedImages

        policy = self.policy.load()
        envs = [self.env.make() for _ in range(self.slots)]
        facts = WorkerFacts(env=self.env.facts(envs[0]), policy=self.policy.facts(policy))
        seeing = MaskedImages(policy) if self.mask_images else policy
        if self.call_timeout_s is not None:
            from act_eval.rollout.timeouts import PolicyTimeout

            seeing = PolicyTimeout(seeing, self.call_timeout_s)
        envs = with_timeout(envs, self.call_timeout_s)
        complete = partial(self._completed, policy, seeing, facts, envs)
        return PolicyWorker(envs, seeing, facts, complete, partial(self._check, seeing, facts))

    def _completed(self, policy: ChunkPolicy, seeing: ChunkPolicy, facts: WorkerFacts, envs: "Envs") -> WorkerFacts:
        """Return the facts with perturbations as checked and warnings, which take seconds."""
        found, left_out = checked_perturbations(self.perturbations, envs[0], self.env.label, policy.spec.inputs)
        warnings = self._warnings(policy, seeing, facts, envs)
        return replace(facts, perturbations=found, perturbations_left_out=left_out, warnings=warnings)

    def _warnings(self, policy: ChunkPolicy, seeing: ChunkPolicy, facts: WorkerFacts, envs: "Envs") -> tuple[str, ...]:
        """Return the warnings about environment and policy; the dry runs may refuse them."""
        from act_eval.sources.dry_run import answer_warnings, start_warnings

        assert facts.policy is not None
        rates = {f"the training data of {self.policy.label}": hz for hz in facts.policy.trained_hz}
        warnings = rate_warnings(rates, facts.policy.spec.chunk, self.env.label, 1000 / facts.env.control_ms)
        if facts.policy.run.get("precision") == "bf16":
            from act_eval.policies.precision import EMULATED, has_bf16

            warnings += () if has_bf16(facts.policy.run["device"]) else (f"warning: {EMULATED}",)
        if self.env.declared is not None:
            warnings += start_warnings(envs[0], self.env.label)
        if isinstance(self.policy, FactorySource | LeRobotSource | ObjectSource | ServerSource):
            bare = getattr(policy, "first", policy)  # a user's policy behind SimpleChunkPolicy
            warnings += () if getattr(bare, "samples", False) else answer_warnings(seeing, envs[0], self.policy.label)
        return warnings

    def _check(self, policy: ChunkPolicy, facts: WorkerFacts) -> tuple[str, ...]:
        """Return the warnings of the input check of the policy, as wrapped for the run."""
        from act_eval.diagnostics.input_check import input_warnings

        env = self.env.for_probe().make()
        # What a checkpoint's files and act_eval's own environments do is known; what other code does is not.
        is_ours = self.env.declared is None and self.env.given is None and self.env.place is None
        is_known = is_ours and isinstance(self.policy, CheckpointSource)
        try:
            with user_code(f"{self.policy.label} raised"):
                return input_warnings(policy, env, facts if is_known else None)
        except UsageError as error:
            return (f"warning: the inputs could not be probed: {error}",)
        finally:
            env.close()


class PolicyWorker:
    """Environments and a policy; each condition runs it under its own schedule."""

    def __init__(
        self,
        envs: "Envs",
        policy: ChunkPolicy,
        facts: WorkerFacts,
        complete: Callable[[], WorkerFacts],
        check: Callable[[], tuple[str, ...]],
    ) -> None:
        self.envs, self.check = envs, check
        self._policy, self._facts, self._complete = policy, facts, complete

    @cached_property
    def facts(self) -> WorkerFacts:
        """With perturbations as checked, and warnings of dry runs."""
        return self._complete()

    def executor(self, schedule: Schedule | None) -> Executor:
        """Return a fresh executor."""
        from act_eval.executors import make_executor
        from act_eval.rollout import hold_of

        assert schedule is not None
        env, foresee = self._facts.env, self._foresight(schedule)
        return make_executor(self._policy, schedule, hold_of(self.envs), env.control_ms, foresee, env.gripper_dims)

    def _foresight(self, schedule: Schedule) -> "Foresee | None":
        if not isinstance(schedule.ablation.prefix, ExpertPrefix):
            return None
        from act_eval.envs.expert_executor import ExpertLookahead

        return ExpertLookahead(self.envs)

    def close(self) -> None:
        """Close the environments, and the connection to a policy that is elsewhere."""
        for one in (*self.envs, self._policy):
            if hasattr(one, "close"):
                one.close()  # pyright: ignore[reportAttributeAccessIssue]  # an ability that some policies have


@dataclass(frozen=True, kw_only=True)
class ExpertWorkerSource:
    """Builds an `ExpertWorker` in a worker."""

    env: EnvSource
    slots: int
    perturbations: tuple[AskedPerturbation, ...] = ()
    """As in `PolicyWorkerSource`."""
    call_timeout_s: float | None = None
    """As in `PolicyWorkerSource`."""

    def __call__(self) -> "ExpertWorker":
        envs = [self.env.make() for _ in range(self.slots)]
        if hooks_of(envs[0]).expert_action is None:
            raise UsageError(f"{self.env.env_id} has no scripted expert: it lacks the hook expert_action")
        found, left_out = checked_perturbations(self.perturbations, envs[0], self.env.label, ())
        facts = WorkerFacts(env=self.env.facts(envs[0]), perturbations=found, perturbations_left_out=left_out)
        return ExpertWorker(with_timeout(envs, self.call_timeout_s), facts)


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

    def check(self) -> tuple[str, ...]:
        """Return nothing: the expert reads the simulator's state."""
        return ()

    def executor(self, schedule: Schedule | None) -> Executor:
        """Return a fresh executor."""
        from act_eval.envs.expert_executor import ExpertExecutor

        return ExpertExecutor(self.envs)

    def close(self) -> None:
        """Close the environments."""
        for env in self.envs:
            env.close()
