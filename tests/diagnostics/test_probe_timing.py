"""Verdicts on prefix, estimated delay, camera order and coarse goals: intact, noisy and mutilated policies."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch

from act_eval.diagnostics import ObservationSet, ProbeReport, collect_observations, probe
from act_eval.envs.expert_executor import ExpertExecutor
from act_eval.envs.registration import env_id
from act_eval.policies.checkpoint import load_pretrained
from act_eval.policies.serve import TorchChunkPolicy
from act_eval.seeding import Purpose, episode_seeds
from act_eval.sources.policies import checkpoint_folder
from act_eval.types import ENVIRONMENT_STATE, ActionChunks, ChunkPolicy, ChunkRequest
from act_eval.types.env_hooks import hooks_of


class Rewritten:
    """A policy whose requests are rewritten, with noise on its answers."""

    def __init__(self, policy: ChunkPolicy, rewrite: Callable[[ChunkRequest], ChunkRequest], noise: float) -> None:
        self._policy, self._rewrite, self._noise = policy, rewrite, noise
        self._rng = np.random.default_rng(0)
        self.spec = policy.spec

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        self._policy.reset(rows, seeds)

    def predict(self, request: ChunkRequest) -> ActionChunks:
        chunk = self._policy.predict(self._rewrite(request)).actions
        return ActionChunks(chunk + (self._noise * self._rng.standard_normal(chunk.shape)).astype(np.float32))


def intact(request: ChunkRequest) -> ChunkRequest:
    return request


def no_prefix(request: ChunkRequest) -> ChunkRequest:
    return replace(request, prefix=np.zeros_like(request.prefix))


def fixed_delay(request: ChunkRequest) -> ChunkRequest:
    """The policy always hears of a delay of 2, with the first two commands."""
    two = np.full_like(request.estimated_delay, 2)
    return replace(request, estimated_delay=two, prefix_known=two)


def rounded(step: float) -> Callable[[ChunkRequest], ChunkRequest]:
    def rewrite(request: ChunkRequest) -> ChunkRequest:
        seen = request.observation
        assert seen.environment_state is not None
        goal = (np.round(seen.environment_state / step) * step).astype(np.float32)
        return replace(request, observation=replace(seen, environment_state=goal))

    return rewrite


def one_camera_twice(request: ChunkRequest) -> ChunkRequest:
    """Both places show the mean of both images: their order is lost."""
    seen = request.observation
    mean = np.mean([image.astype(np.float32) for image in seen.pixels.values()], axis=0).astype(np.uint8)
    return replace(request, observation=replace(seen, pixels=dict.fromkeys(seen.pixels, mean)))


@pytest.fixture(scope="module")
def probed() -> Callable[..., ProbeReport]:
    torch.set_num_threads(1)
    env = gym.make(env_id("confuser_pick"), disable_env_checker=True)
    seeds = episode_seeds(Purpose.PROBE, 3, 4)
    observations: ObservationSet = collect_observations(env, ExpertExecutor([env]), seeds, per_episode=4)
    policy = TorchChunkPolicy(*load_pretrained(checkpoint_folder("act_rtc")))
    hooks = hooks_of(env)

    def run(rewrite: Callable[[ChunkRequest], ChunkRequest] = intact, noise: float = 0.0) -> ProbeReport:
        return probe(Rewritten(policy, rewrite, noise), observations, hooks, short=True)

    return run


def modes(report: ProbeReport) -> dict[str, str]:
    return {verdict.input: verdict.mode for verdict in report.verdicts}


@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-3])
def test_nothing_intact_is_accused_with_or_without_noise(probed: Callable[..., ProbeReport], noise: float):
    found = modes(probed(noise=noise))
    assert (found["prefix"], found["estimated_delay"], found[ENVIRONMENT_STATE]) == ("used", "used", "used")
    assert found["camera_order"] == "used"  # the policy looks


@pytest.mark.parametrize(
    ("rewrite", "victim"),
    [(no_prefix, "prefix"), (fixed_delay, "estimated_delay"), (one_camera_twice, "camera_order")],
)
def test_what_never_arrives_is_ignored_and_it_alone(probed: Callable[..., ProbeReport], rewrite: Callable, victim: str):
    report = probed(rewrite)
    assert [verdict.input for verdict in report.ignored] == [victim]


@pytest.mark.parametrize(("step", "mode"), [(0.01, "used"), (0.04, "used"), (0.10, "weak")])
def test_a_goal_read_in_coarse_steps_is_weak(probed: Callable[..., ProbeReport], step: float, mode: str):
    report = probed(rounded(step))
    (verdict,) = [one for one in report.verdicts if one.input == ENVIRONMENT_STATE]
    assert verdict.mode == mode, verdict.evidence
    assert ("a shift of 2 cm moves less than half of the chunks" in verdict.evidence) is (mode == "weak")


def test_noise_hides_coarse_steps_and_accuses_nothing(probed: Callable[..., ProbeReport]):
    (verdict,) = [one for one in probed(noise=0.05).verdicts if one.input == ENVIRONMENT_STATE]
    assert "coarse" not in verdict.evidence
