"""Policies and environments as objects: what they are called, whether they can be sent, and their digests."""

import threading
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from toy_envs import Walk

from act_eval.config import EnvDeclaration
from act_eval.errors import UsageError
from act_eval.sources.digests import UndigestibleError, digest_of, settled_digest
from act_eval.sources.environments import EnvSource, env_source
from act_eval.sources.policies import Network, policy_source
from act_eval.sources.policy_sources import FactorySource, ObjectSource


class Straight:
    """Commands the goal."""

    chunk, action_dim = 10, 2
    inputs = {"observation.environment_state": (2,)}  # noqa: RUF012

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def predict(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        return np.tile(self.gain * observation["observation.environment_state"], (10, 1))


def local_class(gain: float) -> type:
    class Local(Straight):
        def predict(self, observation: dict[str, np.ndarray]) -> np.ndarray:
            return gain * super().predict(observation)

    return Local


def policy(given: Any) -> Any:
    return policy_source(given, {}, Network())


def env(given: Any, **options: Any) -> EnvSource:
    return env_source(given, options, EnvDeclaration(horizon=20), film=False)


def test_an_importable_class_is_sent_by_its_name() -> None:
    source = policy(Straight)
    assert isinstance(source, FactorySource)
    assert (source.target, source.label, source.local_only) == (f"{__name__}:Straight", "Straight", None)
    assert (env(Walk).env_id, env(Walk).local_only, env(Walk).label) == ("toy_envs:Walk", None, "Walk")


def test_a_partial_of_an_importable_class_is_pickled() -> None:
    source = policy(partial(Straight, 2.0))
    assert (source.label, source.local_only) == ("Straight", None)
    assert source.identity != policy(partial(Straight, 3.0)).identity
    assert source.identity == policy(partial(Straight, 2.0)).identity


@pytest.mark.parametrize(
    ("given", "label", "reason"),
    [
        (lambda: Straight(), "lambda", "which workers cannot import"),
        (local_class(1.0), "Local", "which workers cannot import"),
        (Straight(), "Straight", "policy Straight is an instance"),
        (partial(Straight, threading.Lock()), "Straight", "policy Straight cannot be pickled: TypeError"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_what_cannot_be_sent_says_why(given: Any, label: str, reason: str) -> None:
    source = policy(given)
    assert source.label == label
    assert reason in source.local_only


def test_equal_code_and_state_have_equal_digests_and_others_do_not() -> None:
    assert digest_of(Straight(1.0)) == digest_of(Straight(1.0))
    assert digest_of(Straight(1.0)) != digest_of(Straight(2.0))
    assert digest_of(local_class(1.0)) == digest_of(local_class(1.0))
    assert digest_of(local_class(1.0)) != digest_of(local_class(2.0))  # a value that the code closes over
    assert digest_of(np.zeros(3)) != digest_of(np.zeros((3, 1)))
    assert digest_of([1, [2]]) != digest_of([[1], 2])
    used = local_class(1.0)
    before = digest_of(used)
    assert digest_of(used()) == digest_of(used())
    assert digest_of(used) == before  # Python caches on the class what pickling its instances needs
    loop: list[Any] = []
    loop.append(loop)
    assert digest_of(loop) == digest_of(loop)


def test_networks_differ_by_their_weights_and_attributes_alone() -> None:
    def network(bias: float) -> torch.nn.Module:
        layer = torch.nn.Linear(2, 2)
        with torch.no_grad():
            layer.weight.zero_()
            layer.bias.fill_(bias)
        return torch.nn.Sequential(layer)

    assert digest_of(network(1.0)) == digest_of(network(1.0).eval())
    assert digest_of(network(1.0)) != digest_of(network(2.0))


def test_state_that_cannot_be_read_gives_an_identity_of_its_own() -> None:
    with pytest.raises(UndigestibleError, match="cannot pickle"):
        digest_of(threading.Lock())
    one, other = (policy(Straight(threading.Lock())) for _ in range(2))  # pyright: ignore[reportArgumentType]
    assert one.identity.startswith("unknown_")
    assert one.identity != other.identity
    assert one.identity == one.identity
    (remark,) = one.facts(one.load()).remarks
    assert "cannot be resumed" in remark


def test_an_instance_keeps_its_state_while_a_copy_runs() -> None:
    class Counting(Straight):
        calls = 0

        def predict(self, observation: dict[str, np.ndarray]) -> np.ndarray:
            self.calls += 1
            return super().predict(observation)

    given = Counting()
    source = ObjectSource(given=given)
    before = source.identity
    loaded: Any = source.load()
    loaded.first.predict({"observation.environment_state": np.zeros(2)})
    assert (loaded.first.calls, given.calls, source.identity) == (1, 0, before)


def test_a_made_environment_is_known_by_what_episodes_leave_as_it_is() -> None:
    used, fresh = Walk(), Walk()
    used.reset(seed=3)
    used.step(np.zeros(2, np.float32))
    assert settled_digest(used) == settled_digest(fresh)
    assert settled_digest(used) == settled_digest(fresh)  # counters have moved on
    assert settled_digest(Walk(horizon=15)) != settled_digest(fresh)
    assert settled_digest(gym.make("CartPole-v1")) == settled_digest(gym.make("CartPole-v1"))
    assert settled_digest(gym.make("CartPole-v1")) != settled_digest(gym.make("CartPole-v1", max_episode_steps=9))


def test_a_made_environment_that_cannot_be_digested_is_another_one_each_time() -> None:
    walk = Walk()
    walk.handle = threading.Lock()  # pyright: ignore[reportAttributeAccessIssue]
    one, other = env(walk), env(walk)
    assert one.made
    assert one.identity[0] != other.identity[0]
    assert one.identity == one.identity
    made = one.make()
    facts = one.facts(made)
    assert facts.suite["object"] == one.identity[0]
    assert "attribute 'handle' holds a lock" in facts.remarks[-1]
    assert "cannot be resumed" in facts.remarks[-1]


def test_a_made_environment_stays_open() -> None:
    walk = Walk()
    closed: list[bool] = []
    walk.close = lambda: closed.append(True)  # pyright: ignore[reportAttributeAccessIssue]
    env(walk).make().close()
    assert not closed


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: policy(3), "the policy is an instance of int; allowed: a name, a path, a class or function"),
        (lambda: policy((Straight(), 3)), r"a tuple of \(Straight, int\); allowed: \(policy, processor\)"),
        (lambda: env(3), "the environment is an instance of int; allowed: a name"),
        (lambda: env(Walk(), horizon=3), "made already"),
        (lambda: policy_source(Straight(), {"gain": 2}, Network()), "Straight is an instance already"),
    ],
)
def test_other_objects_are_refused_with_what_is_allowed(make: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()
