"""An environment under perturbations."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import gymnasium as gym
import numpy as np

from act_eval.errors import UsageError
from act_eval.perturbations.base import Offered, Perturbations
from act_eval.perturbations.simulation import ModelFields, simulation_of
from act_eval.seeding import perturbation_stream
from act_eval.types import FloatArray
from act_eval.types.env_hooks import HOOKS, EnvHooks, hooks_of
from act_eval.types.scene import Variation


class PerturbedEnv(gym.Env[dict[str, Any], FloatArray]):
    """An environment whose observations, commands, model or initial state a perturbation changes.

    The wrapped environment is as before once `restore` was called. Its hooks are passed on.
    """

    def __init__(self, env: gym.Env[Any, Any], parts: Perturbations) -> None:
        self.env = env
        self.parts = copy.deepcopy(parts)
        self.spec, self.metadata, self.render_mode = env.spec, env.metadata, env.render_mode
        self.observation_space = env.observation_space
        self.action_space: gym.Space[Any] = env.action_space
        self._hooks = hooks_of(env)
        self._every_frame = any(part.every_frame for part in parts)
        self._writes_model = any(field.startswith("model.") for part in parts for field in part.writes)
        self._fields: ModelFields | None = None
        self._skipping, self._step, self._seed = False, 0, 0
        self._pixels: Mapping[str, Any] = {}
        self._offered, self._command_unit = offered_by(env, str(env)), half_range(env.action_space)
        self._varied = False

    def __getattr__(self, name: str) -> Any:
        if name in HOOKS and (hook := vars(vars(self)["_hooks"])[name]) is not None:
            return hook
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def skip_cameras(self, skip: bool) -> None:
        """Save the next images, rendered and perturbed, unless a perturbation needs every one."""
        self._skipping = skip and not self._every_frame
        if self._hooks.skip_cameras is not None:
            self._hooks.skip_cameras(self._skipping)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode; its seed determines the perturbation too.

        Raises:
            UsageError: without a seed.
        """
        if seed is None:
            raise UsageError("a perturbed environment needs the episode's seed: reset(seed=…)")
        self._seed, self._step = seed, 0
        self.apply(seed)
        observed, info = self.env.reset(seed=seed, options=options)
        return self.shown_to_policy(observed), info

    def step(self, action: FloatArray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Run one control step with the changed command."""
        observed, reward, terminated, truncated, info = self.env.step(self.received(action))
        self._step += 1
        return self.shown_to_policy(observed), float(reward), terminated, truncated, info

    def received(self, action: FloatArray) -> FloatArray:
        """Return the command that the environment receives; within the action space if `action` is."""
        command: FloatArray = np.array(action, np.float32)
        for part in self.parts:
            command = np.asarray(part.action(command, self._step), np.float32)
        space = self.action_space
        if isinstance(space, gym.spaces.Box) and space.contains(np.asarray(action, space.dtype)):
            return np.clip(command, space.low, space.high).astype(np.float32)
        return command

    def apply(self, seed: int) -> None:
        """Draw an episode's perturbation, and write model and scene without touching the simulation's state."""
        variations: list[Variation] = []
        for part in self.parts:
            part.rng = perturbation_stream(seed, part.axis)
            part.offered, part.command_unit = self._offered, self._command_unit
            part.begin()
            if (found := part.variation()) is not None:
                variations.append(found)
        if variations:
            assert self._hooks.vary is not None
            self._hooks.vary(Variation.joined(variations))
            self._varied = True
        if self._writes_model:
            self._write_model()

    @contextmanager
    def shown(self, seed: int) -> Iterator[None]:
        """Show another episode's model meanwhile, to render its states."""
        self.apply(seed)
        try:
            yield
        finally:
            self.apply(self._seed)

    def restore(self) -> None:
        """Leave the wrapped environment as it was."""
        if self._fields is not None:
            self._fields.restore()
        if self._varied and self._hooks.vary is not None:
            self._hooks.vary(Variation())

    def render(self) -> Any:
        """Return the image that the environment renders."""
        return self.env.render()

    def close(self) -> None:
        """Leave the environment open: its owner closes it."""

    def _write_model(self) -> None:
        model, _ = simulation_of(self.env) or (None, None)
        if model is None:
            raise UsageError(f"the MuJoCo model of {self._offered.label} cannot be reached")
        if self._fields is None or self._fields.model is not model:
            self._fields = ModelFields(model, [field for part in self.parts for field in part.writes])
        self._fields.restore()
        for part in self.parts:
            part.change_model(model)

    def shown_to_policy(self, observed: Mapping[str, Any]) -> dict[str, Any]:
        """Return an observation of the wrapped environment as the policy sees it."""
        seen: dict[str, Any] = dict(observed)
        fresh = "pixels" in seen and not self._skipping
        pixels = seen.pop("pixels", None)
        if fresh:
            seen["pixels"] = dict(pixels or {})
        for part in self.parts:
            seen = dict(part.observation(seen, self._step))
        if fresh:
            self._pixels = seen["pixels"]
        elif pixels is not None:
            seen["pixels"] = self._pixels or pixels
        return seen


@contextmanager
def perturbed(envs: Sequence[gym.Env[Any, Any]], parts: Perturbations) -> Iterator[Sequence[gym.Env[Any, Any]]]:
    """Yield the environments under perturbations; as they are without one."""
    wrapped = [PerturbedEnv(env, parts) for env in envs] if parts else []
    try:
        yield wrapped or envs
    finally:
        for env in wrapped:
            env.restore()


def showing(env: object, seed: int) -> AbstractContextManager[None]:
    """Return a context in which a perturbed environment shows the model of an episode; any other stays as it is."""
    return env.shown(seed) if isinstance(env, PerturbedEnv) else nullcontext()


def offered_by(env: gym.Env[Any, Any], label: str) -> Offered:
    """Return what an environment offers to perturbations."""
    space = env.observation_space
    entries = space.spaces if isinstance(space, gym.spaces.Dict) else {}
    pixels = entries.get("pixels")
    hooks: EnvHooks = hooks_of(env)
    found = simulation_of(env)
    return Offered(
        label=label,
        cameras=tuple(pixels.spaces) if isinstance(pixels, gym.spaces.Dict) else (),
        has_goal="environment_state" in entries,
        model=None if found is None else found[0],
        varies=hooks.vary is not None,
    )


def half_range(space: gym.Space[Any]) -> FloatArray:
    """Return (A,) half of the width of an action space, 1 where it is unbounded."""
    if not isinstance(space, gym.spaces.Box):
        return np.ones(1, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        half = (space.high - space.low) / 2
    return np.where(np.isfinite(half), half, 1.0).astype(np.float32)
