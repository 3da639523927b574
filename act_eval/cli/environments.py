"""Which environment a run is about: how a worker makes it, and what a run's plan must know of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from act_eval.errors import FeatureMismatch, UsageError
from act_eval.types import ENVIRONMENT_STATE, IMAGE_PREFIX, STATE, PolicySpec

if TYPE_CHECKING:
    import gymnasium as gym


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
