"""The grasp verdict: error rates for any true shares, text, and scripted policies with a known truth."""

import itertools
from dataclasses import replace
from functools import lru_cache

import gymnasium as gym
import numpy as np
import pytest
from scipy.stats import multinomial

from act_eval.diagnostics.grasp_choice import (
    GOAL_SHARE,
    MIN_GRASPS,
    GraspCounts,
    describe,
    detect,
    grasp_choices_of,
    named_block,
)
from act_eval.envs.expert import Expert
from act_eval.envs.outcomes import hesitation, reversals
from act_eval.envs.registration import env_id
from act_eval.scenes.workspace import BLOCK_SIDE
from act_eval.seeding import Purpose, episode_seeds
from act_eval.types import EpisodeRecord
from act_eval.types.episodes import BETWEEN

EPISODES = 30
CLOSED_BY = 32
"""Control steps in which a scripted policy has closed its gripper."""


class Aimed:
    """The expert's privileged state with the target moved by a share of the way to the confuser."""

    def __init__(self, env, share):
        self._env, self.share = env, share

    def privileged(self):
        now, shown = self._env.privileged(), self._env.block_positions(self._env.simulator_state())
        place = shown[0] + self.share * (shown[1] - shown[0])
        if self.share == 0:
            return now
        return replace(now, target_pos=np.array([*place[:2], BLOCK_SIDE / 2]), target_yaw=0.0, target_touched=False)


@pytest.fixture(scope="module")
def aimed_at():
    """Share of the way → records of EPISODES seeds that grasped there, in the real environment."""
    env = gym.make(env_id("confuser_pick"), disable_env_checker=True).unwrapped
    env.skip_cameras(True)
    aim = Aimed(env, 0.0)
    expert = Expert(aim)

    @lru_cache
    def records(share):
        aim.share, found = share, []
        for number, seed in enumerate(episode_seeds(Purpose.USER, 5, EPISODES)):
            env.reset(seed=seed)
            for _ in range(CLOSED_BY):
                env.step(expert.act())
                if env.verdict().detail["grasp_step"] is not None:
                    break
            verdict = env.verdict()
            found.append(
                EpisodeRecord(
                    episode=number,
                    seed=seed,
                    outcome=verdict.outcome,
                    steps=CLOSED_BY,
                    grasp_choice=verdict.grasp_choice,
                    detail=verdict.detail,
                )
            )
        return found

    return records


def mixture(aimed_at, shares):
    """Each episode with one of the aims, as shares[aim] says, in an order that has nothing to do with the seeds."""
    counts = {aim: round(share * EPISODES) for aim, share in shares.items()}
    aims = np.random.default_rng(3).permutation(np.repeat(list(counts), list(counts.values())))
    return [aimed_at(float(aim))[episode] for episode, aim in enumerate(aims)]


@pytest.mark.parametrize(
    ("shares", "mode", "block"),
    [
        ({0.0: 1}, "goal followed", "target"),
        ({1.0: 1}, "goal followed", "confuser"),
        ({0.5: 1}, "averaging", None),
        ({0.0: 0.5, 1.0: 0.5}, "random", None),
        ({0.0: 0.4, 0.5: 0.6}, "averaging", None),
        ({0.0: 0.6, 1.0: 0.4}, "random", None),
        ({0.0: 0.9, 1.0: 0.1}, "inconclusive", None),
        ({0.0: 0.4, 0.5: 0.3, 1.0: 0.3}, "inconclusive", None),
    ],
)
def test_scripted_policies_are_seen_as_what_they_are(aimed_at, shares, mode, block):
    grasps = grasp_choices_of(mixture(aimed_at, shares))
    assert grasps is not None
    assert (grasps.verdict.mode, grasps.verdict.block) == (mode, block)
    assert grasps.counts.total == EPISODES
    expected = [round(shares.get(aim, 0) * EPISODES) for aim in (0.0, 0.5, 1.0)]
    assert [grasps.counts.at_target, grasps.counts.between, grasps.counts.at_confuser] == expected
    if 0.5 not in shares:
        assert grasps.nearest_is_target.successes == expected[0]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_indices_of_scripted_policies_are_where_they_aim(aimed_at, share):
    indices = grasp_choices_of(aimed_at(share)).choices
    assert len(indices) == EPISODES
    assert np.abs(np.array(indices) - share).max() < 0.25
    assert abs(np.median(indices) - share) < 0.05


