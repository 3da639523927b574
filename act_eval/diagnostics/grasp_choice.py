"""Where a policy closes its gripper when two blocks look alike: at the named one, at either, or halfway between.

A closing is described by its grasp choice (0 target, 1 confuser; `act_eval.envs.outcomes`). A condition's closings give
counts at the target, between the blocks and at the confuser, and with them one of four verdicts:

- `goal followed`: at least `GOAL_SHARE` of the closings lie at one and the same block;
- `averaging`: it is not grounded, and what does not lie at its favourite block lies between them rather than at the
  other block;
- `random`: it is not grounded, and what does not lie at its favourite block lies at the other one;
- `inconclusive`: the closings do not decide between these with the error rates below.

The first three are regions that fill the whole triangle of possible shares, so enough closings always decide. Each is
claimed by exact binomial tests whose levels add up to at most 1 % of wrong verdicts, whatever the true shares are
(shown by enumeration in tests/test_modes.py; figures in docs/mode-collapse.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import scipy  # `scipy.stats` takes half as long to load as torch; what is needed of it here is in `scipy.special`
from numpy.typing import NDArray

from act_eval.stats import SuccessRate
from act_eval.types import INVALID, EpisodeRecord

Mode = Literal["averaging", "random", "goal followed", "inconclusive"]
Block = Literal["target", "confuser"]

BETWEEN = (0.25, 0.75)
"""Collapse indices that count as between the blocks."""
GOAL_SHARE = 0.8
"""Share of closings at one block from which a policy is grounded."""
MIN_GRASPS = 8
"""Fewer closings decide nothing, however they fall."""

_GOAL_LEVEL = 0.005  # of the test that the share at a block is at least GOAL_SHARE
_SCATTERED_LEVEL = 0.01  # of the test that it is below, for both blocks
_KIND_LEVEL = 0.005  # of the sign test between "between the blocks" and "at the other block"
_MOST_NEEDED = 5000


@dataclass(frozen=True)
class GraspCounts:
    """How many closings lie where."""

    at_target: int
    between: int
    at_confuser: int

    @classmethod
    def count(cls, indices: Sequence[float] | NDArray[np.float64]) -> "GraspCounts":
        """Count grasp choices by `BETWEEN`, both ends included."""
        values = np.asarray(indices, np.float64)
        at_target, at_confuser = int((values < BETWEEN[0]).sum()), int((values > BETWEEN[1]).sum())
        return cls(at_target, len(values) - at_target - at_confuser, at_confuser)

    @property
    def total(self) -> int:
        """Number of closings."""
        return self.at_target + self.between + self.at_confuser

    @property
    def favourite(self) -> Block:
        """The block with more closings; the target on a tie."""
        return "target" if self.at_target >= self.at_confuser else "confuser"


@dataclass(frozen=True)
class GraspVerdict:
    """What a condition's closings say."""

    mode: Mode
    block: Block | None = None
    """The block that a grounded policy closes at."""
    needed: int | None = None
    """For `inconclusive`: closings that would decide if the shares stayed; None where more than 5,000 would be."""


def detect(closings: GraspCounts) -> GraspVerdict:
    """Return the verdict on a condition's closings; wrong with a probability of at most 1 % for any true shares."""
    decided = _decide(closings)
    if decided is not None:
        return decided
    return GraspVerdict("inconclusive", needed=_needed(closings))


def _decide(closings: GraspCounts) -> GraspVerdict | None:
    total = closings.total
    most, least = max(closings.at_target, closings.at_confuser), min(closings.at_target, closings.at_confuser)
    fewest_grounded, most_scattered = _bounds(total)
    if most >= fewest_grounded:
        return GraspVerdict("goal followed", closings.favourite)
    if most > most_scattered:
        return None
    if _outnumbers(closings.between, least):
        return GraspVerdict("averaging")
    return GraspVerdict("random") if _outnumbers(least, closings.between) else None


