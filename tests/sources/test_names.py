"""Environments by name."""

import pytest

from act_eval.config import EnvDeclaration
from act_eval.errors import UnknownName
from act_eval.sources.environments import env_source
from act_eval.sources.external_envs import is_foreign


@pytest.mark.parametrize(
    ("name", "env_id"),
    [
        ("pick", "act_eval/Pick-v1"),
        ("moving_pick-v1", "act_eval/MovingPick-v1"),
        ("moving_pick-v0", "act_eval/MovingPick-v0"),
        ("act_eval/ConfuserPick-v1", "act_eval/ConfuserPick-v1"),
    ],
)
def test_an_environment_of_ours_has_a_name_per_version(name: str, env_id: str) -> None:
    source = env_source(name, {}, EnvDeclaration(), film=False)
    assert (source.env_id, source.declared) == (env_id, None)


def test_a_wrong_version_of_ours_lists_those_that_exist() -> None:
    with pytest.raises(UnknownName, match="moving_pick-v0"):
        env_source("moving_pick-v2", {}, EnvDeclaration(), film=False)


@pytest.mark.parametrize(
    "name", ["CartPole-v1", "gym_aloha/AlohaInsertion-v0", "mine:Env", "dm_control:cartpole/balance"]
)
def test_others_are_foreign(name: str) -> None:
    assert is_foreign(name)
