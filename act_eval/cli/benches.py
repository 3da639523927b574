"""Picklable builders of what a worker needs: environments, and a policy behind an executor per arm.

Everything heavy is imported when a worker builds its bench, in that worker.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act_eval.errors import FeatureMismatch, UsageError
from act_eval.timing import Schedule
from act_eval.types import ENVIRONMENT_STATE, IMAGE_PREFIX, STATE, ChunkPolicy, Executor, PolicySpec

if TYPE_CHECKING:
    import gymnasium as gym


@dataclass(frozen=True, kw_only=True)
class EnvSource:
    """An environment by its Gymnasium id and options."""

    env_id: str
    options: Mapping[str, Any]

    def make(self) -> "gym.Env[Any, Any]":
        """Return a new environment.

        Raises:
            UsageError: if it does not take the options.
        """
        import gymnasium as gym

        import act_eval.envs  # noqa: F401  # registers our environments

        try:
            # The checker warns about what our own tests verify, and costs time in every step.
            return gym.make(self.env_id, disable_env_checker=True, **self.options)
        except TypeError as error:
            raise UsageError(f"{self.env_id} does not take the options {dict(self.options)}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class CheckpointSource:
    """A policy by its checkpoint folder, and how it is run."""

    folder: Path
    device: str
    compile: str
    """Mode for `act_eval.policies.compile`, resolved (never `auto`)."""
    rows_per_call: int = 8
    """Rows of every network call, filled up where fewer are due."""
    threads: int = 1
    """Threads of each process for the network's arithmetic."""

    def load(self) -> ChunkPolicy:
        """Load the policy into this process."""
        import torch

        from act_eval.policies.checkpoint import load_pretrained
        from act_eval.policies.compile import compile_policy
        from act_eval.policies.serve import TorchChunkPolicy

        torch.set_num_threads(self.threads)
        policy, processor = load_pretrained(self.folder, self.device)
        compile_policy(policy, self.compile, self.device)
        return TorchChunkPolicy(policy, processor, self.device, self.rows_per_call)


@dataclass(frozen=True, kw_only=True)
class PolicyBenchSource:
    """Builds a `PolicyBench` in a worker."""

    env: EnvSource
    policy: CheckpointSource
    schedules: Mapping[str, Schedule]
    slots: int

    def __call__(self) -> "PolicyBench":
        return PolicyBench([self.env.make() for _ in range(self.slots)], self.policy.load(), self.schedules)


class PolicyBench:
    """Environments and a policy; each arm runs it under its own schedule."""

    def __init__(
        self, envs: "Sequence[gym.Env[Any, Any]]", policy: ChunkPolicy, schedules: Mapping[str, Schedule]
    ) -> None:
        self.envs = envs
        self._policy = policy
        self._schedules = schedules

    def executor(self, arm: str) -> Executor:
        """Return a fresh executor for an arm."""
        from act_eval.executors import ChunkExecutor
        from act_eval.rollout import hold_of

        return ChunkExecutor(self._policy, self._schedules[arm], hold_of(self.envs))

    def close(self) -> None:
        """Close the environments."""
        for env in self.envs:
            env.close()


@dataclass(frozen=True, kw_only=True)
class ExpertBenchSource:
    """Builds an `ExpertBench` in a worker."""

    env: EnvSource
    slots: int

    def __call__(self) -> "ExpertBench":
        return ExpertBench([self.env.make() for _ in range(self.slots)])


class ExpertBench:
    """Environments and their scripted expert; it has a single arm."""

    def __init__(self, envs: "Sequence[gym.Env[Any, Any]]") -> None:
        self.envs = envs

    def executor(self, arm: str) -> Executor:
        """Return a fresh executor."""
        from act_eval.envs.expert_executor import ExpertExecutor

        return ExpertExecutor(self.envs)

    def close(self) -> None:
        """Close the environments."""
        for env in self.envs:
            env.close()


def check_features(spec: PolicySpec, env: "gym.Env[Any, Any]") -> None:
    """Refuse a policy whose inputs or actions are not the environment's.

    Raises:
        FeatureMismatch: naming every field that does not fit, with both shapes.
    """
    offered = _offered(env)
    problems = [
        f"{name}: the policy was made for {shape}, the environment gives {offered.get(name, 'nothing of that name')}"
        for name, shape in spec.inputs.items()
        if offered.get(name) != shape
    ]
    action = env.action_space.shape
    if action != (spec.action_dim,):
        problems.append(f"action: the policy gives ({spec.action_dim},), the environment takes {action}")
    if problems:
        raise FeatureMismatch("policy and environment do not fit:\n  " + "\n  ".join(problems))


def _offered(env: "gym.Env[Any, Any]") -> dict[str, tuple[int, ...]]:
    """Shapes of what the environment shows, under the policies' names."""
    from gymnasium import spaces

    space = env.observation_space
    if not isinstance(space, spaces.Dict):
        return {}
    names = {"agent_pos": STATE, "environment_state": ENVIRONMENT_STATE}
    offered = {names[key]: tuple(space[key].shape or ()) for key in names if key in space.spaces}
    pixels = space.spaces.get("pixels")
    cameras = pixels.spaces if isinstance(pixels, spaces.Dict) else {}
    return offered | {IMAGE_PREFIX + name: tuple(box.shape or ()) for name, box in cameras.items()}
