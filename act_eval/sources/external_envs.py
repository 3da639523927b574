"""Environments that are not ours: what a name on the command line means, and how a worker makes one.

`gym_aloha/AlohaTransferCube-v0` is a Gymnasium id; its namespace is imported if nobody registered it yet.
`package:SomeId-v0` imports a package first, `dm_control:cartpole/balance` is a task of dm_control's suite, and
`module:factory` is called with the options.
"""

import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from act_eval.errors import UnknownName, UsageError
from act_eval.sources.env_places import Place, make_elsewhere
from act_eval.sources.factories import import_foreign, load_factory, names_factory
from act_eval.user_code import user_code

if TYPE_CHECKING:
    import gymnasium as gym

    from act_eval.envs.adapters import AdaptedEnv, Declaration
    from act_eval.envs.suites import NamedSuite

DM_CONTROL = "dm_control:"
_ID = re.compile(r"^(?:(?P<module>[A-Za-z_][\w.]*):)?(?P<id>(?:(?P<namespace>[\w.\-]+)/)?[\w.\-]+?(?:-v\d+)?)$")
_VERSION = re.compile(r"-v\d+$")


def is_foreign(name: str) -> bool:
    """Return whether a name has the form of an environment that is not ours; a wrong version of ours has not."""
    from act_eval.envs.registration import ENVIRONMENTS

    if name in ENVIRONMENTS.values() or _VERSION.sub("", name) in ENVIRONMENTS:
        return False
    return ":" in name or "/" in name or _VERSION.search(name) is not None


def full_name(name: str) -> str:
    """Return the name of an environment, the Gymnasium id of one of ours.

    Raises:
        UnknownName: if it has no form of another one and is no name of ours.
    """
    from act_eval.envs.registration import env_id

    return name if is_foreign(name) else env_id(name)


def env_label(name: str) -> str:
    """Return a short name, fit for a file name."""
    from act_eval.envs.suites import SUITES

    before, _, last = name.rpartition(":")
    parts = last.split("/") if f"{before}:" == DM_CONTROL or before in SUITES else [last.rpartition("/")[2]]
    return re.sub(r"[^\w.\-]", "_", "_".join(parts))[:80] or "environment"


def make_adapted(
    name: str, options: Mapping[str, Any], declared: "Declaration", film: bool, place: Place | None = None
) -> "AdaptedEnv":
    """Return a new environment with the interface of ours.

    Args:
        name: See this module's description.
        options: Given to the environment.
        declared: Which entries are what.
        film: Whether it will be asked to render.
        place: Where it is made; None: in this process.

    Raises:
        UsageError: or a child of it, if there is no such environment, it does not take the options, or something has
            to be declared.
    """
    from act_eval.envs.adapters import AdaptedEnv

    needs_frames = film or "render()" in (declared.images or {}).values()
    if place is None:
        env, defaults = make_raw(name, options, declared.horizon, needs_frames)
    else:
        env = make_elsewhere(place, name, options, needs_frames, declared.horizon)
        defaults = env.defaults
    with user_code(f"{name}, being adapted, raised"):
        return AdaptedEnv(env, declared.over(defaults), name)


def make_raw(
    name: str, options: Mapping[str, Any], horizon: int | None, film: bool
) -> "tuple[gym.Env[Any, Any], Declaration]":
    """Return a new environment as its package makes it, and what is declared of it unless users declare otherwise.

    Args:
        name: See this module's description; or a Gymnasium id of ours.
        options: Given to the environment.
        horizon: Control steps after which its registration cuts an episode off; None: its own.
        film: Whether it will be asked to render.

    Raises:
        UsageError: or a child of it, if there is no such environment, or it does not take the options.
    """
    from act_eval.envs.adapters import Declaration
    from act_eval.envs.registration import ENVIRONMENTS
    from act_eval.envs.suites import make_suite, suite_of

    _choose_offscreen_rendering()
    if name in ENVIRONMENTS.values():
        return make_ours(name, options), Declaration()
    if (named := suite_of(name)) is not None:
        need_package(name, named[0])
        return make_with(name, options, lambda **given: make_suite(name, given, film), named[0].maker)
    if name.startswith(DM_CONTROL):
        from act_eval.envs.adapters.dm_suite import DmControlEnv, default_config

        suite = make_with(name, options, partial(DmControlEnv, name.removeprefix(DM_CONTROL)))
        return suite, default_config(suite)
    if names_factory(name) and _VERSION.search(name) is None:
        env = make_with(name, options, load_factory(name, "--env"))
    else:
        env = _registered(name, options, horizon, film)
    return _checked(env, name), Declaration()


