"""How far a change moves a policy's chunks, and which block they then head for.

Legend: `N` observations · `C` chunk · `A` action dim · `K` blocks, the scene's target first.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from act_eval.diagnostics.changes import Change, named_block_of
from act_eval.diagnostics.observation_set import ObservationSet
from act_eval.errors import ActionError
from act_eval.types import BoolArray, ChunkPolicy, ChunkRequest, FloatArray, Observation
from act_eval.types.env_hooks import EnvHooks

OPEN = 0.05
"""While the gripper is farther than this from every block, seen from above, its choice between them is open [m]."""
SHARE = 0.9
"""An effect is the quantile of this order over the observations: no input matters in every moment."""

Predict = Callable[[Observation], FloatArray]
"""Observations of the bank, changed or not, N rows → chunks (N, C, A)."""


def predictor(policy: ChunkPolicy, bank: ObservationSet) -> Predict:
    """Return what asks a policy about changed observations of a bank, without delay; randomness is the same always."""
    rows, dim = np.arange(len(bank)), policy.spec.action_dim

    def predict(observation: Observation) -> FloatArray:
        policy.reset(rows.tolist(), bank.seeds.tolist())
        request = ChunkRequest(
            rows=rows,
            steps=bank.steps,
            observation=observation,
            estimated_delay=np.zeros(len(bank), np.int64),
            prefix=np.zeros((len(bank), policy.spec.max_delay, dim), np.float32),
            last_action=bank.last_action,
        )
        chunk_NCA = policy.predict(request).actions
        if not np.isfinite(chunk_NCA).all():
            raise ActionError("the policy's chunks are not finite")
        return chunk_NCA

    return predict


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a change does."""

    input: str | None
    name: str
    rad: float
    """Root mean square over a chunk's commands; the `SHARE` quantile over the observations [rad]."""
    most_rad: float
    """The same, largest over the observations [rad]."""
    mm: float | None
    """Mean distance of the gripper over a chunk's steps; the `SHARE` quantile [mm]. None without kinematics."""
    rigid: bool
    """Whether the chunk's moving along with the observed joints, which its actions are relative to, was taken out."""
    turned: int | None
    """Open observations whose chunk now heads for another block than before; None where that cannot be told."""


@dataclass(frozen=True)
class Baseline:
    """The unchanged bank's chunks, with what they are compared by."""

    chunks: FloatArray
    """(N, C, A)."""
    headings: NDArray[np.int64] | None
    """(N,) block that each chunk heads for; None where that cannot be told."""
    undecided: BoolArray
    """(N,) whether the choice is still open."""
    named: NDArray[np.int64]
    """(N,) block that the coordinates name, -1 for none."""

    @property
    def open(self) -> int:
        """Observations in which the choice is open; 0 where headings cannot be told."""
        return int(self.undecided.sum()) if self.headings is not None else 0

    @property
    def to_named(self) -> int:
        """Open observations whose chunk heads for the named block."""
        return 0 if self.headings is None else int((self.headings == self.named)[self.undecided].sum())


def baseline(predict: Predict, bank: ObservationSet, hooks: EnvHooks) -> Baseline:
    """Return the chunks of the unchanged bank."""
    chunk_NCA = predict(bank.observation)
    near = np.zeros(len(bank), np.bool_)
    if hooks.gripper_position is not None and bank.block_xy.shape[1] > 1:
        gripper = hooks.gripper_position(bank.observation.agent_pos)[:, None, :2]
        near = np.linalg.norm(gripper - bank.block_xy, axis=2).min(axis=1) <= OPEN
    return Baseline(chunk_NCA, _headings(chunk_NCA, bank, hooks), ~near, named_block_of(bank))


def effect_of(change: Change, predict: Predict, before: Baseline, bank: ObservationSet, hooks: EnvHooks) -> Effect:
    """Return what a change does to the chunks of a bank."""
    chunk_NCA = predict(change.observation)
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
        mm=_distance(compared_NCA, before.chunks, hooks),
        rigid=rigid,
        turned=_turned(chunk_NCA, before, bank, hooks),
    )


def _rms(difference_NCA: FloatArray) -> NDArray[np.float64]:
    return np.sqrt(np.mean(np.square(difference_NCA, dtype=np.float64), axis=(1, 2)))


def _distance(first_NCA: FloatArray, second_NCA: FloatArray, hooks: EnvHooks) -> float | None:
    if hooks.gripper_position is None:
        return None
    gap = hooks.gripper_position(first_NCA) - hooks.gripper_position(second_NCA)
    return float(np.quantile(np.linalg.norm(gap, axis=-1).mean(axis=1), SHARE)) * 1000


def _headings(chunk_NCA: FloatArray, bank: ObservationSet, hooks: EnvHooks) -> NDArray[np.int64] | None:
    """Return for each chunk the block that its path comes nearest to, seen from above."""
    if hooks.gripper_position is None or bank.block_xy.shape[1] < 2:
        return None
    path = hooks.gripper_position(chunk_NCA)[..., None, :2]
    return np.linalg.norm(path - bank.block_xy[:, None], axis=-1).min(axis=1).argmin(axis=1)


def _turned(chunk_NCA: FloatArray, before: Baseline, bank: ObservationSet, hooks: EnvHooks) -> int | None:
    after = _headings(chunk_NCA, bank, hooks)
    if after is None or before.headings is None:
        return None
    return int((after != before.headings)[before.undecided].sum())
