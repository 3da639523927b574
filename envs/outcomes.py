"""Outcome rules: pure functions on an episode's log; the first matching rule decides.

Legend: `T` control steps taken · `K` blocks, the target first · positions in the table frame [m].
The rules' version is part of every suite: change it whenever a rule or a number here changes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act_eval.scenes.arm import CLOSING_THRESHOLD
from act_eval.scenes.workspace import BLOCK_SIDE, CONTROL_HZ, TRAY, TRAY_FLOOR
from act_eval.types import BoolArray, FloatArray, Verdict
from act_eval.types.episodes import BETWEEN
from act_eval.types.scene import Variation

OUTCOME_RULES = 1
"""Version of the rules in this file."""

HOLD_STEPS = 10
"""Control steps for which success, or a confuser in the tray, must last."""
LIFT_HEIGHT = 0.03
"""A block this far above its resting height on the table counts as lifted [m]."""
CLEAR_DISTANCE = 0.035
"""The pinch point must be this far from the target's centre for the gripper to be clear of it [m]."""
REST_SPEED = 0.02
"""A block slower than this rests [m/s]."""
REST_HEIGHT = 0.006
"""A block's centre may lie this far above its resting height in the tray and still rest on its floor [m]."""
CLOSING_HEIGHT = 0.05
"""A close command counts as a grasp if the pinch point is below this [m]."""
OFF_SEGMENT = 0.10
"""A grasp farther than this from the segment target → confuser has no grasp choice [m]."""

NEARER = 0.001
"""A step that brings the gripper this much nearer to the grasp position is progress [m] (2 cm/s)."""
SWING = 0.01
"""Motion along the axis target → confuser must go back this far to count as a reversal [m]."""

Positions = NDArray[np.float64]
_PLAIN = Variation()


@dataclass(frozen=True)
class EpisodeLog:
    """Inputs of the outcome rules of one episode; entry 0 of the states is the state after reset."""

    block_pos: Positions
    """(T + 1, K, 3) centres of the blocks."""
    pinch_pos: Positions
    """(T + 1, 3) point between the jaws."""
    jaw_contact: BoolArray
    """(T + 1, K) whether a jaw touches the block."""
    commands: FloatArray
    """(T, 6) clean commands [rad]."""
    target: NDArray[np.int64]
    """(T + 1,) which block is the target; it changes if roles are exchanged."""
    variation: Variation = _PLAIN
    """Sizes and places of the scene."""

    @property
    def steps(self) -> int:
        """Control steps taken."""
        return len(self.commands)


def resting_in_tray(
    position: Positions, previous: Positions, touched: BoolArray, variation: Variation = _PLAIN
) -> BoolArray:
    """Return whether blocks rest in the tray, untouched: inside its walls, on its floor, and slower than `REST_SPEED`.

    Args:
        position: (..., 3) centres now [m].
        previous: (..., 3) centres one control step ago [m].
        touched: (...,) whether a jaw touches the block now.
        variation: sizes and places of the scene.
    """
    speed = np.linalg.norm(position - previous, axis=-1) * CONTROL_HZ
    height = position[..., 2] - (TRAY_FLOOR + variation.resting_height(BLOCK_SIDE))
    return _in_tray(position[..., :2], variation) & (np.abs(height) < REST_HEIGHT) & (speed < REST_SPEED) & ~touched


def placed(log: EpisodeLog) -> BoolArray:
    """Return (T + 1, K): which blocks are placed in each state."""
    previous = np.concatenate([log.block_pos[:1], log.block_pos[:-1]])
    return placed_now(
        log.block_pos, previous, log.pinch_pos[:, None], log.jaw_contact, log.target[:, None], log.variation
    )


def placed_now(
    blocks: Positions,
    previous: Positions,
    pinch: Positions,
    touched: BoolArray,
    target: NDArray[np.int64] | int,
    variation: Variation = _PLAIN,
) -> BoolArray:
    """Return (..., K): which blocks rest in the tray, and for the target also that the gripper is clear of it.

    Args:
        blocks: (..., K, 3) centres now [m].
        previous: (..., K, 3) centres one control step ago [m].
        pinch: (..., 1, 3) point between the jaws [m]; (3,) for a single moment.
        touched: (..., K) whether a jaw touches the block now.
        target: (..., 1) which block is the target.
        variation: sizes and places of the scene.
    """
    resting = resting_in_tray(blocks, previous, touched, variation)
    clear = np.linalg.norm(blocks - pinch, axis=-1) > CLEAR_DISTANCE
    return resting & (clear | (np.arange(blocks.shape[-2]) != target))


