"""What a perturbation changes, found out before the first episode beside the unperturbed twin.

Each seed is tried twice in one environment: perturbed, and unperturbed with the commands that the perturbed
environment received. Under these, everything that no perturbation declares must be the same, bit by bit.
"""

import hashlib
import pickle
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from act_eval.errors import UsageError
from act_eval.perturbations.base import OBSERVED, Perturbations, declares, text_of
from act_eval.perturbations.simulation import ModelFields, is_visual, model_fields, simulation_of
from act_eval.perturbations.wrapper import PerturbedEnv, half_range, offered_by
from act_eval.types import ENVIRONMENT_STATE, IMAGE_PREFIX, STATE, FloatArray
from act_eval.types.env_hooks import hooks_of
from act_eval.user_code import user_code

COMPARED = 2
"""Episodes that are compared with their twins."""
STEPS = 4
"""Control steps of a trial after its reset."""
MOST_STEPS = 200
"""Control steps after which a perturbation without an effect is refused."""
_AMPLITUDE = 0.1  # of the trial's commands about the middle of the action space, of half of its width

Flat = dict[str, NDArray[Any]]
"""Entries of an observation by name: `pixels.CAMERA`, `agent_pos`, `environment_state`."""


@dataclass(frozen=True, kw_only=True)
class Purity:
    """The differences of a perturbed condition from its twin."""

    observation: tuple[str, ...]
    """Entries of the observation that differ under the same commands."""
    model: tuple[str, ...]
    """Fields of the MuJoCo model."""
    command: bool
    """Whether the environment receives other commands."""
    initial_states: int
    """Episodes that begin in another state."""
    episodes: int
    """Episodes tried."""
    state_checked: bool = True
    """False if the environment itself begins differently after two resets with one seed."""

    @property
    def goal(self) -> bool:
        """Whether the goal input differs."""
        return "environment_state" in self.observation

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a run's manifest."""
        return {
            "observation": list(self.observation),
            "model": list(self.model),
            "goal": self.goal,
            "command": self.command,
            "initial_states": self.initial_states,
            "episodes": self.episodes,
            "state_checked": self.state_checked,
        }

    def __str__(self) -> str:
        return purity_text(self.to_json())


def purity_text(found: Mapping[str, Any]) -> str:
    """Return the differences of a perturbed condition as text, from its entry in a manifest."""
    states = f"{found['initial_states']} of {found['episodes']} initial states differ"
    return "; ".join(
        [
            f"observation {', '.join(found['observation']) or 'same'}",
            f"model {', '.join(name.removeprefix('model.') for name in found['model']) or 'same'}",
            f"commands {'differ' if found['command'] else 'same'}",
            f"goal {'differs' if found['goal'] else 'same'}",
            states if found["state_checked"] else "initial states not comparable: they differ without it too",
        ]
    )


@dataclass
class _Moment:
    """The environment after a reset or step."""

    inner: Flat
    """What the wrapped environment shows."""
    outer: Flat
    """What the policy is shown."""
    state: NDArray[np.float64]
    """(S,) simulator state; empty if it cannot be read."""
    streams: Mapping[str, str]


@dataclass
class _Trial:
    """A trial of one seed."""

    moments: list[_Moment] = field(default_factory=list)
    model: Flat = field(default_factory=dict)
    given: list[FloatArray] = field(default_factory=list)
    received: list[FloatArray] = field(default_factory=list)


