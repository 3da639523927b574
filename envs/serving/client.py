"""A Gymnasium environment that is held elsewhere."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from platform import python_version
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from act_eval.envs.adapters import Declaration
from act_eval.envs.serving.frames import error_of, hook_result, plain, space_of, with_images
from act_eval.errors import RemoteError, SimulationError
from act_eval.types import ImageArray
from act_eval.types.env_hooks import HOOKS

_NUMBERS = count()
_STATE_HOOKS = ("skip_cameras", "simulator_state", "fork", "package_versions", "render_views")
_OWN_HOOKS = ("package_versions", "begin_step")
"""Hooks that are more than a call."""


class Channel(Protocol):
    """The way to the process that holds environments."""

    where: str
    """Names the process, for messages."""
    life: int
    """Rises when the process or connection ends, which environments do not outlive."""
    begun: dict[int, dict[str, Any]]
    """Environment → the step that it has begun and that has not run yet."""
    arrived: dict[int, dict[str, Any]]
    """Environment → the result of such a step that nobody has asked for yet."""

    def begin(self) -> None:
        """Start the process, or connect, unless that has been done."""
        ...

    def request(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the response to a request.

        Raises:
            ActEvalError: if the process has ended or the connection is lost.
        """
        ...

    def release(self) -> None:
        """End the process or connection if no environment needs it any more; called once by each environment."""
        ...