def held_until_end(condition: BoolArray) -> int:
    """Return for how many steps up to the end a condition (T,) has held without a gap."""
    broken = np.flatnonzero(~condition)
    return len(condition) - 1 - int(broken[-1]) if len(broken) else len(condition)


def grasp_step(log: EpisodeLog) -> int | None:
    """Return the first state in which a jaw touches a block or a low gripper is commanded to close; None if none."""
    touched = log.jaw_contact.any(axis=1)
    commanded, low = np.zeros(log.steps + 1, bool), CLOSING_HEIGHT + log.variation.table_height
    commanded[:-1] = (log.commands[:, -1] < CLOSING_THRESHOLD) & (log.pinch_pos[:-1, 2] < low)
    steps = np.flatnonzero(touched | commanded)
    return int(steps[0]) if len(steps) else None


def grasp_choice(log: EpisodeLog, step: int | None) -> float | None:
    """Return the position of the grasp on the segment target → confuser: 0 target, 1 confuser.

    With several confusers, the one nearest to the grasp counts. None without a confuser, without a grasp, or if the
    grasp is more than `OFF_SEGMENT` off the segment.
    """
    blocks = log.block_pos.shape[1]
    if step is None or blocks < 2:
        return None
    closed = log.pinch_pos[step, :2]
    target, confuser = _rivals(log, step)
    along = confuser - target
    # Sums instead of `@`: BLAS kernels differ in the last bit, and records must not.
    index = float(np.sum((closed - target) * along) / np.sum(along * along))
    beside = closed - (target + np.clip(index, 0, 1) * along)
    return index if np.linalg.norm(beside) <= OFF_SEGMENT else None


def judge(log: EpisodeLog) -> Verdict:
    """Return the outcome of an episode by the first rule that matches, with the measurements behind it."""
    if not np.isfinite(log.commands).all():
        return Verdict(outcome="policy_error")
    if not (np.isfinite(log.block_pos).all() and np.isfinite(log.pinch_pos).all()):
        return Verdict(outcome="invalid")
    step = grasp_step(log)
    index = grasp_choice(log, step)
    above = log.block_pos[:, :, 2] > log.variation.resting_height(BLOCK_SIDE) + LIFT_HEIGHT
    lifted: BoolArray = np.logical_or.reduce(above)
    lift = np.flatnonzero(above.any(axis=1))
    detail = {
        "grasp_step": step,
        "grasp_xy": None if step is None else [float(v) for v in log.pinch_pos[step, :2]],
        **_approach(log, step),
        "first_contact": _first_contact(log),
        "lifted": [int(b) for b in np.flatnonzero(lifted)],
        "lift_step": int(lift[0]) if len(lift) else None,
        "target_xy": [float(v) for v in log.block_pos[0, log.target[0], :2]],
        "confuser_xy": [[float(v) for v in p[:2]] for b, p in enumerate(log.block_pos[0]) if b != log.target[0]],
    }
    return Verdict(outcome=_outcome(log, step, index, lifted), grasp_choice=index, detail=detail)


def hesitation(pinch_pos: NDArray[np.float64], grasp_step: int) -> int:
    """Return the control steps before the grasp in which the gripper came no nearer to the grasp position.

    Pauses, retreats and their recovery count; a straight approach at any speed above 2 cm/s does not.

    Args:
        pinch_pos: (T + 1, 3) point between the jaws, entry 0 after reset [m].
        grasp_step: state of the grasp.
    """
    distance = np.linalg.norm(pinch_pos[: grasp_step + 1] - pinch_pos[grasp_step], axis=1)
    nearest = np.minimum.accumulate(distance)
    return int(np.sum(nearest[:-1] - distance[1:] < NEARER))


