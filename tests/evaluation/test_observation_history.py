"""A policy that reads several observations, on every way in: simple class, served, probed, resumed."""

import json
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from toy_envs import HookedWalk

import act_eval
from act_eval.errors import UsageError
from act_eval.launch import InProcessPool
from act_eval.policies.serving.server import PolicyServer
from act_eval.policies.simple import chunk_policy
from act_eval.results import Manifest
from act_eval.run import Run
from act_eval.serving.exposure import Exposure
from act_eval.types import ENVIRONMENT_STATE, IMAGE_PREFIX, STATE


class Damped:
    """Walks to the goal against its own velocity, of which one observation tells nothing."""

    chunk, action_dim, history, history_spacing = 8, 2, 2, 3
    inputs = {STATE: (2,), ENVIRONMENT_STATE: (2,), IMAGE_PREFIX + "top": (4, 4, 3)}  # noqa: RUF012
    sign = -0.5

    def predict(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        assert {name: value.shape for name, value in observation.items()} == {
            name: (2, *shape) for name, shape in self.inputs.items()
        }
        before, now = observation[STATE]
        brightness = observation[IMAGE_PREFIX + "top"].mean() / 255
        command = observation[ENVIRONMENT_STATE][-1] + self.sign * brightness * (now - before)
        return np.tile(command.clip(-1, 1), (8, 1))


class Undamped(Damped):
    sign = 0.5


def evaluated(policy: Any, out: Path, **fields: Any) -> Run:
    quick = {"video": "none", "probe": False, "progress": False, "horizon": 30, "execution_horizon": 4}
    settings = {"delays": [0, 2], "episodes": 6, **quick, **fields}
    return act_eval.evaluate(policy, HookedWalk, out=out, **settings)


def records(run: Run) -> dict[str, list[tuple[int, str, int]]]:
    return {name: [(r.seed, r.outcome, r.steps) for r in one.records] for name, one in run.conditions.items()}


def test_a_simple_class_gets_its_history_in_any_batch_and_under_late_observations(tmp_path: Path) -> None:
    alone = evaluated(Damped, tmp_path / "alone", batch=1, workers=1)
    assert Manifest.read(alone.folder).configuration["policy"]["history"] == 2
    assert all(record.error is None for one in alone.conditions.values() for record in one.records)
    assert records(evaluated(Damped, tmp_path / "batched", batch=4, workers=1)) == records(alone)
    assert records(evaluated(Undamped, tmp_path / "other", batch=4, workers=1)) != records(alone)
    late = evaluated(Damped, tmp_path / "late", batch=3, workers=1, observation_delay=2, delays=[0, 1])
    assert all(record.error is None for one in late.conditions.values() for record in one.records)


def test_an_interrupted_run_is_resumed_with_the_same_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = records(evaluated(Damped, tmp_path / "whole", batch=3, workers=1))
    real = InProcessPool.run

    def interrupted(self: Any, job: Any, blocks: Any, shards: Any, progress: Any, on_check: Any) -> None:
        def stop(condition: str, news: object) -> None:
            if not isinstance(news, int):
                raise KeyboardInterrupt

        real(self, job, blocks, shards, stop, on_check)

    monkeypatch.setattr(InProcessPool, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluated(Damped, tmp_path / "run", batch=2, workers=1)
    assert not list((tmp_path / "run").glob("*/episodes.jsonl"))
    monkeypatch.setattr(InProcessPool, "run", real)
    assert records(evaluated(Damped, tmp_path / "run", batch=1, workers=1)) == expected


def test_a_server_declares_it_too(tmp_path: Path) -> None:
    expected = records(evaluated(Damped, tmp_path / "here", batch=3, workers=1))
    policy = chunk_policy(Damped, "Damped")
    server = PolicyServer(policy, {"name": "damped", "digest": "d"}, {}, {}, Exposure(port=0))
    with server.running() as served:
        run = evaluated(served.address, tmp_path / "there", batch=3, workers=1)
    assert records(run) == expected
    assert json.loads((run.folder / "manifest.json").read_text())["configuration"]["policy"]["history_spacing"] == 3


@pytest.mark.parametrize(("name", "value"), [("history", 0), ("history", 2.0), ("history_spacing", -1)])
def test_a_bad_declaration_is_refused_before_the_first_episode(tmp_path: Path, name: str, value: object) -> None:
    class Bad(Damped):
        pass

    setattr(Bad, name, value)
    text = f"{name} of a policy is {value!r}; it must be a whole number, at least 1"
    with pytest.raises(UsageError, match=re.escape(text)):
        evaluated(Bad, tmp_path)


def test_the_probe_changes_all_moments_of_an_input() -> None:
    class Differences:
        """Reads velocity and goal; of the image only whether it changes."""

        chunk, action_dim, history = 4, 6, 2
        inputs = {STATE: (6,), ENVIRONMENT_STATE: (2,), IMAGE_PREFIX + "wrist": (16, 16, 3)}  # noqa: RUF012

        def predict(self, observation: dict[str, np.ndarray]) -> np.ndarray:
            before, now = observation[STATE]
            images = observation[IMAGE_PREFIX + "wrist"].astype(np.float32)
            total = now + 3 * (now - before) + 2 * observation[ENVIRONMENT_STATE][:, :1].sum()
            return np.tile(total + 0 * images.sum(), (4, 1))

    report = act_eval.probe(Differences, "confuser_pick", image_size=16, episodes=4, per_episode=5)
    verdicts = {verdict.input: verdict.mode for verdict in report.verdicts}
    assert {verdicts[STATE], verdicts[ENVIRONMENT_STATE]} <= {"used", "weak"}
    assert verdicts[IMAGE_PREFIX + "wrist"] == "ignored"
    assert {effect.name for effect in report.effects} >= {"shuffled", "other block's", "zeroed", "grey", "shifted 5 cm"}
    # the two moments of the goal move together: 5 cm in each, twice, of which a share is along x
    shifted = next(effect for effect in report.effects if effect.name == "shifted 5 cm")
    assert 0.15 < shifted.most_rad <= 2 * 2 * 0.05 + 1e-4


def test_the_probe_reads_the_observations_that_a_request_would() -> None:
    from act_eval.diagnostics import collect_observations
    from act_eval.envs.expert_executor import ExpertExecutor
    from act_eval.envs.registration import env_id
    from act_eval.types import PolicySpec

    env = gym.make(env_id("pick"), disable_env_checker=True, image_size=16)
    spec = PolicySpec(
        chunk=4, action_dim=6, window="same", takes_prefix=False, max_delay=0, inputs={}, history=2, history_spacing=2
    )
    with_history = collect_observations(env, ExpertExecutor([env]), [3, 4], 4, 3, spec)
    every = collect_observations(env, ExpertExecutor([env]), [3, 4], 10, 1)
    env.close()
    assert with_history.steps.tolist() == [0, 3, 6, 9] * 2
    single = every.observation.agent_pos.reshape(2, 10, 6)
    for episode in range(2):
        for row, (old, new) in enumerate([(0, 0), (1, 3), (4, 6), (7, 9)]):
            seen = with_history.observation.agent_pos[4 * episode + row]
            np.testing.assert_array_equal(seen, single[episode, [old, new]])
    images = with_history.observation.pixels["wrist"]
    assert images.shape == (8, 2, 16, 16, 3)
    np.testing.assert_array_equal(images[1, 1], every.observation.pixels["wrist"][3])
    assert with_history.states.shape[:2] == (8, 2)