def test_an_expert_hardly_hesitates_and_never_turns_round(aimed_at):
    grasps = grasp_choices_of(aimed_at(0.0))
    assert len(grasps.hesitation_steps) == EPISODES
    assert np.median(grasps.hesitation_steps) <= 4
    assert np.mean(grasps.reversals) < 0.2


def truth(at_target, between, at_confuser):
    """The region that shares lie in; None on the border of two."""
    if max(at_target, at_confuser) >= GOAL_SHARE:
        return ("goal followed", "target" if at_target > at_confuser else "confuser")
    least = min(at_target, at_confuser)
    if np.isclose(between, least):
        return None
    return ("averaging", None) if between > least else ("random", None)


def verdicts(total):
    counts = np.array([(a, b, total - a - b) for a in range(total + 1) for b in range(total + 1 - a)])
    found = [detect(GraspCounts(*map(int, row))) for row in counts]
    return counts, [(verdict.mode, verdict.block) for verdict in found]


@pytest.mark.parametrize("total", [MIN_GRASPS, 20, 24, 50])
def test_at_most_one_wrong_verdict_in_a_hundred_whatever_the_shares(total):
    """Exact: every possible count of grasps, weighted by its probability, for shares in steps of 2.5 %."""
    counts, found = verdicts(total)
    worst, decided = 0.0, 0.0
    grid = [(i / 40, j / 40, (40 - i - j) / 40) for i in range(41) for j in range(41 - i)]
    for shares in grid:
        true = truth(*shares)
        if true is None:
            continue
        probability = multinomial.pmf(counts, total, shares)
        wrong = np.array([verdict not in (true, ("inconclusive", None)) for verdict in found])
        right = np.array([verdict == true for verdict in found])
        worst, decided = max(worst, probability[wrong].sum()), max(decided, probability[right].sum())
    assert worst <= 0.01
    assert decided > 0.99  # it does not keep silent: some shares are recognised for sure


@pytest.mark.parametrize(
    ("centres", "true", "power"),
    [
        ({0.0: 1.0}, ("goal followed", "target"), 0.99),
        ({1.0: 1.0}, ("goal followed", "confuser"), 0.99),
        ({0.5: 1.0}, ("averaging", None), 0.99),
        ({0.0: 0.5, 1.0: 0.5}, ("random", None), 0.9),
    ],
)
def test_fifty_simulated_grasps_of_a_pure_policy_decide(centres, true, power):
    """Grasps scatter by 0.1 around their aim: twice what the shipped policies do."""
    rng, rounds = np.random.default_rng(0), 2000
    found = []
    for _ in range(rounds):
        aims = rng.choice(list(centres), size=50, p=list(centres.values()))
        verdict = detect(GraspCounts.count(aims + rng.normal(0, 0.1, 50)))
        found.append((verdict.mode, verdict.block))
    assert np.mean([verdict == true for verdict in found]) >= power
    assert np.mean([verdict not in (true, ("inconclusive", None)) for verdict in found]) <= 0.01


def test_too_few_grasps_say_how_many_would_do():
    assert detect(GraspCounts(10, 0, 0)).needed == 24
    for at_target in range(23):
        assert detect(GraspCounts(at_target, 0, 0)).mode == "inconclusive"
    assert detect(GraspCounts(24, 0, 0)).mode == "goal followed"
    assert detect(GraspCounts(0, MIN_GRASPS - 1, 0)).mode == "inconclusive"
    assert detect(GraspCounts(0, MIN_GRASPS, 0)).mode == "averaging"
    assert detect(GraspCounts(0, 0, 0)).needed == MIN_GRASPS


@pytest.mark.parametrize(
    "counts", [GraspCounts(14, 1, 1), GraspCounts(5, 6, 1), GraspCounts(9, 0, 4), GraspCounts(30, 5, 0)]
)
def test_the_needed_number_decides(counts):
    verdict = detect(counts)
    assert verdict.mode == "inconclusive"
    factor = verdict.needed / counts.total
    at_target, at_confuser = round(counts.at_target * factor), round(counts.at_confuser * factor)
    assert detect(GraspCounts(at_target, verdict.needed - at_target - at_confuser, at_confuser)).mode != "inconclusive"