class ServedEnv(gym.Env[Any, Any]):
    """An environment elsewhere: its spaces, metadata, hooks, errors and renderings.

    After the end of the process that held it, `reset` makes a new one; every other call raises.
    """

    def __init__(self, channel: Channel, film: bool, horizon: int | None) -> None:
        """Make an environment at the other end of a channel.

        Args:
            channel: Of which this environment is one user.
            film: Whether it will be asked to render.
            horizon: Control steps after which its registration cuts an episode off; None: its own.

        Raises:
            ActEvalError: as making it here would, or if there is no process.
        """
        self._channel, self._request = channel, {"film": film, "horizon": horizon}
        self._skip: bool | None = None
        self._last: Any = None
        self._state: NDArray[np.float64] | None = None
        self._forgotten: list[int] = []
        self._closed = False
        try:
            self._make()
        except BaseException:
            channel.release()
            raise

    def _make(self) -> None:
        self._channel.begin()
        self._life, self._number = self._channel.life, next(_NUMBERS)
        self._describe(self._ask("make", **self._request))

    def _describe(self, about: Mapping[str, Any]) -> None:
        try:
            self._take(about)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RemoteError(
                f"{self._channel.where} describes its environment in another way than this version of act_eval: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _take(self, about: Mapping[str, Any]) -> None:
        self.defaults = Declaration(**{name: _immutable(value) for name, value in about["defaults"].items()})
        """What is declared of this environment unless users declare otherwise."""
        self.observation_space = space_of(about["observation_space"])
        self.action_space = space_of(about["action_space"])
        self.metadata = dict(about["metadata"])
        self.render_mode = about["render_mode"]
        self.spec = _spec(about["spec"])
        self._name = about["name"]
        self._hooks = frozenset(about["hooks"]) & set(HOOKS)
        self._versions = {**about["packages"], **_other_than_here(about["versions"])}
        for name, value in about["attributes"].items():
            if name in HOOKS:
                setattr(self, name, value)

    def __str__(self) -> str:
        return self._name

    def __getattr__(self, name: str) -> Any:
        known = self.__dict__.get("_hooks", ())
        if name in _OWN_HOOKS or (name in known and name in _STATE_HOOKS):
            return getattr(self, f"_{name}")
        if name in known:
            return partial(self._call, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Begin an episode; in a new process if the last one has ended."""
        for waiting in (self._channel.begun, self._channel.arrived):
            waiting.pop(self._number, None)
        if self._life != self._channel.life:
            self._make()
        return self._observed(self._ask("reset", seed=seed, options=options, skip=self._skip))

    def step(self, action: Any) -> Any:
        """Run one control step, or return the result of the one that `begin_step` began."""
        if self._number in self._channel.begun:
            self._run_begun()
        response = self._channel.arrived.pop(self._number, None)
        if response is None:
            response = self._ask("step", action=np.asarray(action), skip=self._skip)
        elif "error" in response:
            raise error_of(response["error"], self._channel.where)
        self._state = None
        return self._observed(response)

    def _run_begun(self) -> None:
        """Run the steps that all environments of the channel have begun, in one request."""
        begun = dict(self._channel.begun)
        self._channel.begun.clear()
        message = {"op": "several", "requests": list(begun.values())}
        responses = self._checked(lambda: self._channel.request(message))["responses"]
        self._channel.arrived.update(zip(begun, responses, strict=True))

    def _begin_step(self, action: Any) -> None:
        """Note a step; the state is that before it until `step` returns."""
        if "simulator_state" in self._hooks and self._state is None:
            return
        if self._life == self._channel.life:
            about = {"op": "step", "env": self._number, "action": np.asarray(action), "skip": self._skip}
            self._channel.begun[self._number] = about

    def render(self) -> Any:
        """Return the image that the environment renders."""
        return self._ask("render")["image"]

    def close(self) -> None:
        """Close the environment; the last one of a process ends it."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._life == self._channel.life:
                self._ask("close")
        except SimulationError:  # the process has ended
            pass
        finally:
            self._channel.release()

    def _ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        forgotten, self._forgotten[:] = list(self._forgotten), []
        message = {"op": op, "env": self._number, "closed": forgotten, **arguments}
        return self._checked(lambda: self._channel.request(message))

    def _checked(self, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if self._life != self._channel.life:
            raise SimulationError(f"{self._channel.where} has ended, and this episode with it")
        response = ask()
        if "error" in response:
            raise error_of(response["error"], self._channel.where)
        return response

    def _observed(self, response: Mapping[str, Any]) -> Any:
        self._state = response.get("state")
        result = response["result"]
        if not (response["tuple"] and isinstance(result, list) and result):
            return result
        self._last = with_images(result[0], self._last)
        return (self._last, *result[1:])

    def _call(self, name: str, *arguments: Any) -> Any:
        return hook_result(name, self._ask("hook", name=name, arguments=plain(arguments))["result"])

    def _skip_cameras(self, skip: bool) -> None:
        """Keep the flag for the next reset or step: a call of its own would cost as much as a step."""
        self._skip = bool(skip)

    def _simulator_state(self) -> NDArray[np.float64]:
        if self._state is None:
            return self._call("simulator_state")
        return self._state

    def _render_views(
        self, state: Any, views: Sequence[tuple[str, int, int]], out: Sequence[ImageArray | None] | None = None
    ) -> Sequence[ImageArray]:
        images = self._ask("hook", name="render_views", arguments=[state, [list(one) for one in views], None])["result"]
        if out is None:
            return images
        for image, target in zip(images, out, strict=True):
            if target is not None:
                target[...] = image
        return [image if target is None else target for image, target in zip(images, out, strict=True)]

    def _fork(self) -> "ServedEnv":
        twin = ServedEnv.__new__(ServedEnv)
        twin._channel, twin._life, twin._number = self._channel, self._life, next(_NUMBERS)
        twin._request, twin._skip, twin._last, twin._state = self._request, None, self._last, None
        twin._forgotten = self._forgotten
        twin._closed = True  # it goes when nobody holds it, not by close()
        twin._describe(self._ask("hook", name="fork", arguments=[], fork=twin._number))
        weakref.finalize(twin, self._forgotten.append, twin._number)
        return twin

    def _package_versions(self) -> Mapping[str, str]:
        own = self._call("package_versions") if "package_versions" in self._hooks else {}
        return {**self._versions, **own}


def _spec(about: Any) -> EnvSpec | None:
    if about is None:
        return None
    name, steps, nondeterministic = about
    return EnvSpec(id=name, max_episode_steps=steps, nondeterministic=nondeterministic)


def _immutable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _other_than_here(versions: Mapping[str, str]) -> dict[str, str]:
    """Return the versions that differ from this process's, for a run's fingerprint."""

    def here(package: str) -> str | None:
        try:
            return python_version() if package == "python" else version(package)
        except PackageNotFoundError:
            return None

    return {f"environment {name}": one for name, one in versions.items() if one != here(name)}