def reversals(pinch_xy: NDArray[np.float64], target_xy: NDArray[np.float64], confuser_xy: NDArray[np.float64]) -> int:
    """Return how often the gripper reversed along the axis target → confuser, each time by at least `SWING`.

    Args:
        pinch_xy: (T + 1, 2) point between the jaws from reset to the grasp [m].
        target_xy: (2,) centre of the target [m].
        confuser_xy: (2,) centre of the confuser [m].
    """
    axis = confuser_xy - target_xy
    along = np.sum((pinch_xy - target_xy) * axis, axis=1) / np.sqrt(np.sum(axis * axis))
    turns, direction = 0, 0
    low = high = along[0]
    for value in along[1:]:
        low, high = min(low, value), max(high, value)
        gone = 1 if value - low >= SWING else -1 if high - value >= SWING else 0
        if gone and gone != direction:
            turns += direction != 0
            direction = gone
        if gone:
            low = high = value
    return turns


def event_detail(log: EpisodeLog, step: int | None, lasts: int) -> dict[str, Any]:
    """Return step and displacement of the target's event.

    Args:
        log: The episode.
        step: Control step in which it began; None without an event.
        lasts: Control steps that it takes.
    """
    places: tuple[list[float] | None, ...] = (None, None)
    if step is not None:
        ends = (step, min(step + lasts, log.steps))
        places = tuple(log.block_pos[state, log.target[state], :2].tolist() for state in ends)
    return {"event_step": step, "event_from_xy": places[0], "event_to_xy": places[1]}


def _rivals(log: EpisodeLog, step: int) -> tuple[Positions, Positions]:
    """Return the (2,) centres of the target and of the confuser nearest to the gripper in a state."""
    target = log.block_pos[step, log.target[step], :2]
    others = np.delete(log.block_pos[step, :, :2], log.target[step], axis=0)
    return target, others[np.argmin(np.linalg.norm(others - log.pinch_pos[step, :2], axis=1))]


def _approach(log: EpisodeLog, step: int | None) -> dict[str, Any]:
    """Return hesitation and reversals of the approach, and the blocks' positions at the grasp."""
    found: dict[str, Any] = {"hesitation_steps": None if step is None else hesitation(log.pinch_pos, step)}
    if log.block_pos.shape[1] < 2:
        return found | {"grasp_target_xy": None, "grasp_confuser_xy": None, "reversals": None}
    last = log.steps if step is None else step
    target, confuser = _rivals(log, last)
    found["grasp_target_xy"] = None if step is None else target.tolist()
    found["grasp_confuser_xy"] = None if step is None else confuser.tolist()
    return found | {"reversals": reversals(log.pinch_pos[: last + 1, :2], target, confuser)}


def _outcome(log: EpisodeLog, step: int | None, index: float | None, lifted: BoolArray) -> str:
    target = log.target[-1]
    lasted = [held_until_end(condition) >= HOLD_STEPS for condition in placed(log).T]
    if lasted[target]:
        return "success"
    if any(kept for block, kept in enumerate(lasted) if block != target):
        return "wrong_block"
    if any(_dropped(log, int(block)) for block in np.flatnonzero(lifted)):
        return "dropped"
    if step is None or lifted.any():
        return "timeout"
    return "between" if index is not None and BETWEEN[0] <= index <= BETWEEN[1] else "missed"


def _dropped(log: EpisodeLog, block: int) -> bool:
    """Whether a lifted block ends outside the tray, out of the jaws."""
    x, y, z = log.block_pos[-1, block]
    lifted = log.variation.resting_height(BLOCK_SIDE) + LIFT_HEIGHT
    down = z < lifted and not log.jaw_contact[-1, block]
    return bool(down and not _in_tray(np.array([x, y]), log.variation))


def _in_tray(points: Positions, variation: Variation) -> BoolArray:
    """Return for points (..., 2) whether they are inside the tray's walls."""
    return TRAY.contains(points - variation.tray_shift)


def _first_contact(log: EpisodeLog) -> int | None:
    """Number of the block that a jaw touched first (0 is the target of the scene), or None."""
    steps, blocks = np.nonzero(log.jaw_contact)
    return int(blocks[np.argmin(steps)]) if len(steps) else None
