"""The changes that probes make to a bank of observations: to one declared input each, or to the scene.

Exchanging an input for another episode's (`shuffled`) keeps it as the policy knows it and is what verdicts rest on;
zeros, grey images and shifts may take the policy where it has never been.

Legend: `N` observations · `K` blocks · `J` joints.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from act_eval.diagnostics.controls import blanked
from act_eval.diagnostics.observation_set import ObservationSet
from act_eval.types import ENVIRONMENT_STATE, IMAGE_PREFIX, STATE, FloatArray, ImageArray, Observation, PolicySpec
from act_eval.types.env_hooks import EnvHooks

SHUFFLED = "shuffled"
EXCHANGED = "other block's"
SHIFTS = (0.02, 0.05, 0.10)
"""Distances by which coordinates are shifted, each row in a direction of its own [m]."""


@dataclass(frozen=True)
class Change:
    """A changed bank."""

    input: str | None
    """The declared input that differs; None where the scene or the whole observation does."""
    name: str
    """What was done."""
    observation: Observation
    """N rows."""
    joints_moved: FloatArray | None = None
    """(N, J) by how much the joints were moved: actions relative to the observed joints move along by as much,
    without any layer reading them."""


def named_block_of(bank: ObservationSet) -> NDArray[np.int64]:
    """Return for each row the block nearest to the told coordinates (N,), -1 without blocks or coordinates."""
    estimated = bank.observation.environment_state
    if estimated is None or estimated.shape[1] != 2 or bank.block_xy.shape[1] == 0:
        return np.full(len(bank), -1)
    return np.linalg.norm(bank.block_xy - estimated[:, None], axis=2).argmin(axis=1)


def changes(spec: PolicySpec, bank: ObservationSet, hooks: EnvHooks, short: bool = False) -> Iterator[Change]:
    """Yield the changes that a policy's declared inputs and the scene allow.

    Args:
        spec: of the policy.
        bank: observations that are changed.
        hooks: of the environment, which render changed scenes.
        short: only what verdicts on declared inputs rest on.
    """
    whole, permuted_rows = bank.observation, bank.permuted_rows()
    exchanged = whole.take(permuted_rows)
    for name in spec.inputs:
        if name == ENVIRONMENT_STATE and whole.environment_state is not None:
            yield from _coordinates(bank, exchanged, short)
        elif name == STATE:
            yield from _joints(whole, exchanged, short)
        elif name.startswith(IMAGE_PREFIX) and name.removeprefix(IMAGE_PREFIX) in whole.pixels:
            yield from _camera(whole, exchanged, name, short)
    if not short:
        yield from _scene(spec, bank, hooks)


def _coordinates(bank: ObservationSet, exchanged: Observation, short: bool) -> Iterator[Change]:
    whole = bank.observation
    estimated = whole.environment_state
    assert estimated is not None

    def change(name: str, value: NDArray[np.floating] | None) -> Change:
        moved = None if value is None else value.astype(np.float32)
        return Change(ENVIRONMENT_STATE, name, replace(whole, environment_state=moved))

    yield change(SHUFFLED, exchanged.environment_state)
    if bank.block_xy.shape[1] > 1:
        yield change(EXCHANGED, _other_block(bank))
    if short:
        return
    yield change("zeroed", np.zeros_like(estimated))
    if estimated.shape[1] == 2:
        angle = np.random.default_rng(1).uniform(0, 2 * np.pi, len(bank))
        direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        for distance in SHIFTS:
            yield change(f"shifted {100 * distance:g} cm", estimated + distance * direction)


def _other_block(bank: ObservationSet) -> NDArray[np.float64]:
    """Return (N, 2): where the block lies that the coordinates do not name; of several the nearest to the named."""
    rows, estimated = np.arange(len(bank)), named_block_of(bank)
    gaps = np.linalg.norm(bank.block_xy - bank.block_xy[rows, estimated][:, None], axis=2)
    gaps[rows, estimated] = np.inf
    return bank.block_xy[rows, gaps.argmin(axis=1)]


def _joints(whole: Observation, exchanged: Observation, short: bool) -> Iterator[Change]:
    def change(name: str, value: FloatArray) -> Change:
        return Change(STATE, name, replace(whole, agent_pos=value), value - whole.agent_pos)

    yield change(SHUFFLED, exchanged.agent_pos)
    if not short:
        yield change("zeroed", np.zeros_like(whole.agent_pos))


def _camera(whole: Observation, exchanged: Observation, name: str, short: bool) -> Iterator[Change]:
    camera = name.removeprefix(IMAGE_PREFIX)
    pixels = {**whole.pixels, camera: exchanged.pixels[camera]}
    yield Change(name, SHUFFLED, replace(whole, pixels=pixels))
    if not short:
        yield Change(name, "grey", replace(whole, pixels=blanked(whole.pixels, (camera,))))


def _scene(spec: PolicySpec, bank: ObservationSet, hooks: EnvHooks) -> Iterator[Change]:
    """Changes of what the cameras show; the coordinates stay."""
    shapes = [(name, spec.inputs[IMAGE_PREFIX + name]) for name in spec.cameras]
    if bank.block_xy.shape[1] < 2 or not shapes:
        return
    for name, edit in (
        ("confuser hidden", hooks.without_confusers),
        ("blocks exchanged", hooks.with_blocks_exchanged),
    ):
        images = None if edit is None else _rendered(hooks, map(edit, bank.states), shapes)
        if images is not None:
            yield Change(None, name, _showing(bank.observation, images))
    whole = bank.observation
    yield Change(None, "all cameras grey", replace(whole, pixels=blanked(whole.pixels, spec.cameras)))


def _rendered(
    hooks: EnvHooks, states: Iterable[NDArray[np.float64]], cameras: Sequence[tuple[str, tuple[int, ...]]]
) -> dict[str, ImageArray] | None:
    """Return images (N, H, W, 3) of states for cameras given with their (H, W, 3); None without a renderer."""
    render = hooks.render_state
    if render is None:
        return None
    shown = list(states)
    return {
        name: np.stack([render(state, name, height, width) for state in shown]) for name, (height, width, *_) in cameras
    }


def _showing(observation: Observation, images: dict[str, ImageArray]) -> Observation:
    return replace(observation, pixels={**observation.pixels, **images})
