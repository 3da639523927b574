"""What a sweep asks its policies and environments before it begins, in this process or in another."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from untrained import write_checkpoint

from act_eval.errors import LaunchError
from act_eval.sources.environments import EnvSource
from act_eval.sources.network_sources import CheckpointSource
from act_eval.sweeps.survey import survey
from act_eval.types import ChunkPolicy

ENVS = {"pick": EnvSource(env_id="act_eval/Pick-v0", options={"image_size": 32})}


@dataclass(frozen=True, kw_only=True)
class Deadly(CheckpointSource):
    """Takes the process that loads it with it."""

    def load(self, ready: bool = True) -> ChunkPolicy:
        os._exit(9)


def test_another_process_finds_the_same(tmp_path: Path):
    policies = {"act": CheckpointSource(folder=write_checkpoint(tmp_path / "act", "act"))}
    here, there = (survey(policies, ENVS, apart=apart) for apart in (False, True))
    assert here == there
    assert there.policies["act"].spec.chunk == 8
    assert there.envs["pick"].horizon == 200


def test_a_process_that_dies_is_named(tmp_path: Path):
    folder = write_checkpoint(tmp_path / "act", "act")
    with pytest.raises(LaunchError, match=r"^the process that loads act, pick was killed$"):
        survey({"act": Deadly(folder=folder)}, ENVS, apart=True)
