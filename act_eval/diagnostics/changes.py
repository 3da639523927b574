"""The changes of a probe to a set of observations: each to one declared input, or to the scene.

Verdicts rest on `shuffled`, which exchanges an input for that of another episode and so stays in distribution; zeros,
grey images and shifts may leave it.

An input with a history is changed in all of its moments.

Legend: `N` observations · `O` moments of a history · `K` blocks · `J` joints.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from act_eval.diagnostics.observation_set import ObservationSet
from act_eval.types import (
    ENVIRONMENT_STATE,
    IMAGE_PREFIX,
    STATE,
    ActionChunks,
    ChunkPolicy,
    ChunkRequest,
    FloatArray,
    ImageArray,
    Observation,
    PolicySpec,
)
from act_eval.types.env_hooks import EnvHooks

SHUFFLED = "shuffled"
EXCHANGED = "other block's"
UNDER_DELAY = "under delay"
PREFIX, ESTIMATE, CAMERAS = "prefix", "estimated_delay", "camera_order"
"""Names of what a policy reads beside its declared inputs: the committed prefix, the estimated delay, and which camera
an image comes from."""
PROBED_DELAY = 4
"""Estimated delay at which prefix and estimate are probed, or the policy's largest [steps]."""
SHIFTS = (0.02, 0.05, 0.10)
"""Shifts of the goal input, each row in a random direction [m]."""
GREY = 127
"""Value of every masked pixel."""


@dataclass(frozen=True)
class Change:
    """Changed observations."""

    input: str | None
    """The changed declared input; None if the scene or the whole observation changes."""
    name: str
    """Name of the change."""
    observation: Observation
    """N rows."""
    joints_moved: FloatArray | None = None
    """(N, J) shift of the newest joints; actions relative to them shift by the same amount without a layer that reads
    them."""
    estimated: int = 0
    """Estimated delay of the requests [steps]."""
    prefix: FloatArray | None = None
    """(N, estimated, A) committed commands; None without a delay."""


def timing_changes(spec: PolicySpec, observations: ObservationSet, chunk_NCA: FloatArray) -> list[Change]:
    """Return a request under a delay, and its changes: another episode's prefix, another estimated delay.

    The committed commands are the first ones of the chunk that the policy answers without delay. Empty for policies
    that take no prefix.

    Args:
        spec: the policy's spec.
        observations: the unchanged observations.
        chunk_NCA: the policy's chunks without delay.
    """
    delay = min(PROBED_DELAY, spec.max_delay)
    if not spec.takes_prefix or delay < 1:
        return []
    whole, prefix = observations.observation, chunk_NCA[:, :delay]
    return [
        Change(None, UNDER_DELAY, whole, estimated=delay, prefix=prefix),
        Change(PREFIX, SHUFFLED, whole, estimated=delay, prefix=prefix[observations.permuted_rows()]),
        Change(ESTIMATE, f"{delay - 1} for {delay}", whole, estimated=delay - 1, prefix=prefix[:, : delay - 1]),
    ]


def named_block_of(observations: ObservationSet) -> NDArray[np.int64]:
    """Return for each row the block nearest to the goal input (N,), -1 without blocks or goal input."""
    goal = observations.observation.latest().environment_state
    if goal is None or goal.shape[1] != 2 or observations.block_xy.shape[1] == 0:
        return np.full(len(observations), -1)
    return np.linalg.norm(observations.block_xy - goal[:, None], axis=2).argmin(axis=1)


def changes(spec: PolicySpec, observations: ObservationSet, hooks: EnvHooks, short: bool = False) -> Iterator[Change]:
    """Yield the changes of a policy's declared inputs and of the scene.

    Args:
        spec: the policy's spec.
        observations: the unchanged observations.
        hooks: the environment's hooks, which render changed scenes.
        short: only the changes that decide verdicts.
    """
    whole, permuted_rows = observations.observation, observations.permuted_rows()
    exchanged = whole.take(permuted_rows)
    for name in spec.inputs:
        if name == ENVIRONMENT_STATE and whole.environment_state is not None:
            yield from _goal_input(observations, exchanged, short)
        elif name == STATE:
            yield from _joints(whole, exchanged, short)
        elif name.startswith(IMAGE_PREFIX) and name.removeprefix(IMAGE_PREFIX) in whole.pixels:
            yield from _camera(whole, exchanged, name, short)
    yield from _camera_order(spec, whole)
    if not short:
        yield from _scene(spec, observations, hooks)


def _camera_order(spec: PolicySpec, whole: Observation) -> Iterator[Change]:
    """Exchange the images of the first two cameras of one size."""
    names = [name for name in spec.cameras if name in whole.pixels]
    pairs = [(a, b) for a, b in combinations(names, 2) if whole.pixels[a].shape == whole.pixels[b].shape]
    for first, second in pairs[:1]:
        pixels = {**whole.pixels, first: whole.pixels[second], second: whole.pixels[first]}
        yield Change(CAMERAS, f"{first} and {second} exchanged", replace(whole, pixels=pixels))