class PurityCheck:
    """Checks perturbations in one environment.

    Args:
        env: an environment, which is reset.
        inputs: names of the policy's declared inputs; empty for the scripted expert.
        seeds: of the trials; the first two are compared with their twins, the others find effects that are rare.
    """

    def __init__(self, env: gym.Env[Any, Any], label: str, inputs: Collection[str], seeds: Sequence[int]) -> None:
        self._env, self._inputs = env, frozenset(inputs)
        self._seeds, self._more_seeds = seeds[:COMPARED], seeds
        self.offered = offered_by(env, label)
        self._twins: dict[tuple[int, bytes], _Trial] = {}

    def check(self, parts: Perturbations) -> Purity:
        """Return what a perturbation changes.

        Raises:
            UsageError: if the environment does not offer it, it changes nothing that the policy sees and nothing that
                physics depends on, or it changes more than it declares.
        """
        text = text_of(parts)
        for part in parts:
            if reason := part.refusal(self.offered):
                raise UsageError(f"perturbation {text}: {reason}")
        with user_code(f"perturbation {text} raised"):
            trials = [self._trial(seed, parts, STEPS) for seed in self._seeds]
        twins = [self._twin(seed, trial.received) for seed, trial in zip(self._seeds, trials, strict=True)]
        steady = self._is_steady(twins[0])
        pairs = list(zip(trials, twins, strict=True))
        found = Purity(
            observation=tuple(sorted({name for pair in pairs for name in _observed(*pair)})),
            model=tuple(sorted({name for pair in pairs for name in _differing(pair[0].model, pair[1].model)})),
            command=any(_commands_differ(trial) for trial in trials),
            initial_states=sum(_other_start(*pair) for pair in pairs),
            episodes=len(self._seeds),
            state_checked=steady,
        )
        undeclared = _undeclared(parts, found, pairs, steady)
        if undeclared:
            declared = ", ".join(sorted({name for part in parts for name in part.writes})) or "nothing"
            raise UsageError(
                f"perturbation {text} changes more than it declares: {'; '.join(undeclared)} (declared: {declared})"
            )
        if self._reaches(found, pairs):
            return found
        later = self._later(parts)
        if later is None:
            seen = ", ".join(sorted(self._inputs)) or "the simulator's state alone"
            raise UsageError(
                f"perturbation {text} changes nothing this policy sees and nothing that physics depends on (its "
                f"inputs: {seen})"
            )
        entries, command = later
        return replace(found, observation=tuple(sorted({*found.observation, *entries})), command=command)

    def _reaches(self, found: Purity, pairs: "Sequence[tuple[_Trial, _Trial]]") -> bool:
        shown = {name for pair in pairs for name in _shown_differing(*pair)}
        physics = found.command or found.initial_states > 0 or any(not is_visual(name) for name in found.model)
        return physics or bool(self._inputs & set(map(_input_name, shown)))

    def _later(self, parts: Perturbations) -> tuple[set[str], bool] | None:
        """Return the changed entries, and whether commands change, in the first longer trial with an effect.

        A frame that is lost now and then has its effect later.
        """
        for seed in self._more_seeds:
            with user_code(f"perturbation {text_of(parts)} raised"):
                trial = self._trial(seed, parts, MOST_STEPS)
            hooked = {name for moment in trial.moments for name in _differing(moment.inner, moment.outer)}
            if _commands_differ(trial) or self._inputs & set(map(_input_name, hooked)):
                return hooked, _commands_differ(trial)
        return None

    def _trial(self, seed: int, parts: Perturbations, steps: int) -> _Trial:
        spy = _Spy(self._env)
        env = PerturbedEnv(spy, parts)
        found = simulation_of(self._env)
        whole = None if found is None else ModelFields(found[0], ["model.*"])  # a mutant may write anything
        try:
            return self._run(env, spy, seed, _commands(self._env.action_space, steps))
        finally:
            env.restore()
            if whole is not None:
                whole.restore()

    def _twin(self, seed: int, commands: Sequence[FloatArray]) -> _Trial:
        key = (seed, b"".join(command.tobytes() for command in commands))
        if key not in self._twins:
            spy = _Spy(self._env)
            self._twins[key] = self._run(spy, spy, seed, iter(commands))
        return self._twins[key]

    def _is_steady(self, twin: _Trial) -> bool:
        """Return whether the environment does the same again without a perturbation."""
        spy = _Spy(self._env)
        again = self._run(spy, spy, self._seeds[0], iter(twin.received))
        return not _other_start(twin, again) and not _other_motion(twin, again)

    def _run(self, env: gym.Env[Any, Any], spy: "_Spy", seed: int, commands: Iterator[FloatArray]) -> _Trial:
        trial = _Trial()
        skip = hooks_of(env).skip_cameras or (lambda _skip: None)
        skip(False)
        observed, _ = env.reset(seed=seed)
        found = simulation_of(self._env)
        trial.model = {} if found is None else {f"model.{n}": v.copy() for n, v in model_fields(found[0]).items()}
        trial.moments.append(self._moment(spy, observed))
        for command in commands:
            skip(False)
            observed, _, terminated, truncated, _ = env.step(command)
            trial.given.append(command)
            trial.received.append(spy.received)
            trial.moments.append(self._moment(spy, observed))
            if terminated or truncated:
                break
        return trial

    def _moment(self, spy: "_Spy", observed: Any) -> _Moment:
        return _Moment(spy.observed, _flat(observed), _state_of(self._env), _streams_of(self._env))


