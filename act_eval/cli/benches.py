"""Picklable builders of what a worker needs: environments, and a policy behind an executor per arm.

Everything heavy is imported when a worker builds its bench, in that worker. What a run's plan must know of them
travels back as `BenchFacts`, so that the planning process needs neither torch nor MuJoCo.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act_eval.cli.environments import EnvFacts, EnvSource, env_facts
from act_eval.errors import UsageError
from act_eval.timing import ExpertPrefix, Schedule
from act_eval.types import ChunkPolicy, Executor, PolicySpec

if TYPE_CHECKING:
    import gymnasium as gym

    from act_eval.executors import Foresee

    Envs = Sequence[gym.Env[Any, Any]]


@dataclass(frozen=True, kw_only=True)
class BenchFacts:
    """What a run's plan must know of a bench."""

    env: EnvFacts
    policy: PolicySpec | None = None
    """None where there is no chunk policy."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """How the network runs, for a run's configuration: device, precision, compile mode, rows of a call."""
    numeric: Mapping[str, str] = field(default_factory=dict)
    """What its numbers may depend on, for a run's fingerprint."""
    warnings: tuple[str, ...] = ()
    """What whoever starts a run should know of the policy's inputs."""


@dataclass(frozen=True, kw_only=True)
class CheckpointSource:
    """A policy by its checkpoint folder, and how it is run."""

    folder: Path
    device: str = "cpu"
    """A torch device, or `auto`: CUDA where there is one."""
    compile: str = "off"
    """Mode for `act_eval.policies.compile`."""
    rows_per_call: int = 8
    """Rows of every network call, filled up where fewer are due."""
    threads: int = 1
    """Threads of each process for the network's arithmetic."""
    blind: bool = False
    """Show it grey in place of every camera's images."""

    def load(self) -> ChunkPolicy:
        """Load the policy into this process."""
        import torch

        from act_eval.policies.checkpoint import load_pretrained
        from act_eval.policies.compile import compile_policy
        from act_eval.policies.serve import TorchChunkPolicy
        from act_eval.probes import Blinded

        torch.set_num_threads(self.threads)
        device = resolve_device(self.device)
        policy, processor = load_pretrained(self.folder, device)
        compile_policy(policy, self.compile, device)
        served = TorchChunkPolicy(policy, processor, device, self.rows_per_call)
        return Blinded(served) if self.blind else served

    def run_facts(self) -> dict[str, Any]:
        """Return how the network runs, with what `auto` means here."""
        from act_eval.policies.compile import resolve_mode

        device = resolve_device(self.device)
        return {
            "device": device,
            "precision": "float32",
            "compile": resolve_mode(self.compile, device),
            "rows_per_call": self.rows_per_call,
        }

    def numeric_facts(self) -> dict[str, str]:
        """Return what the network's numbers may depend on: the instruction set, and the GPU where one is used."""
        import torch

        device = torch.device(resolve_device(self.device))
        gpu = {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
        return {"cpu_capability": torch.backends.cpu.get_cpu_capability(), **gpu}


@dataclass(frozen=True, kw_only=True)
class PolicyBenchSource:
    """Builds a `PolicyBench` in a worker."""

    env: EnvSource
    policy: CheckpointSource
    slots: int
    probe: bool = False
    """Whether facts hold warnings about inputs that move nothing."""

    def __call__(self) -> "PolicyBench":
        policy = self.policy.load()
        envs = [self.env.make() for _ in range(self.slots)]
        facts = BenchFacts(
            env=env_facts(envs[0], self.env.options),
            policy=policy.spec,
            run=self.policy.run_facts(),
            numeric=self.policy.numeric_facts(),
        )
        return PolicyBench(envs, policy, facts, self.env if self.probe else None)


class PolicyBench:
    """Environments and a policy; each arm runs it under its own schedule."""

    def __init__(self, envs: "Envs", policy: ChunkPolicy, facts: BenchFacts, probed: EnvSource | None = None) -> None:
        self.envs = envs
        self._facts = facts
        self._policy = policy
        self._probed = probed

    @cached_property
    def facts(self) -> BenchFacts:
        """With warnings about the policy's inputs where that was asked for: finding them takes a few seconds."""
        if self._probed is None:
            return self._facts
        from act_eval.cli.probing import input_warnings

        return replace(self._facts, warnings=input_warnings(self._policy, self._probed))

    def executor(self, schedule: Schedule | None) -> Executor:
        """Return a fresh executor."""
        from act_eval.executors import ChunkExecutor
        from act_eval.rollout import hold_of

        assert schedule is not None
        return ChunkExecutor(
            self._policy, schedule, hold_of(self.envs), self._facts.env.control_ms, self._foresight(schedule)
        )

    def _foresight(self, schedule: Schedule) -> "Foresee | None":
        if not isinstance(schedule.shown.prefix, ExpertPrefix):
            return None
        from act_eval.envs.foresight import ExpertForesight

        return ExpertForesight(self.envs)

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
        envs = [self.env.make() for _ in range(self.slots)]
        if not hasattr(envs[0].unwrapped, "privileged"):
            raise UsageError(f"{self.env.env_id} offers no privileged state, which the scripted expert needs")
        return ExpertBench(envs, BenchFacts(env=env_facts(envs[0], self.env.options)))


class ExpertBench:
    """Environments and their scripted expert."""

    def __init__(self, envs: "Envs", facts: BenchFacts) -> None:
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


def check_network(compile_mode: str, device: str) -> None:
    """Refuse what torch does not know, before anything is loaded.

    Raises:
        UsageError: naming the device or the compile mode, and what there is.
    """
    if device not in ("auto", "cpu"):
        resolve_device(device)
    if compile_mode not in ("auto", "off"):
        from act_eval.policies.compile import resolve_mode

        resolve_mode(compile_mode, "cpu")


def resolve_device(name: str) -> str:
    """Return the torch device that `name` means here.

    Raises:
        UsageError: if torch does not know or cannot reach it.
    """
    import torch

    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:  # torch's words for a name it does not know or cannot reach
        raise UsageError(f"--device {name}: {str(error).splitlines()[0]}") from error
    return chosen
