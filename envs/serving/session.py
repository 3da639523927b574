"""Environments for one client: a request is a map with `op`, the number of the environment, and arguments.

An error of an environment is a response. All environments of a session run in one thread, one call at a time.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any

import gymnasium as gym

from act_eval.envs.adapters import Declaration
from act_eval.envs.adapters.wrapper import owning_packages
from act_eval.envs.serving.frames import error_message, plain, space_message, variation_of, without_images
from act_eval.errors import RemoteError
from act_eval.types.env_hooks import HOOKS, EnvHooks, hooks_of
from act_eval.user_code import exits_raise

Make = Callable[[bool, int | None], tuple[gym.Env[Any, Any], Declaration]]
"""(whether it will be asked to render, horizon or None) → a new environment, and what is declared of it by default."""
MOST_ENVS = 4096
_ATTRIBUTES = ("video_cameras", "gripper_dims", "max_episode_steps")
_PACKAGES = ("numpy", "gymnasium", "mujoco", "dm-control")


class EnvSession:
    """The environments of one client."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._envs: dict[int, tuple[gym.Env[Any, Any], EnvHooks]] = {}

    def respond(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the response to a request; that of `several` holds a response to each of its requests."""
        if message.get("op") == "several" and isinstance(requests := message.get("requests"), list):
            return {"responses": [self.respond(one if isinstance(one, dict) else {}) for one in requests]}
        try:
            with exits_raise():
                return self._respond(message)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # users' code may raise anything; it is the client's to judge
            return {"error": error_message(error)}

    def close(self) -> None:
        """Close every environment."""
        for number in list(self._envs):
            self._close(number)

    def _respond(self, message: Mapping[str, Any]) -> dict[str, Any]:
        for number in message.get("closed", ()):
            self._close(number)
        op, number = message.get("op"), message.get("env")
        if type(number) is not int or not 0 <= number < 2**63:
            raise RemoteError(f"'env' must be a whole number from 0 on, got {str(number)[:40]!r}")
        match op:
            case "make":
                env, defaults = self._make(bool(message.get("film")), message.get("horizon"))
                return {**self._add(number, env), "defaults": plain(asdict(defaults))}
            case "close":
                self._close(number)
                return {}
        if number not in self._envs:
            raise RemoteError(f"there is no environment {number}")
        env, hooks = self._envs[number]
        match op:
            case "reset":
                skipped = self._skip(hooks, message)
                return self._observed(
                    env.reset(seed=message.get("seed"), options=message.get("options")), hooks, skipped
                )
            case "step":
                skipped = self._skip(hooks, message)
                return self._observed(env.step(message.get("action")), hooks, skipped)
            case "render":
                return {"image": plain(env.render())}
            case "hook":
                return self._hook(hooks, message)
            case _:
                raise RemoteError(f"'op' is {str(op)[:40]!r}; allowed: make, reset, step, render, hook, close")

    def _add(self, number: int, env: gym.Env[Any, Any]) -> dict[str, Any]:
        """Keep an environment; return its description."""
        if len(self._envs) >= MOST_ENVS:
            env.close()
            raise RemoteError(f"{MOST_ENVS} environments are open already")
        hooks = hooks_of(env)
        self._envs[number] = env, hooks
        spec = env.spec
        return {
            "observation_space": space_message(env.observation_space),
            "action_space": space_message(env.action_space),
            "metadata": plain(env.metadata),
            "render_mode": env.render_mode,
            "spec": None if spec is None else [spec.id, spec.max_episode_steps, bool(spec.nondeterministic)],
            "name": str(env.unwrapped)[:200],
            "hooks": [name for name in HOOKS if name not in _ATTRIBUTES and getattr(hooks, name) is not None],
            "attributes": {n: plain(v) for n in _ATTRIBUTES if (v := getattr(hooks, n)) is not None},
            "packages": owning_packages(type(env.unwrapped).__module__),
            "versions": _versions(),
        }

    def _close(self, number: int) -> None:
        if number in self._envs:
            self._envs.pop(number)[0].close()

    def _skip(self, hooks: EnvHooks, message: Mapping[str, Any]) -> bool:
        """Tell the environment whether the next images are needed; return whether they are not."""
        skip = message.get("skip")
        if hooks.skip_cameras is None or skip is None:
            return False
        hooks.skip_cameras(bool(skip))
        return bool(skip)

    def _observed(self, result: Any, hooks: EnvHooks, skipped: bool) -> dict[str, Any]:
        """Return what a reset or step returned, and the simulator state, which is asked for before every step."""
        response: dict[str, Any] = {"result": plain(result), "tuple": isinstance(result, tuple)}
        if skipped and isinstance(result, tuple) and result:
            response["result"][0] = without_images(response["result"][0])
        if hooks.simulator_state is not None:
            try:
                response["state"] = plain(hooks.simulator_state())
            except Exception:  # raised again when the client asks for it
                return response
        return response

    def _hook(self, hooks: EnvHooks, message: Mapping[str, Any]) -> dict[str, Any]:
        name, arguments = message.get("name"), message.get("arguments")
        hook = getattr(hooks, name) if name in HOOKS else None
        if not callable(hook) or not isinstance(arguments, list):
            raise RemoteError(f"the environment has no hook {str(name)[:40]!r}")
        if name == "vary":
            arguments = [*map(variation_of, arguments)]
        result: Any = hook(*arguments)
        if name != "fork":
            return {"result": plain(result)}
        return {**self._add(message["fork"], result), "defaults": {}}


def _versions() -> dict[str, str]:
    """Return the versions that results may depend on, beside the environment's own package."""
    found = {"python": python_version()}
    for package in _PACKAGES:
        if package.replace("-", "_") in sys.modules:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                continue
    return found