def test_shares_on_a_border_never_decide_and_say_so():
    grasps = grasp_choices_of([record(index) for index in [0.0] * 8 + [0.5] * 8 + [1.0] * 8])
    assert grasps.verdict.needed is None
    assert describe(grasps).startswith("inconclusive with 24 grasps (more than 5,000 grasps like these would decide)")


def record(index, outcome="missed", grasp_step=9):
    detail = {"grasp_step": grasp_step, "confuser_xy": [[0.2, 0.0]]}
    return EpisodeRecord(episode=0, seed=0, outcome=outcome, steps=9, grasp_choice=index, detail=detail)


def test_words_name_the_wrong_block_and_a_control():
    grasps = grasp_choices_of([record(1.0)] * 50)
    assert describe(grasps, "target").startswith(
        "goal reversed (grasps at the confuser, the goal input names the target): "
        "0/50 grasps at the target, 0 halfway, 50 at the confuser"
    )
    assert describe(grasps, "confuser").startswith("goal followed: 0/50 grasps at the target")
    assert describe(grasps, None).startswith("always the confuser, although the goal input names no block")
    assert describe(grasp_choices_of([record(0.45)] * 50)).startswith(
        "averaging (mode collapse): 0/50 grasps at the target"
    )
    assert [named_block({"goal_input": c}) for c in ("exact", "confuser", "random", "none")] == [
        "target",
        "confuser",
        None,
        None,
    ]


def test_episodes_without_a_grasp_near_are_counted_apart_and_invalid_ones_left_out():
    grasps = grasp_choices_of(
        [*[record(0.0)] * 30, *[record(None)] * 4, *[record(None, "timeout", None)] * 6, record(0.5, "invalid")]
    )
    assert (grasps.episodes, grasps.counts.total, grasps.off_segment, grasps.never_grasped) == (40, 30, 4, 6)
    assert "10 of 40 episodes grasped nowhere near" in describe(grasps)
    assert describe(grasp_choices_of([record(None)] * 3)) == (
        "inconclusive: none of 3 episodes grasped within 10 cm of the blocks; at least 8 grasps are needed"
    )


def test_without_a_confuser_there_is_nothing_to_say():
    alone = EpisodeRecord(episode=0, seed=0, outcome="success", steps=9, detail={"confuser_xy": []})
    assert grasp_choices_of([alone]) is None
    assert grasp_choices_of([]) is None


def test_summary_is_json():
    import json

    values = grasp_choices_of([record(0.0)] * 24).to_json()
    assert json.loads(json.dumps(values)) == values
    assert (values["mode"], values["block"], values["at_target"]) == ("goal followed", "target", 24)


def test_the_edges_count_as_between():
    assert GraspCounts.count(BETWEEN) == GraspCounts(0, 2, 0)
    assert GraspCounts.count([BETWEEN[0] - 1e-9, BETWEEN[1] + 1e-9]) == GraspCounts(1, 0, 1)


def path(*points):
    """Way of a gripper through (x, y) points, 1 cm per step."""
    legs = [
        np.linspace(a, b, round(np.linalg.norm(np.subtract(b, a)) / 0.01) + 1)[1:]
        for a, b in itertools.pairwise(points)
    ]
    return np.concatenate([[points[0]], *legs])


def test_hesitation_counts_what_brings_the_gripper_no_nearer():
    straight = np.pad(path((0, 0), (0.2, 0)), ((0, 0), (0, 1)))
    assert hesitation(straight, 20) == 0
    paused = np.concatenate([straight[:11], np.repeat(straight[10:11], 7, axis=0), straight[11:]])
    assert hesitation(paused, 27) == 7
    back = np.pad(path((0, 0), (0.1, 0), (0.05, 0), (0.2, 0)), ((0, 0), (0, 1)))
    assert hesitation(back, 30) == 10  # five steps back, and five until it is as near as before
    assert hesitation(straight, 0) == 0


def test_reversals_count_turns_along_the_axis_only():
    target, confuser = np.array([0.2, 0.0]), np.array([0.2, 0.1])
    assert reversals(path((0, 0), (0.2, 0.0)), target, confuser) == 0
    assert reversals(path((0.2, -0.05), (0.2, 0.1)), target, confuser) == 0
    assert reversals(path((0.1, 0), (0.1, 0.05), (0.1, 0), (0.1, 0.05)), target, confuser) == 2
    wiggle = np.array([(0.1, 0.004 * (-1) ** step) for step in range(30)])
    assert reversals(wiggle, target, confuser) == 0