@lru_cache(maxsize=8192)
def _bounds(total: int) -> tuple[int, int]:
    """Return the fewest closings at a block that make it grounded, and the most that show that it is not."""
    counts = np.arange(total + 1)
    fewest = 1 + np.sum(scipy.special.bdtrc(counts, total, GOAL_SHARE) > _GOAL_LEVEL)
    most = np.sum(scipy.special.bdtr(counts, total, GOAL_SHARE) <= _SCATTERED_LEVEL) - 1
    return int(fewest), int(most)


@lru_cache(maxsize=8192)
def _outnumbers(many: int, few: int) -> bool:
    """Whether `many` is significantly more than `few` by a one-sided sign test."""
    return many > few and float(scipy.special.bdtrc(many - 1, many + few, 0.5)) <= _KIND_LEVEL


def _needed(closings: GraspCounts) -> int | None:
    """Return the number of closings from which the same shares would decide."""
    if closings.total == 0:
        return MIN_GRASPS
    shares = np.array([closings.at_target, closings.between, closings.at_confuser]) / closings.total
    total = closings.total
    while total < _MOST_NEEDED:
        total += max(1, total // 20)
        at_target, at_confuser = round(shares[0] * total), round(shares[2] * total)
        if _decide(GraspCounts(at_target, total - at_target - at_confuser, at_confuser)) is not None:
            return total
    return None


@dataclass(frozen=True, kw_only=True)
class ConditionGrasps:
    """What the episodes of one condition say of its modes."""

    verdict: GraspVerdict
    episodes: int
    """Valid episodes."""
    closings: GraspCounts
    indices: tuple[float, ...]
    """Collapse indices of the closings, in suite order."""
    off_segment: int
    """Episodes that closed more than 10 cm beside the segment between the blocks."""
    never_closed: int
    nearest_is_target: SuccessRate
    """GraspCounts that are nearer to the target than to the confuser."""
    hesitation_steps: tuple[int, ...]
    """`hesitation` of each episode that closed, where it was recorded."""
    reversals: tuple[int, ...]
    """`reversals` of each episode, where they were recorded."""

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for summaries."""
        return {
            "mode": self.verdict.mode,
            "block": self.verdict.block,
            "needed_closings": self.verdict.needed,
            "episodes": self.episodes,
            "at_target": self.closings.at_target,
            "between": self.closings.between,
            "at_confuser": self.closings.at_confuser,
            "off_segment": self.off_segment,
            "never_closed": self.never_closed,
            "index_quantiles": _quantiles(self.indices),
            "nearest_is_target": [self.nearest_is_target.successes, self.nearest_is_target.trials],
            "hesitation_steps_quantiles": _quantiles(self.hesitation_steps),
            "reversals_mean": float(np.mean(self.reversals)) if self.reversals else None,
        }


def grasp_choices_of(records: Sequence[EpisodeRecord]) -> ConditionGrasps | None:
    """Return what a condition's episodes say of its modes; None where no episode had a confuser."""
    valid = [record for record in records if record.outcome != INVALID and record.detail.get("confuser_xy")]
    if not valid:
        return None
    indices = tuple(record.grasp_choice for record in valid if record.grasp_choice is not None)
    closed = sum(record.detail.get("grasp_step") is not None for record in valid)
    closings = GraspCounts.count(indices)
    return ConditionGrasps(
        verdict=detect(closings),
        episodes=len(valid),
        closings=closings,
        indices=indices,
        off_segment=closed - len(indices),
        never_closed=len(valid) - closed,
        nearest_is_target=SuccessRate(sum(index < 0.5 for index in indices), len(indices)),
        hesitation_steps=tuple(_recorded(valid, "hesitation_steps")),
        reversals=tuple(_recorded(valid, "reversals")),
    )


def grasp_points(records: Sequence[EpisodeRecord]) -> dict[str, NDArray[np.float64]]:
    """Return outcome → (n, 2) closing points seen from above, for episodes that recorded where the blocks lay then.

    The frame is that of the blocks: the target at (0, 0), the confuser at (1, 0), so that the first coordinate is the
    grasp choice; the second is to the left of the way from target to confuser.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        point = grasp_point(record)
        if point is not None:
            found.setdefault(record.outcome, []).append(point)
    return {outcome: np.array(points) for outcome, points in found.items()}


def grasp_point(record: EpisodeRecord) -> tuple[float, float] | None:
    """Return where an episode closed, in the frame of `grasp_points`; None where it recorded no such place."""
    places = [record.detail.get(name) for name in ("grasp_xy", "grasp_target_xy", "grasp_confuser_xy")]
    if not all(isinstance(place, (list, tuple)) and len(place) == 2 for place in places):
        return None
    closed, target, confuser = np.array(places, np.float64)
    along, offset = confuser - target, closed - target
    left = along[0] * offset[1] - along[1] * offset[0]
    length = np.sum(along * along)
    return float(np.sum(offset * along) / length), float(left / length)


def describe(modes: ConditionGrasps, named: Block | None = "target") -> str:
    """Return the verdict in words with its numbers.

    Args:
        modes: of one condition.
        named: the block whose place the policy was told; None where it was told neither.
    """
    closings, total = modes.closings, modes.closings.total
    counts = (
        f"{closings.at_target}/{total} grasps at the target, {closings.between} between, "
        f"{closings.at_confuser} at the confuser"
    )
    if total == 0:
        return (
            f"inconclusive: none of {modes.episodes} episodes closed the gripper within 10 cm of the blocks; "
            f"at least {MIN_GRASPS} grasps are needed"
        )
    spread = "grasp choice median {1:.2f}, 90 % within {0:.2f} … {2:.2f}".format(
        *np.quantile(modes.indices, (0.05, 0.5, 0.95))
    )
    beside = modes.episodes - total
    silent = f"; {beside} of {modes.episodes} episodes grasped nowhere near the blocks" if beside else ""
    return f"{_words(modes.verdict, named, total)}: {counts}; {spread}{silent}"


def _words(verdict: GraspVerdict, named: Block | None, total: int) -> str:
    match verdict.mode:
        case "averaging":
            return "averaging (mode collapse)"
        case "random":
            return "random"
        case "goal followed" if named is None:
            return f"always the {verdict.block}, although the goal input names no block"
        case "goal followed" if verdict.block == named:
            return "goal followed"
        case "goal followed":
            return f"goal reversed (grasps at the {verdict.block}, the goal input names the {named})"
        case _:
            more = "more than 5,000 grasps" if verdict.needed is None else f"about {verdict.needed} grasps"
            return f"inconclusive with {total} grasps ({more} like these would decide)"


NEARER = 0.001
"""A step that brings the gripper this much nearer to where it will close is progress [m] (2 cm/s)."""
SWING = 0.01
"""Motion along the axis target → confuser must go back this far to count as a reversal [m]."""


def hesitation(pinch_pos: NDArray[np.float64], grasp_step: int) -> int:
    """Return the control steps before closing in which the gripper came no nearer to where it closed.

    Standing still, going back and making up for it again all count; a straight approach of any speed above 2 cm/s
    counts nothing.

    Args:
        pinch_pos: (T + 1, 3) point between the jaws, entry 0 after reset [m].
        grasp_step: state in which the gripper closed.
    """
    distance = np.linalg.norm(pinch_pos[: grasp_step + 1] - pinch_pos[grasp_step], axis=1)
    nearest = np.minimum.accumulate(distance)
    return int(np.sum(nearest[:-1] - distance[1:] < NEARER))


def reversals(pinch_xy: NDArray[np.float64], target_xy: NDArray[np.float64], confuser_xy: NDArray[np.float64]) -> int:
    """Return how often the gripper turned round along the axis target → confuser, each time by at least `SWING`.

    Args:
        pinch_xy: (T + 1, 2) point between the jaws from reset to closing [m].
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


def named_block(options: Mapping[str, Any]) -> Block | None:
    """Return the block whose place a suite's option `goal_input` names to the policy."""
    named: dict[str, Block] = {"exact": "target", "confuser": "confuser"}
    return named.get(options.get("goal_input", "exact"))


def _recorded(records: Sequence[EpisodeRecord], name: str) -> list[int]:
    return [record.detail[name] for record in records if record.detail.get(name) is not None]


def _quantiles(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    names = ("min", "p5", "p25", "p50", "p75", "p95", "max")
    return dict(zip(names, np.quantile(values, (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)).tolist(), strict=True))
