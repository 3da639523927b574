"""Grasp choice: where a policy grasps if two blocks look alike, at the named one, at either, or between them.

The grasp choice is the position of a grasp on the segment from target (0) to confuser (1); `act_eval.envs.outcomes`
measures it.
The counts of a condition at the target, between the blocks and at the confuser give one of four verdicts:

- `goal followed`: at least `GOAL_SHARE` of the grasps are at one block;
- `averaging`: fewer are, and more of the rest are between the blocks than at the other block;
- `random`: fewer are, and more of the rest are at the other block than between the blocks;
- `inconclusive`: the grasps do not decide between these at the error rates below.

The first three regions fill the triangle of possible shares, so enough grasps always decide. Exact binomial tests
decide, with levels that add up to at most 1 % of wrong verdicts for any true shares (enumerated in
tests/diagnostics/test_grasp_choice.py; numbers in docs/mode-collapse.md).
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
from act_eval.types.episodes import BETWEEN

GraspMode = Literal["averaging", "random", "goal followed", "inconclusive"]
Block = Literal["target", "confuser"]

GOAL_SHARE = 0.8
"""Smallest share of grasps at one block for `goal followed`."""
MIN_GRASPS = 8
"""Smallest number of grasps for a verdict."""

_GOAL_LEVEL = 0.005  # of the test that the share at a block is at least GOAL_SHARE
_SCATTERED_LEVEL = 0.01  # of the test that the share is below, for both blocks
_KIND_LEVEL = 0.005  # of the sign test between "between the blocks" and "at the other block"
_MOST_NEEDED = 5000


@dataclass(frozen=True)
class GraspCounts:
    """Counts of grasps by position."""

    at_target: int
    between: int
    at_confuser: int

    @classmethod
    def count(cls, choices: Sequence[float] | NDArray[np.float64]) -> "GraspCounts":
        """Count grasp choices by `BETWEEN`, both ends included."""
        values = np.asarray(choices, np.float64)
        at_target, at_confuser = int((values < BETWEEN[0]).sum()), int((values > BETWEEN[1]).sum())
        return cls(at_target, len(values) - at_target - at_confuser, at_confuser)

    @property
    def total(self) -> int:
        """Number of grasps."""
        return self.at_target + self.between + self.at_confuser

    @property
    def favourite(self) -> Block:
        """The block with more grasps; the target on a tie."""
        return "target" if self.at_target >= self.at_confuser else "confuser"


@dataclass(frozen=True)
class GraspVerdict:
    """The verdict on a condition's grasps."""

    mode: GraspMode
    block: Block | None = None
    """The block of `goal followed`."""
    needed: int | None = None
    """For `inconclusive`: grasps that would decide at the same shares; None for more than 5,000."""


def detect(counts: GraspCounts) -> GraspVerdict:
    """Return the verdict on a condition's grasps; wrong with a probability of at most 1 % for any true shares."""
    decided = _decide(counts)
    if decided is not None:
        return decided
    return GraspVerdict("inconclusive", needed=_needed(counts))


def _decide(counts: GraspCounts) -> GraspVerdict | None:
    total = counts.total
    most, least = max(counts.at_target, counts.at_confuser), min(counts.at_target, counts.at_confuser)
    at_least, at_most = _bounds(total)
    if most >= at_least:
        return GraspVerdict("goal followed", counts.favourite)
    if most > at_most:
        return None
    if _outnumbers(counts.between, least):
        return GraspVerdict("averaging")
    return GraspVerdict("random") if _outnumbers(least, counts.between) else None


@lru_cache(maxsize=8192)
def _bounds(total: int) -> tuple[int, int]:
    """Return the smallest count at a block that proves `GOAL_SHARE`, and the largest that disproves it."""
    counts = np.arange(total + 1)
    fewest = 1 + np.sum(scipy.special.bdtrc(counts, total, GOAL_SHARE) > _GOAL_LEVEL)
    most = np.sum(scipy.special.bdtr(counts, total, GOAL_SHARE) <= _SCATTERED_LEVEL) - 1
    return int(fewest), int(most)


@lru_cache(maxsize=8192)
def _outnumbers(many: int, few: int) -> bool:
    """Return whether `many` is significantly more than `few` by a one-sided sign test."""
    return many > few and float(scipy.special.bdtrc(many - 1, many + few, 0.5)) <= _KIND_LEVEL


