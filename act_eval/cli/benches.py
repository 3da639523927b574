"""Picklable builders of what a worker needs: environments, and a policy behind an executor per arm.

Everything heavy is imported when a worker builds its bench, in that worker. What a run's plan must know of them
travels back as `BenchFacts`, so that the planning process needs neither torch nor MuJoCo.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act_eval.errors import FeatureMismatch, UsageError
from act_eval.timing import ExpertPrefix, Schedule
from act_eval.types import ENVIRONMENT_STATE, IMAGE_PREFIX, STATE, ChunkPolicy, Executor, PolicySpec

if TYPE_CHECKING:
    import gymnasium as gym

    from act_eval.executors import Foresee

    Envs = Sequence[gym.Env[Any, Any]]


@dataclass(frozen=True, kw_only=True)
class EnvFacts:
    """What an environment says of itself."""

    options: Mapping[str, Any]
    """Options as the environment resolved them, so that a default that is spelt out is the same suite."""
    horizon: int
    control_ms: float
    """Δt, length of a control step [ms]."""
    suite: Mapping[str, Any]
    """What must be equal for runs to be paired, beside options and horizon."""
    renderer: str
    renders_states: bool
    """Whether logged states can be rendered again, which videos need."""
    offered: Mapping[str, tuple[int, ...]]
    """Shapes of what the environment shows, under the policies' names."""
    action: tuple[int, ...]
    foreseen: bool = False
    """Whether the scripted expert's next commands can be found out, which prefix `expert` needs."""


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


def env_facts(env: "gym.Env[Any, Any]", options: Mapping[str, Any]) -> EnvFacts:
    """Return what an environment says of itself.

    Raises:
        UsageError: if its episodes would never end.
    """
    base: Any = env.unwrapped
    horizon = env.spec.max_episode_steps if env.spec is not None else None
    if horizon is None:
        raise UsageError(f"{env.spec} is registered without max_episode_steps: its episodes would never end")
    suite = dict(base.suite_facts()) if hasattr(base, "suite_facts") else {}
    return EnvFacts(
        options=suite.pop("options", dict(options)),
        horizon=horizon,
        control_ms=1000 / env.metadata["render_fps"],
        suite=suite,
        renderer=base.renderer_name() if hasattr(base, "renderer_name") else "unknown",
        renders_states=hasattr(base, "render_state"),
        offered=_offered(env),
        action=tuple(env.action_space.shape or ()),
        foreseen=hasattr(base, "privileged") and hasattr(base, "fork"),
    )


def check_features(spec: PolicySpec, env: "gym.Env[Any, Any] | EnvFacts") -> None:
    """Refuse a policy whose inputs or actions are not the environment's.

    Raises:
        FeatureMismatch: naming every field that does not fit, with both shapes.
    """
    facts = env if isinstance(env, EnvFacts) else env_facts(env, {})
    problems = [
        f"{name}: the policy was made for {shape}, the environment gives {facts.offered.get(name, 'no such thing')}"
        for name, shape in spec.inputs.items()
        if facts.offered.get(name) != shape
    ]
    if facts.action != (spec.action_dim,):
        problems.append(f"action: the policy gives ({spec.action_dim},), the environment takes {facts.action}")
    if problems:
        raise FeatureMismatch("policy and environment do not fit:\n  " + "\n  ".join(problems))


def _offered(env: "gym.Env[Any, Any]") -> dict[str, tuple[int, ...]]:
    from gymnasium import spaces

    space = env.observation_space
    if not isinstance(space, spaces.Dict):
        return {}
    names = {"agent_pos": STATE, "environment_state": ENVIRONMENT_STATE}
    offered = {names[key]: tuple(space[key].shape or ()) for key in names if key in space.spaces}
    pixels = space.spaces.get("pixels")
    cameras = pixels.spaces if isinstance(pixels, spaces.Dict) else {}
    return offered | {IMAGE_PREFIX + name: tuple(box.shape or ()) for name, box in cameras.items()}
