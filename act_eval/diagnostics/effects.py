"""How far a change moves a policy's chunks, and which block they then approach.

Legend: `N` observations · `C` chunk · `A` action dim · `K` blocks, the scene's target first.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from act_eval.diagnostics.changes import Change, named_block_of
from act_eval.diagnostics.observation_set import ObservationSet
from act_eval.errors import ActionError
from act_eval.types import BoolArray, ChunkPolicy, ChunkRequest, FloatArray
from act_eval.types.env_hooks import EnvHooks

OPEN = 0.05
"""The choice of a block is open while the gripper is farther than this from every block, seen from above [m]."""
SHARE = 0.9
"""An effect is this quantile over the observations, since no input matters at every moment."""

Predict = Callable[[Change], FloatArray]
"""Observations, changed or not, N rows, and the timing of their requests → chunks (N, C, A)."""


def predictor(policy: ChunkPolicy, observations: ObservationSet) -> Predict:
    """Return a function that requests chunks for changed observations, with the same seeds."""
    rows, dim = np.arange(len(observations)), policy.spec.action_dim

    def predict(change: Change) -> FloatArray:
        policy.reset(rows.tolist(), observations.seeds.tolist())
        delay = np.full(len(observations), change.estimated, np.int64)
        prefix = np.zeros((len(observations), policy.spec.max_delay, dim), np.float32)
        if change.prefix is not None:
            prefix[:, : change.estimated] = change.prefix
        last = observations.last_action
        request = replace(
            ChunkRequest.without_prefix(policy.spec, rows, observations.steps, change.observation, last),
            estimated_delay=delay,
            prefix=prefix,
            prefix_known=delay,
        )
        chunk_NCA = policy.predict(request).actions
        if not np.isfinite(chunk_NCA).all():
            raise ActionError("the policy's chunks are not finite")
        return chunk_NCA

    return predict


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The effect of a change on the chunks."""

    input: str | None
    name: str
    rad: float
    """Root mean square over a chunk's commands; the `SHARE` quantile over the observations [rad]."""
    most_rad: float
    """The same, largest over the observations [rad]."""
    median_rad: float
    """The same, median over the observations [rad]."""
    mm: float | None
    """Mean distance of the gripper over a chunk's steps; the `SHARE` quantile [mm]. None without kinematics."""
    rigid: bool
    """Whether the motion of actions relative to the observed joints was subtracted."""
    turned: int | None
    """Open observations whose chunk now approaches another block; None without kinematics or blocks."""


@dataclass(frozen=True)
class IntactChunks:
    """The chunks of the unchanged observations, with the blocks that they approach."""

    chunks: FloatArray
    """(N, C, A)."""
    approached: NDArray[np.int64] | None
    """(N,) block that each chunk approaches; None without kinematics or blocks."""
    undecided: BoolArray
    """(N,) whether the choice is still open."""
    named: NDArray[np.int64]
    """(N,) block that the goal input names, -1 for none."""

    @property
    def open(self) -> int:
        """Observations in which the choice is open; 0 without kinematics or blocks."""
        return int(self.undecided.sum()) if self.approached is not None else 0

    @property
    def to_named(self) -> int:
        """Open observations whose chunk approaches the named block."""
        return 0 if self.approached is None else int((self.approached == self.named)[self.undecided].sum())


def intact_chunks(
    predict: Predict, observations: ObservationSet, hooks: EnvHooks, timing: Change | None = None
) -> IntactChunks:
    """Return the chunks of the unchanged observations, requested without delay or under a change's."""
    chunk_NCA = predict(timing or Change(None, "unchanged", observations.observation))
    near = np.zeros(len(observations), np.bool_)
    if hooks.gripper_position is not None and observations.block_xy.shape[1] > 1:
        gripper = hooks.gripper_position(observations.observation.latest().agent_pos)[:, None, :2]
        near = np.linalg.norm(gripper - observations.block_xy, axis=2).min(axis=1) <= OPEN
    return IntactChunks(chunk_NCA, _approached(chunk_NCA, observations, hooks), ~near, named_block_of(observations))


def effect_of(
    change: Change, predict: Predict, before: IntactChunks, observations: ObservationSet, hooks: EnvHooks
) -> Effect:
    """Return the effect of a change on the chunks."""
    chunk_NCA = predict(change)
    compared_NCA, moved, rigid = chunk_NCA, _rms(chunk_NCA - before.chunks), False
    if change.joints_moved is not None and change.joints_moved.shape[1] == chunk_NCA.shape[2]:
        freed_NCA = chunk_NCA - change.joints_moved[:, None]
        freed = _rms(freed_NCA - before.chunks)
        if np.median(freed) < np.median(moved):
            compared_NCA, moved, rigid = freed_NCA, freed, True
    return Effect(
        input=change.input,
        name=change.name,
        rad=float(np.quantile(moved, SHARE)),
        most_rad=float(moved.max()),
        median_rad=float(np.median(moved)),
        mm=_distance(compared_NCA, before.chunks, hooks),
        rigid=rigid,
        turned=_turned(chunk_NCA, before, observations, hooks),
    )


def _rms(difference_NCA: FloatArray) -> NDArray[np.float64]:
    return np.sqrt(np.mean(np.square(difference_NCA, dtype=np.float64), axis=(1, 2)))


def _distance(first_NCA: FloatArray, second_NCA: FloatArray, hooks: EnvHooks) -> float | None:
    if hooks.gripper_position is None:
        return None
    gap = hooks.gripper_position(first_NCA) - hooks.gripper_position(second_NCA)
    return float(np.quantile(np.linalg.norm(gap, axis=-1).mean(axis=1), SHARE)) * 1000


def _approached(chunk_NCA: FloatArray, observations: ObservationSet, hooks: EnvHooks) -> NDArray[np.int64] | None:
    """Return for each chunk the block that its path comes nearest to, seen from above."""
    if hooks.gripper_position is None or observations.block_xy.shape[1] < 2:
        return None
    path = hooks.gripper_position(chunk_NCA)[..., None, :2]
    return np.linalg.norm(path - observations.block_xy[:, None], axis=-1).min(axis=1).argmin(axis=1)


def _turned(chunk_NCA: FloatArray, before: IntactChunks, observations: ObservationSet, hooks: EnvHooks) -> int | None:
    after = _approached(chunk_NCA, observations, hooks)
    if after is None or before.approached is None:
        return None
    return int((after != before.approached)[before.undecided].sum())