def _needed(counts: GraspCounts) -> int | None:
    """Return the number of grasps that would decide at the same shares."""
    if counts.total == 0:
        return MIN_GRASPS
    shares = np.array([counts.at_target, counts.between, counts.at_confuser]) / counts.total
    total = counts.total
    while total < _MOST_NEEDED:
        total += max(1, total // 20)
        at_target, at_confuser = round(shares[0] * total), round(shares[2] * total)
        if _decide(GraspCounts(at_target, total - at_target - at_confuser, at_confuser)) is not None:
            return total
    return None


@dataclass(frozen=True, kw_only=True)
class ConditionGrasps:
    """The grasps of one condition and their verdict."""

    verdict: GraspVerdict
    episodes: int
    """Valid episodes."""
    counts: GraspCounts
    choices: tuple[float, ...]
    """Grasp choice of each grasp, in suite order."""
    off_segment: int
    """Episodes with a grasp more than 10 cm beside the segment between the blocks."""
    never_grasped: int
    nearest_is_target: SuccessRate
    """Grasps nearer to the target than to the confuser."""
    hesitation_steps: tuple[int, ...]
    """`hesitation` of each episode with a grasp, if recorded."""
    reversals: tuple[int, ...]
    """`reversals` of each episode, if recorded."""

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for summaries."""
        return {
            "mode": self.verdict.mode,
            "block": self.verdict.block,
            "needed_grasps": self.verdict.needed,
            "episodes": self.episodes,
            "at_target": self.counts.at_target,
            "between": self.counts.between,
            "at_confuser": self.counts.at_confuser,
            "off_segment": self.off_segment,
            "never_grasped": self.never_grasped,
            "grasp_choice_quantiles": _quantiles(self.choices),
            "nearest_is_target": [self.nearest_is_target.successes, self.nearest_is_target.trials],
            "hesitation_steps_quantiles": _quantiles(self.hesitation_steps),
            "reversals_mean": float(np.mean(self.reversals)) if self.reversals else None,
        }


def grasp_choices_of(records: Sequence[EpisodeRecord]) -> ConditionGrasps | None:
    """Return the grasps of a condition's episodes and their verdict; None if no episode had a confuser."""
    valid = [record for record in records if record.outcome != INVALID and record.detail.get("confuser_xy")]
    if not valid:
        return None
    choices = tuple(record.grasp_choice for record in valid if record.grasp_choice is not None)
    grasped = sum(record.detail.get("grasp_step") is not None for record in valid)
    counts = GraspCounts.count(choices)
    return ConditionGrasps(
        verdict=detect(counts),
        episodes=len(valid),
        counts=counts,
        choices=choices,
        off_segment=grasped - len(choices),
        never_grasped=len(valid) - grasped,
        nearest_is_target=SuccessRate(sum(choice < 0.5 for choice in choices), len(choices)),
        hesitation_steps=tuple(_recorded(valid, "hesitation_steps")),
        reversals=tuple(_recorded(valid, "reversals")),
    )


def grasp_points(records: Sequence[EpisodeRecord]) -> dict[str, NDArray[np.float64]]:
    """Return outcome → (n, 2) grasp positions seen from above, for episodes with recorded block positions.

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
    """Return the grasp position of an episode in the frame of `grasp_points`; None if it was not recorded."""
    places = [record.detail.get(name) for name in ("grasp_xy", "grasp_target_xy", "grasp_confuser_xy")]
    pairs = [place for place in places if isinstance(place, (list, tuple)) and len(place) == 2]
    if len(pairs) < 3 or not all(isinstance(value, int | float) for pair in pairs for value in pair):
        return None
    grasp, target, confuser = np.array(pairs, np.float64)
    along, offset = confuser - target, grasp - target
    left = along[0] * offset[1] - along[1] * offset[0]
    length = np.sum(along * along)
    return float(np.sum(offset * along) / length), float(left / length)


def describe(grasps: ConditionGrasps, named: Block | None = "target") -> str:
    """Return the verdict as a line with its numbers.

    Args:
        grasps: of one condition.
        named: the block that the goal input names; None if it names neither.
    """
    counts, total = grasps.counts, grasps.counts.total
    where = (
        f"{counts.at_target}/{total} grasps at the target, {counts.between} halfway, "
        f"{counts.at_confuser} at the confuser"
    )
    if total == 0:
        return (
            f"inconclusive: none of {grasps.episodes} episodes grasped within 10 cm of the blocks; "
            f"at least {MIN_GRASPS} grasps are needed"
        )
    spread = "grasp choice median {1:.2f}, 90 % within {0:.2f} … {2:.2f}".format(
        *np.quantile(grasps.choices, (0.05, 0.5, 0.95))
    )
    beside = grasps.episodes - total
    silent = f"; {beside} of {grasps.episodes} episodes grasped nowhere near the blocks" if beside else ""
    return f"{_words(grasps.verdict, named, total)}: {where}; {spread}{silent}"


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
            return f"inconclusive with {total} {'grasp' if total == 1 else 'grasps'} ({more} like these would decide)"


def named_block(options: Mapping[str, Any]) -> Block | None:
    """Return the block that a suite's option `goal_input` names to the policy."""
    named: dict[str, Block] = {"exact": "target", "click": "target", "confuser": "confuser"}
    return named.get(options.get("goal_input", "exact"))


def _recorded(records: Sequence[EpisodeRecord], name: str) -> list[int]:
    return [record.detail[name] for record in records if record.detail.get(name) is not None]


def _quantiles(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    names = ("min", "p5", "p25", "p50", "p75", "p95", "max")
    return dict(zip(names, np.quantile(values, (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)).tolist(), strict=True))
