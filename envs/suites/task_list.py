"""Several tasks as one environment: an episode's seed decides its task."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym

from act_eval.envs.adapters.wrapper import SEEDS, owning_packages
from act_eval.errors import DeclarationError, UsageError
from act_eval.types.env_hooks import hooks_of

_OF_A_TASK = ("expert_action", "fork")
"""Hooks that are those of the open task; all tasks of a suite have them, or none."""


class TaskList(gym.Env[Any, Any]):
    """Plays the task that a seed decides; `info["task"]` of a reset names it. One task is open at a time."""

    def __init__(
        self,
        tasks: Sequence[str],
        make: Callable[[str], gym.Env[Any, Any]],
        module: str,
        longest: int | None = None,
    ) -> None:
        """Open the first task.

        Args:
            tasks: Names.
            make: Name → environment.
            module: Of their package, for its version.
            longest: Most steps of an episode that the tasks allow; None: any.
        """
        self.tasks = tuple(tasks)
        self._make, self._module, self._task = make, module, self.tasks[0]
        self.env = make(self._task)
        steps = hooks_of(self.env, ("max_episode_steps",)).max_episode_steps or longest
        if steps is not None:
            self.max_episode_steps = steps
        self.observation_space, self.action_space = self.env.observation_space, self.env.action_space
        self.render_mode, self.metadata = self.env.render_mode, self.env.metadata

    def __str__(self) -> str:
        return ", ".join(self.tasks)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode of the task that `seed` decides; of the last one without a seed."""
        if seed is not None:
            self._open(self.tasks[task_of(seed, len(self.tasks))])
        observed, info = self.env.reset(seed=seed, options=options)
        return observed, {**info, "task": self._task}

    def step(self, action: Any) -> Any:
        """Run one control step."""
        return self.env.step(action)

    def render(self) -> Any:
        """Return the task's image."""
        return self.env.render()

    def skip_cameras(self, skip: bool) -> None:
        """Pass on whether the next images are needed."""
        if (skipping := hooks_of(self.env, ("skip_cameras",)).skip_cameras) is not None:
            skipping(skip)

    def __getattr__(self, name: str) -> Any:
        env = self.__dict__.get("env") if name in _OF_A_TASK else None
        if env is not None and getattr(hooks_of(env, (name,)), name) is not None:
            # Hooks are read once, and another task may open.
            return lambda: getattr(hooks_of(self.env, (name,)), name)()
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def package_versions(self) -> dict[str, str]:
        """Return the version of the tasks' package."""
        return owning_packages(self._module)

    def close(self) -> None:
        """Close the open task."""
        self.env.close()

    def _open(self, task: str) -> None:
        if task == self._task:
            return
        self.env.close()
        self.env, self._task = self._make(task), task
        spaces = (self.observation_space, self.env.observation_space), (self.action_space, self.env.action_space)
        for name, (first, this) in zip(("observation", "action"), spaces, strict=True):
            if first != this:
                raise DeclarationError(
                    f"{self.tasks[0]} and {task} have different {name} spaces, {first} and {this}, and "
                    "cannot be tasks of one run"
                )


def task_of(seed: int, tasks: int) -> int:
    """Return the number of the task that an episode's seed decides."""
    return seed % SEEDS % tasks


def balanced(seeds: Sequence[int], tasks: int, count: int) -> list[int] | None:
    """Return `count` seeds, as many of each task as possible, task by task; None if that takes more to choose from.

    Raises:
        UsageError: if there are fewer episodes than tasks.
    """
    if count < tasks:
        raise UsageError(f"{count} episodes are too few for {tasks} tasks: give --episodes {tasks} or more")
    chosen: list[int] = []
    for task in range(tasks):
        of_task = [seed for seed in seeds if task_of(seed, tasks) == task]
        wanted = count // tasks + (task < count % tasks)
        if len(of_task) < wanted:
            return None
        chosen += of_task[:wanted]
    return chosen