def _goal_input(observations: ObservationSet, exchanged: Observation, short: bool) -> Iterator[Change]:
    whole = observations.observation
    goal = whole.environment_state
    assert goal is not None

    def change(name: str, value: NDArray[np.floating] | None) -> Change:
        moved = None if value is None else value.astype(np.float32)
        return Change(ENVIRONMENT_STATE, name, replace(whole, environment_state=moved))

    def at_all_moments(value_NK: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.broadcast_to(value_NK if goal.ndim == 2 else value_NK[:, None], goal.shape)

    yield change(SHUFFLED, exchanged.environment_state)
    if observations.block_xy.shape[1] > 1 and goal.shape[-1] == 2:
        yield change(EXCHANGED, at_all_moments(_other_block(observations)))
    if not short:
        yield change("zeroed", np.zeros_like(goal))
    if goal.shape[-1] == 2:
        angle = np.random.default_rng(1).uniform(0, 2 * np.pi, len(observations))
        direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        for distance in SHIFTS[:1] if short else SHIFTS:
            yield change(shift_name(distance), goal + distance * at_all_moments(direction))


def shift_name(distance: float) -> str:
    """Return the name of a shift of the goal input [m]."""
    return f"shifted {100 * distance:g} cm"


def _other_block(observations: ObservationSet) -> NDArray[np.float64]:
    """Return (N, 2) positions of the block that the goal input does not name; of several, the nearest to the named."""
    rows, named = np.arange(len(observations)), named_block_of(observations)
    gaps = np.linalg.norm(observations.block_xy - observations.block_xy[rows, named][:, None], axis=2)
    gaps[rows, named] = np.inf
    return observations.block_xy[rows, gaps.argmin(axis=1)]


def _joints(whole: Observation, exchanged: Observation, short: bool) -> Iterator[Change]:
    def change(name: str, value: FloatArray) -> Change:
        changed = replace(whole, agent_pos=value)
        return Change(STATE, name, changed, changed.latest().agent_pos - whole.latest().agent_pos)

    yield change(SHUFFLED, exchanged.agent_pos)
    if not short:
        yield change("zeroed", np.zeros_like(whole.agent_pos))


def _camera(whole: Observation, exchanged: Observation, name: str, short: bool) -> Iterator[Change]:
    camera = name.removeprefix(IMAGE_PREFIX)
    pixels = {**whole.pixels, camera: exchanged.pixels[camera]}
    yield Change(name, SHUFFLED, replace(whole, pixels=pixels))
    if not short:
        yield Change(name, "grey", replace(whole, pixels=blanked(whole.pixels, (camera,))))


def _scene(spec: PolicySpec, observations: ObservationSet, hooks: EnvHooks) -> Iterator[Change]:
    """Changes of the camera images; the goal input stays."""
    shapes = [(name, spec.inputs[IMAGE_PREFIX + name]) for name in spec.cameras]
    if observations.block_xy.shape[1] < 2 or not shapes:
        return
    whole = observations.observation
    for name, edit in (
        ("confuser hidden", hooks.without_confusers),
        ("blocks exchanged", hooks.with_blocks_exchanged),
    ):
        images = None if edit is None else _rendered(hooks, edit, observations.states, shapes)
        if images is not None:
            yield Change(None, name, replace(whole, pixels={**whole.pixels, **images}))
    yield Change(None, "all cameras grey", replace(whole, pixels=blanked(whole.pixels, spec.cameras)))


def _rendered(
    hooks: EnvHooks,
    edit: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    states_NOS: NDArray[np.float64],
    cameras: Sequence[tuple[str, tuple[int, ...]]],
) -> dict[str, ImageArray] | None:
    """Return images of edited states for cameras given with their (H, W, 3); None without a renderer.

    Returns:
        Camera → (N, H, W, 3), or (N, O, H, W, 3) with a history.
    """
    render = hooks.render_state
    if render is None:
        return None
    scenes = [[edit(state) for state in states] for states in states_NOS]
    images = {
        name: np.array([[render(state, name, height, width) for state in states] for states in scenes])
        for name, (height, width, *_) in cameras
    }
    return {name: image if image.shape[1] > 1 else image[:, 0] for name, image in images.items()}


def blanked(pixels: Mapping[str, ImageArray], cameras: Sequence[str]) -> dict[str, ImageArray]:
    """Return the images, those of some cameras masked with grey."""
    return {name: np.full_like(image, GREY) if name in cameras else image for name, image in pixels.items()}


class MaskedImages:
    """A policy with grey camera images; implements `act_eval.types.ChunkPolicy`."""

    def __init__(self, policy: ChunkPolicy) -> None:
        self._policy = policy

    @property
    def spec(self) -> PolicySpec:
        return self._policy.spec

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        self._policy.reset(rows, seeds)

    def predict(self, request: ChunkRequest) -> ActionChunks:
        seen: Observation = request.observation
        dark = replace(seen, pixels=blanked(seen.pixels, tuple(seen.pixels)))
        return self._policy.predict(replace(request, observation=dark))

    def close(self) -> None:
        """Close the connection of a remote policy."""
        if hasattr(self._policy, "close"):
            self._policy.close()  # pyright: ignore[reportAttributeAccessIssue]  # an ability that some have