def need_package(name: str, suite: "NamedSuite") -> None:
    """Refuse a suite whose package is not installed in this Python.

    Raises:
        UsageError: with the line that installs it.
    """
    if find_spec(suite.module) is None:
        raise UsageError(
            f"--env {name} needs the package of {suite.module!r}, which is not installed: {sys.executable} -m pip "
            f"install {suite.install}; or in a Python of its own, which --env-python names (and there msgpack too)"
        )


def make_ours(env_id: str, options: Mapping[str, Any]) -> "gym.Env[Any, Any]":
    """Return a new environment of ours.

    Raises:
        UsageError: if it does not take the options.
    """
    import gymnasium as gym

    from act_eval.envs.registration import make

    return make_with(env_id, options, lambda **given: make(env_id, given), gym.spec(env_id).entry_point)


def make_given(
    name: str, given: Any, options: Mapping[str, Any], declared: "Declaration | None"
) -> "gym.Env[Any, Any]":
    """Return an environment of a user's factory, or a made one, which stays open when it is closed here.

    Args:
        name: its label, for messages.
        given: the factory, or the environment.
        options: passed to the factory.
        declared: which entries are what; None: the environment is one of ours.

    Raises:
        UsageError: if the factory makes no environment, or something has to be declared.
    """
    import gymnasium as gym

    from act_eval.envs.adapters import AdaptedEnv

    _choose_offscreen_rendering()
    env = _borrowed(given) if isinstance(given, gym.Env) else _checked(make_with(name, options, given), name)
    if declared is None:
        return env
    with user_code(f"{name}, being adapted, raised"):
        return AdaptedEnv(env, declared, name)


def _borrowed(env: "gym.Env[Any, Any]") -> "gym.Env[Any, Any]":
    import gymnasium as gym

    class Borrowed(gym.Wrapper[Any, Any, Any, Any]):
        """An environment that its owner closes."""

        def close(self) -> None:
            pass

    return Borrowed(env)


def _registered(name: str, options: Mapping[str, Any], horizon: int | None, film: bool) -> "gym.Env[Any, Any]":
    import gymnasium as gym

    match = _ID.match(name)
    if match is None:
        raise UsageError(f"--env {name}: neither a name of ours, a Gymnasium id, module:factory nor {DM_CONTROL}TASK")
    module, env_id, namespace = match["module"], match["id"], match["namespace"]
    if module is not None:
        import_foreign(module, f"--env {name}")
    elif env_id not in gym.registry and namespace is not None and namespace.isidentifier():
        import_foreign(namespace, f"--env {name}")
    if env_id not in gym.registry:
        known = [one for one in gym.registry if namespace is None or one.startswith(f"{namespace}/")]
        raise UnknownName("Gymnasium id", env_id, known or list(gym.registry))
    more: dict[str, Any] = {} if horizon is None else {"max_episode_steps": horizon}
    if film and "render_mode" not in options:
        more["render_mode"] = "rgb_array"
    # Gymnasium's checker warns of what the adapter checks or puts right.
    make = partial(gym.make, env_id, disable_env_checker=True, **more)
    return make_with(name, options, make, gym.spec(env_id).entry_point)


def make_with(name: str, options: Mapping[str, Any], make: Callable[..., Any], target: Any = None) -> Any:
    """Return what `make` makes with the options.

    Args:
        name: of the environment, for messages.
        options: keyword arguments.
        make: is called with the options.
        target: the callable that takes them, or its Gymnasium entry point; `make` itself by default.

    Raises:
        UsageError: if it raises; for an option that it does not take, with those that it takes.
    """
    from gymnasium.envs.registration import load_env_creator

    try:
        with user_code(f"{name}, being made, raised"):
            return make(**options)
    except UsageError as error:
        if isinstance(error.__cause__, TypeError):
            target = load_env_creator(target) if isinstance(target, str) else target or make
            known = ", ".join(inspect.signature(target).parameters) or "none"
            raise UsageError(
                f"{name} does not take the options {dict(options)}: {error.__cause__} (its options: {known})"
            ) from error
        raise


def _checked(env: Any, name: str) -> "gym.Env[Any, Any]":
    import gymnasium as gym

    if not isinstance(env, gym.Env):
        raise UsageError(f"--env {name} made {type(env).__name__}; a factory must return a gymnasium.Env")
    return env


def _choose_offscreen_rendering() -> None:
    """Let MuJoCo's Python packages render without a screen where there is none; they would look for a window.

    Raises:
        RenderError: if MUJOCO_GL names something that cannot be loaded.
    """
    from act_eval.scenes.backend import check_backend, usual_backend

    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", usual_backend())
    check_backend()
