"""An external environment with the interface of the engine.

The engine needs `{"pixels": {camera: image}, "agent_pos", "environment_state"}`, a horizon, the length of a control
step, a hold rule and a success rule. An episode ends with its first successful step. Hooks of the environment
(docs/own-environment.md) are passed on.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from importlib.metadata import packages_distributions, version
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from act_eval.envs.adapters.config import Declaration, hold_rule
from act_eval.envs.adapters.observation_mapping import ObservationMapping, described, digest, resolve
from act_eval.envs.adapters.success import StepResult, parse_success
from act_eval.envs.command_bounds import CommandBounds
from act_eval.errors import DeclarationError, SimulationError, UsageError
from act_eval.types import SUCCESS, FloatArray, Verdict
from act_eval.types.env_hooks import HOOKS, EnvHooks, hooks_of
from act_eval.user_code import truth

SEEDS = 2**32
"""Many environments accept only smaller seeds, so episode seeds are taken modulo this number."""
_RESET, _STEP = ("observation", "info"), ("observation", "reward", "terminated", "truncated", "info")
_MERGED = (
    *("skip_cameras", "hold_action", "suite_facts", "max_episode_steps"),
    *("verdict", "remarks", "smoke_test", "package_versions", "begin_step", "fork"),
)
"""Hooks that the adapter has itself; it passes all others on."""
_WRAPPED = ("begin_step", "fork")
"""Hooks that it has if the environment has them."""


class AdaptedEnv(gym.Env[dict[str, Any], FloatArray]):
    """Wraps an external environment; see docs/own-environment.md."""

    def __init__(self, env: gym.Env[Any, Any], declared: Declaration, name: str) -> None:
        """Wrap `env`, called `name` in messages.

        Raises:
            UsageError: naming a missing declaration, or one that does not fit.
        """
        self.env, self.name = env, name
        self._hooks = hooks_of(env)
        self.render_mode = env.render_mode
        self._mapping = ObservationMapping(env, resolve(env.observation_space, declared), name)
        self._judge = self._hooks.verdict if declared.success is None else None
        self._success = parse_success(declared.success)
        self._actions = _action_space(env.action_space, name)
        self._bounds = CommandBounds(self._actions)
        self.action_space: Any = self._actions
        self.hold, self._hold = hold_rule(declared.hold, self._hooks.hold_action, self._actions.shape[0])
        self.max_episode_steps = _horizon(env, self._hooks, declared, name)
        fps = _steps_per_second(env, declared, name)
        self.metadata = {**env.metadata, "render_fps": fps}
        self.observation_space: Any = self._mapping.space()

    def __str__(self) -> str:
        return self.name

    def __getattr__(self, name: str) -> Any:
        if name in _WRAPPED and getattr(self._hooks, name) is not None:
            return getattr(self, f"_{name}")
        if name in HOOKS and name not in _MERGED and (hook := vars(self._hooks)[name]) is not None:
            return hook
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode; seeds are taken modulo 2³²."""
        super().reset(seed=seed)
        result = self.env.reset(seed=None if seed is None else seed % SEEDS, options=options)
        observed, info = _unpacked(result, _RESET, self.name)
        self._seed, self._steps, self._return, self._success_step = seed, 0, 0.0, None
        self._bounds.reset()
        self._ended = "running"
        shown = self._mapping.of(observed)
        self._start = digest(shown)
        self._task = {"task": task} if isinstance(task := info.get("task"), str) else {}
        return shown, info

    def step(self, action: FloatArray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Run one control step.

        Raises:
            SimulationError: if the reward is not finite, or the state of a success or of a broken success signal.
            DeclarationError: if the success signal is missing or no truth value.
        """
        command = np.asarray(action).astype(self._actions.dtype)
        self._bounds.see(np.asarray(action))
        observed, reward, terminated, truncated, info = _unpacked(self.env.step(command), _STEP, self.name)
        reward = float(reward)
        terminated = truth("terminated", terminated, SimulationError)
        truncated = truth("truncated", truncated, SimulationError)
        if not np.isfinite(reward):
            raise SimulationError(f"{self.name} gave the reward {reward}")
        self._steps += 1
        self._return += reward
        truncated |= self._steps >= self.max_episode_steps
        result = StepResult(info=info, reward=reward, total=self._return, terminated=terminated, truncated=truncated)
        shown = self._mapping.of(observed)
        if self._judge is None and self._succeeds(result, shown):
            self._success_step = self._steps - 1
        self._ended = "terminated" if terminated else "truncated" if truncated else "running"
        succeeded = self._success_step is not None
        info = info if self._judge is not None else {**info, "is_success": succeeded}
        return shown, reward, terminated or succeeded, truncated, info

    def _begin_step(self, action: FloatArray) -> None:
        """Begin a step with the command that `step` will give."""
        command: Any = np.asarray(action).astype(self._actions.dtype)
        assert self._hooks.begin_step is not None
        self._hooks.begin_step(command)

    def _fork(self) -> "AdaptedEnv":
        """Return an independent environment in the current state, which shows its last images."""
        assert self._hooks.fork is not None
        twin = copy(self)
        twin.env = self._hooks.fork()
        twin._hooks = hooks_of(twin.env)
        twin._judge = None if self._judge is None else twin._hooks.verdict
        twin._mapping, twin._bounds = copy(self._mapping), CommandBounds(self._actions)
        twin._mapping.skipping = True
        return twin

    def _succeeds(self, result: StepResult, shown: dict[str, Any]) -> bool:
        """Return whether a step succeeded; a simulation that has diverged says nothing, whatever its signal."""
        place = f"{self.name}, step {self._steps} of the episode with seed {self._seed}"
        diverged = not all(np.isfinite(shown[key]).all() for key in ("agent_pos", "environment_state") if key in shown)
        try:
            found = self._success.holds(result)
        except DeclarationError as error:
            if not diverged:
                raise DeclarationError(f"{place}: {error}") from error
            found = True
        if found and diverged:
            raise SimulationError(f"{place}: the state is not finite")
        return found

    @property
    def _criterion(self) -> str:
        return str(self._success) if self._judge is None else "verdict() of the environment"

    def render(self) -> Any:
        """Return the image that the environment renders."""
        return self.env.render()

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def hold_action(self, last_command: FloatArray) -> FloatArray:
        """Return the command of a step that no chunk covers."""
        return self._hold(last_command)

    def skip_cameras(self, skip: bool) -> None:
        """While `skip` is true, images are not rendered again."""
        self._mapping.skipping = skip
        if self._hooks.skip_cameras is not None:
            self._hooks.skip_cameras(skip)

    def verdict(self) -> Verdict:
        """Return the outcome: that of the environment's own `verdict`, or success or timeout by the success rule."""
        detail = {
            **self._task,
            "return": self._return,
            "success_step": self._success_step,
            "ended": self._ended,
            "initial_state": self._start,
            **self._bounds.detail(),
        }
        if self._judge is None:
            return Verdict(outcome="timeout" if self._success_step is None else SUCCESS, detail=detail)
        del detail["success_step"]
        own = self._judge()
        return replace(own, detail={**own.detail, **detail})

    def suite_facts(self) -> dict[str, Any]:
        """Return the facts that must be equal for two runs to be paired, beside id, options and horizon."""
        own = self._hooks.suite_facts
        return {
            **({} if own is None else own()),
            **self._mapping.keys.to_json(),
            "success": self._criterion,
            "hold": self.hold,
            "control_hz": self.metadata["render_fps"],
        }

    def remarks(self) -> tuple[str, ...]:
        """Return lines that describe the resolved declaration."""
        shown = {name: place for name, place in self._mapping.keys.to_json().items() if place}
        lines = [
            f"inputs {shown}; success: {self._criterion}; hold: {self.hold}; "
            f"{1000 / self.metadata['render_fps']:g} ms a step, at most {self.max_episode_steps} steps"
        ]
        if self._mapping.keys.unused:
            lines.append(f"no input of any policy: {', '.join(self._mapping.keys.unused)}")
        return (*lines, *(() if self._hooks.remarks is None else self._hooks.remarks()))

    def package_versions(self) -> dict[str, str]:
        """Return the version of the package that the environment comes from, for a run's fingerprint."""
        own = self._hooks.package_versions
        return owning_packages(type(self.env.unwrapped).__module__) | dict({} if own is None else own())

    def smoke_test(self) -> None:
        """Take a step, so that an error comes before the first episode."""
        if self._hooks.smoke_test is not None:
            self._hooks.smoke_test()
        self.reset(seed=0)
        space = self._actions
        middle = np.where(np.isfinite(space.low) & np.isfinite(space.high), (space.low / 2 + space.high / 2), 0.0)
        observed, *_ = self.step(middle.astype(np.float32))
        if not self.observation_space.contains(observed):
            got = {name: described(value) for name, value in observed.items()}
            raise UsageError(f"{self.name} gives {got}, its observation space says {self.observation_space}")


def owning_packages(module: str) -> dict[str, str]:
    """Return name → version of the package that a module, such as that of an environment's class, comes from."""
    owners = set(packages_distributions().get(module.partition(".")[0], ())) - {"act_eval", "gymnasium", "dm_control"}
    return {owner: version(owner) for owner in sorted(owners)}


def _unpacked(result: Any, wanted: Sequence[str], name: str) -> tuple[Any, ...]:
    """Return the values of a reset or step; environments of Gym before 0.26 return fewer."""
    if isinstance(result, tuple) and len(result) == len(wanted) and isinstance(result[-1], Mapping):
        return result
    got = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
    raise DeclarationError(
        f"{name} returned {got} instead of ({', '.join(wanted)}), as environments of old versions of Gym do: reset "
        f"must return (observation, info), step five values, {', '.join(_STEP)}, with info a mapping"
    )


def _action_space(space: spaces.Space[Any], name: str) -> spaces.Box:
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise UsageError(f"{name} has the action space {space}; policies return vectors, so it must be a Box (A,)")
    if space.dtype.kind != "f":
        raise UsageError(
            f"{name} has the action space {space}: policies return fractions, which {space.dtype} would cut to whole "
            "numbers; wrap the environment in one that takes floats"
        )
    return space


def _horizon(env: gym.Env[Any, Any], hooks: EnvHooks, declared: Declaration, name: str) -> int:
    own = None if env.spec is None else env.spec.max_episode_steps
    own = hooks.max_episode_steps if own is None else own
    if declared.horizon is not None:
        if own is not None and own < declared.horizon:
            raise UsageError(f"--horizon is {declared.horizon}; {name} itself cuts episodes off after {own} steps")
        return declared.horizon
    if own is None:
        raise UsageError(
            f"{name} does not say after how many steps an episode is cut off: add --horizon STEPS, or register it "
            "with max_episode_steps"
        )
    return int(own)


def _steps_per_second(env: gym.Env[Any, Any], declared: Declaration, name: str) -> float:
    if declared.control_ms is not None:
        return 1000 / declared.control_ms
    fps = env.metadata.get("render_fps")
    if not fps:
        raise UsageError(
            f"{name} does not say how long a control step is: add --control-ms MILLISECONDS, or "
            'metadata["render_fps"] (steps per second) to the environment'
        )
    return fps
