"""Probes on the shipped policies, intact and mutilated: every mutilation is caught, and nothing intact is accused."""

import copy
from collections.abc import Callable, Iterator
from functools import cache

import gymnasium as gym
import pytest
import torch

from act_eval.diagnostics import ObservationSet, ProbeReport, collect_observations, probe
from act_eval.envs.expert_executor import ExpertExecutor
from act_eval.envs.registration import env_id
from act_eval.policies.checkpoint import load_pretrained
from act_eval.policies.serve import TorchChunkPolicy
from act_eval.seeding import Purpose, episode_seeds
from act_eval.sources.policies import checkpoint_folder
from act_eval.types import ENVIRONMENT_STATE, STATE
from act_eval.types.env_hooks import hooks_of

OVERHEAD, WRIST = "observation.images.overhead", "observation.images.wrist"
POLICIES = ("act_rtc", "act")
Mutilate = Callable[..., None]


@pytest.fixture(scope="module")
def env() -> Iterator[gym.Env]:
    made = gym.make(env_id("confuser_pick"), disable_env_checker=True)
    yield made
    made.close()


@pytest.fixture(scope="module")
def observations(env: gym.Env) -> ObservationSet:
    return collect_observations(env, ExpertExecutor([env]), episode_seeds(Purpose.PROBE, 0, 4), per_episode=4)


@pytest.fixture(scope="module")
def probed(env: gym.Env, observations: ObservationSet) -> Callable[..., ProbeReport]:
    """Probe a shipped policy after something was done to its network and normaliser."""
    torch.set_num_threads(1)
    loaded = {name: load_pretrained(checkpoint_folder(name)) for name in POLICIES}

    @cache
    def run(name: str, mutilate: Mutilate = lambda policy, processor: None) -> ProbeReport:
        policy, processor = copy.deepcopy(loaded[name])
        with torch.no_grad():
            mutilate(policy, processor)
        return probe(TorchChunkPolicy(policy, processor), observations, hooks_of(env), short=True)

    return run


def modes(report: ProbeReport) -> dict[str, str]:
    return {verdict.input: verdict.mode for verdict in report.verdicts}


@pytest.mark.parametrize("name", POLICIES)
def test_the_intact_policy_is_not_accused(probed: Callable[..., ProbeReport], name: str) -> None:
    report = probed(name)
    assert report.ignored == ()
    assert modes(report)[ENVIRONMENT_STATE] == "used"
    assert modes(report)[STATE] == "used"
    assert report.open >= 4
    assert report.to_named >= 0.7 * report.open
    exchanged = next(effect for effect in report.effects if effect.name == "other block's")
    assert exchanged.turned is not None
    assert exchanged.turned >= 0.7 * report.open


def cut_coordinates(policy, processor):
    policy.model.encoder_env_state_input_proj.weight.zero_()


def cut_joints(policy, processor):
    policy.model.encoder_robot_state_input_proj.weight.zero_()


def replacing(key: str) -> Mutilate:
    """The network gets zeros in place of an input, whatever it is."""

    def mutilate(policy, processor):
        hook = lambda module, inputs: ({**inputs[0], key: torch.zeros_like(inputs[0][key])}, *inputs[1:])  # noqa: E731
        policy.model.register_forward_pre_hook(hook)

    return mutilate


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize(
    ("mutilate", "victim"),
    [
        (cut_coordinates, ENVIRONMENT_STATE),
        (cut_joints, STATE),
        (replacing(STATE), STATE),
        (replacing(OVERHEAD), OVERHEAD),
        (replacing(WRIST), WRIST),
    ],
    ids=["coordinates cut", "joints cut", "joints replaced", "overhead ignored", "wrist ignored"],
)
def test_an_input_that_reaches_nothing_is_dead_and_it_alone(
    probed: Callable[..., ProbeReport], name: str, mutilate: Mutilate, victim: str
) -> None:
    report = probed(name, mutilate)
    assert [verdict.input for verdict in report.ignored] == [victim]
    assert "no change moves the chunk by more than 1e-05 rad" in report.ignored[0].evidence


def test_actions_relative_to_joints_that_no_layer_reads_are_seen_through(probed: Callable[..., ProbeReport]) -> None:
    """Commands of act_rtc are relative to the observed joints, so exchanged joints do move its chunks."""
    report = probed("act_rtc", cut_joints)
    shuffled = next(effect for effect in report.effects if effect.input == STATE)
    assert shuffled.rigid
    assert "the chunk moves along with the joints that it is relative to, and that is all" in report.ignored[0].evidence
    assert not any(effect.rigid for effect in probed("act", cut_joints).effects)


@pytest.mark.parametrize("name", POLICIES)
def test_coordinates_that_are_not_normalised_are_weak(probed: Callable[..., ProbeReport], name: str) -> None:
    def in_metres(policy, processor):
        statistics = processor.before.stats()[ENVIRONMENT_STATE]
        statistics["mean"].zero_()
        statistics["std"].fill_(1)

    report = probed(name, in_metres)
    assert modes(report)[ENVIRONMENT_STATE] == "weak"
    (verdict,) = [v for v in report.verdicts if v.input == ENVIRONMENT_STATE]
    assert f"of {report.open} open chunks to it" in verdict.evidence
    assert report.to_named < report.open