class _Spy(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps what passes between a perturbation and the environment."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        result = self.env.reset(seed=seed, options=options)
        self.observed = _flat(result[0])
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.received = np.array(action, np.float32)
        result = self.env.step(action)
        self.observed = _flat(result[0])
        return result


def _undeclared(parts: Perturbations, found: Purity, pairs: Sequence[tuple[_Trial, _Trial]], steady: bool) -> list[str]:
    """Return what differs from the twin without being declared or a consequence of what is declared."""
    hooked = {n for trial, _ in pairs for moment in trial.moments for n in _differing(moment.inner, moment.outer)}
    lines = [f"it writes the observation's {name}" for name in sorted(hooked) if not declares(parts, name)]
    if found.command and not (declares(parts, "action") or declares(parts, "timing")):
        lines.append("it changes the commands")
    if others := [name for name in found.model if not declares(parts, name)]:
        lines.append(f"it changes {', '.join(others)}")
    if not steady:
        return lines
    if found.initial_states and not declares(parts, "state"):
        lines.append(f"{found.initial_states} of {found.episodes} initial states differ")
    moved = declares(parts, "state") or any(not is_visual(name) for name in found.model)
    drawn = moved or bool(found.model)
    first = {name for pair in pairs for name in _differing(pair[0].moments[0].outer, pair[1].moments[0].outer)}
    for name in sorted(first - hooked):
        entry = name.partition(".")[0]
        explained = {"pixels": drawn, "agent_pos": declares(parts, "state"), "environment_state": False}[entry]
        if not explained:
            lines.append(f"the first observation's {name} differs")
    if streams := sorted({name for pair in pairs for name in _shifted_streams(*pair)}):
        lines.append(f"random streams of the environment differ: {', '.join(streams)}")
    if not moved and any(_other_motion(*pair) for pair in pairs):
        lines.append("under the same commands the simulation goes another way")
    return lines


def _observed(trial: _Trial, twin: _Trial) -> set[str]:
    """Return the entries that hooks change at any step, or that differ from the twin's after the reset."""
    hooked = {name for moment in trial.moments for name in _differing(moment.inner, moment.outer)}
    return hooked | _differing(trial.moments[0].outer, twin.moments[0].outer)


def _shown_differing(trial: _Trial, twin: _Trial) -> set[str]:
    """Return the entries that the policy is shown otherwise at any step."""
    both = zip(trial.moments, twin.moments, strict=False)
    return {name for one, other in both for name in _differing(one.outer, other.outer)}


def _other_start(trial: _Trial, twin: _Trial) -> bool:
    one, other = trial.moments[0], twin.moments[0]
    if one.state.size or other.state.size:
        return not _same(one.state, other.state)
    return any(not name.startswith("pixels") for name in _differing(one.inner, other.inner))


def _other_motion(trial: _Trial, twin: _Trial) -> bool:
    """Return whether states, or vectors of the observation where there are none, differ at any step."""
    if len(trial.moments) != len(twin.moments):
        return True
    for one, other in zip(trial.moments, twin.moments, strict=True):
        vectors = {name for name in _differing(one.inner, other.inner) if not name.startswith("pixels")}
        if vectors or not _same(one.state, other.state):
            return True
    return False


def _shifted_streams(trial: _Trial, twin: _Trial) -> set[str]:
    """Return the generators whose positions differ after the reset, or after the last step."""
    ends = (0, -1) if len(trial.moments) == len(twin.moments) else (0,)
    pairs = [(trial.moments[end].streams, twin.moments[end].streams) for end in ends]
    return {name for one, other in pairs for name in one if one[name] != other.get(name)}


def _commands_differ(trial: _Trial) -> bool:
    return any(not _same(one, other) for one, other in zip(trial.given, trial.received, strict=True))


def _differing(one: Flat, other: Flat) -> set[str]:
    shared = one.keys() & other.keys()
    return {name for name in shared if not _same(one[name], other[name])} | (one.keys() ^ other.keys())


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def _flat(observed: Any) -> Flat:
    """Return copies of an observation's entries."""
    entries = {name: observed[name] for name in OBSERVED if name in observed}
    pixels = entries.pop("pixels", {})
    cameras = {f"pixels.{name}": np.array(image) for name, image in pixels.items()}
    return cameras | {name: np.array(value, np.float32) for name, value in entries.items()}


def _input_name(entry: str) -> str:
    """Return the policy's name of an observation's entry."""
    names = {"agent_pos": STATE, "environment_state": ENVIRONMENT_STATE}
    return names.get(entry, IMAGE_PREFIX + entry.removeprefix("pixels."))


def _commands(space: gym.Space[Any], steps: int) -> Iterator[FloatArray]:
    """Yield a trial's commands: small motions about the middle of the action space."""
    half = half_range(space)
    middle = np.zeros_like(half)
    if isinstance(space, gym.spaces.Box):
        bounded = np.isfinite(space.low) & np.isfinite(space.high)
        middle = np.where(bounded, np.where(bounded, space.low, 0) / 2 + np.where(bounded, space.high, 0) / 2, 0)
    for step in range(steps):
        yield (middle + _AMPLITUDE * half * (1 + np.sin(1.0 + step + np.arange(len(half))))).astype(np.float32)


def _state_of(env: gym.Env[Any, Any]) -> NDArray[np.float64]:
    hook = hooks_of(env).simulator_state
    if hook is not None:
        return np.array(hook(), np.float64)
    found = simulation_of(env)
    if found is None:
        return np.zeros(0)
    data = found[1]
    return np.concatenate([np.ravel(getattr(data, name)) for name in ("time", "qpos", "qvel", "act", "mocap_pos")])


def _streams_of(env: Any) -> dict[str, str]:
    """Return the positions of the random generators that an environment, or what it wraps, keeps as attributes."""
    found: dict[str, str] = {}
    waiting, seen = [env], set[int]()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        for name, value in getattr(node, "__dict__", {}).items():
            if isinstance(value, np.random.Generator):
                found[f"{type(node).__name__}.{name}"] = _digest(value.bit_generator.state)
            elif isinstance(value, np.random.RandomState):
                found[f"{type(node).__name__}.{name}"] = _digest(value.get_state())
            elif name in ("env", "_env", "task", "_task"):
                waiting.append(value)
        if isinstance(node, gym.Env):
            waiting.append(node.unwrapped)
    return found


def _digest(state: Any) -> str:
    return hashlib.sha256(pickle.dumps(state)).hexdigest()
