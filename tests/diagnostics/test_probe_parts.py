"""Probes of policies and environments that are not ours: all through the ChunkPolicy and Gymnasium interfaces."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from act_eval.diagnostics import MaskedImages, ObservationSet, changes, collect_observations, probe
from act_eval.diagnostics.changes import GREY, named_block_of
from act_eval.diagnostics.input_check import input_warnings
from act_eval.envs.expert_executor import ExpertExecutor
from act_eval.envs.registration import env_id
from act_eval.errors import ActionError, UsageError
from act_eval.seeding import Purpose, episode_seeds
from act_eval.types import (
    ENVIRONMENT_STATE,
    IMAGE_PREFIX,
    STATE,
    ActionChunks,
    ChunkRequest,
    FloatArray,
    PolicySpec,
)
from act_eval.types.env_hooks import EnvHooks, hooks_of

SIZE = 16
EYE = IMAGE_PREFIX + "overhead"
BARE = EnvHooks()


class Foreign:
    """A policy of somebody else: its chunk is a sum of what it reads, which need not be what it declares."""

    camera_gain = 0.02

    def __init__(self, declares: Sequence[str], reads: Sequence[str], noise: float = 0.0) -> None:
        shapes = {STATE: (6,), ENVIRONMENT_STATE: (2,), EYE: (SIZE, SIZE, 3)}
        self.spec = PolicySpec(
            chunk=4,
            action_dim=6,
            window="same",
            takes_prefix=False,
            max_delay=0,
            inputs={name: shapes[name] for name in declares},
        )
        self._reads, self._noise, self._rng = reads, noise, np.random.default_rng(0)

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        pass

    def predict(self, request: ChunkRequest) -> ActionChunks:
        seen, rows = request.observation, len(request.rows)
        total = np.zeros((rows, 6), np.float32)
        if STATE in self._reads:
            total += seen.agent_pos
        if ENVIRONMENT_STATE in self._reads:
            assert seen.environment_state is not None
            total += 10 * seen.environment_state[:, :1]
        if EYE in self._reads:
            total += seen.pixels["overhead"].mean(axis=(1, 2, 3))[:, None] * self.camera_gain
        chunk = np.repeat(total[:, None], 4, axis=1)
        return ActionChunks((chunk + self._noise * self._rng.standard_normal(chunk.shape)).astype(np.float32))


@pytest.fixture(scope="module")
def env() -> Iterator[gym.Env]:
    made = gym.make(env_id("confuser_pick"), goal_input="exact", disable_env_checker=True, image_size=SIZE)
    yield made
    made.close()


@pytest.fixture(scope="module")
def observations(env: gym.Env) -> ObservationSet:
    return collect_observations(env, ExpertExecutor([env]), episode_seeds(Purpose.PROBE, 0, 4), per_episode=4)


def modes(policy: Foreign, observations: ObservationSet, hooks: EnvHooks = BARE) -> dict[str, str]:
    return {verdict.input: verdict.mode for verdict in probe(policy, observations, hooks).verdicts}


def test_a_declared_input_that_is_dropped_on_the_way_is_ignored(observations: ObservationSet) -> None:
    """What happened to coordinates declared under a type that no layer reads."""
    everything = (STATE, ENVIRONMENT_STATE, EYE)
    assert modes(Foreign(everything, (ENVIRONMENT_STATE, EYE)), observations)[STATE] == "ignored"
    assert modes(Foreign(everything, (ENVIRONMENT_STATE, STATE)), observations)[EYE] == "ignored"
    # Its commands are its joints and something else: relative to joints that it does not look at any further.
    found = modes(Foreign(everything, (STATE, EYE)), observations)
    assert found == {
        STATE: "ignored",
        ENVIRONMENT_STATE: "ignored",
        EYE: "used",
        IMAGE_PREFIX + "wrist": "not an input",
    }


def test_what_is_not_declared_is_not_an_input(observations: ObservationSet) -> None:
    report = probe(Foreign((EYE,), (EYE,)), observations, BARE)
    assert [(v.input, v.mode) for v in report.verdicts] == [
        (EYE, "used"),
        (STATE, "not an input"),
        (IMAGE_PREFIX + "wrist", "not an input"),
        (ENVIRONMENT_STATE, "not an input"),
    ]
    assert report.verdicts[3].line == (
        "environment_state not an input the environment provides it, the policy does not declare it"
    )


@pytest.mark.parametrize("noise", [0.003, 0.01])
@pytest.mark.parametrize("reads_camera", [True, False])
def test_an_input_below_the_noise_is_inconclusive(
    observations: ObservationSet, noise: float, reads_camera: bool
) -> None:
    """Whether a camera moves the chunk by a milliradian or by nothing, the policy's noise hides it."""
    policy = Foreign((ENVIRONMENT_STATE, EYE), (ENVIRONMENT_STATE, *([EYE] if reads_camera else [])), noise)
    policy.camera_gain = 1e-4
    report = probe(policy, observations, BARE)
    assert report.noise_rad == pytest.approx(1.4 * noise, rel=0.5)
    goal, camera, *rest = report.verdicts
    assert (goal.mode, camera.mode) == ("used", "inconclusive")
    assert camera.evidence.startswith(f"identical requests differ by {report.noise_rad:.1e} rad, which may hide it")
    assert {verdict.mode for verdict in rest} == {"not an input"}
    assert report.ignored == ()


def test_noise_far_below_the_effects_hides_nothing(observations: ObservationSet) -> None:
    found = modes(Foreign((ENVIRONMENT_STATE, EYE), (ENVIRONMENT_STATE,), noise=1e-5), observations)
    assert (found[ENVIRONMENT_STATE], found[EYE]) == ("used", "ignored")


def test_noise_as_large_as_every_effect_leaves_all_inputs_inconclusive(observations: ObservationSet) -> None:
    policy = Foreign((ENVIRONMENT_STATE, EYE), (ENVIRONMENT_STATE, EYE), noise=5.0)
    assert {modes(policy, observations)[name] for name in (ENVIRONMENT_STATE, EYE)} == {"inconclusive"}


def test_too_few_observations_decide_nothing_and_say_how_many_would(observations: ObservationSet) -> None:
    few = replace(
        observations,
        observation=observations.observation.take(np.arange(8)),
        seeds=observations.seeds[:8],
        steps=observations.steps[:8],
        states=observations.states[:8],
        last_action=observations.last_action[:8],
        block_xy=observations.block_xy[:8],
    )
    (verdict, *_) = probe(Foreign((EYE,), ()), few, BARE).verdicts
    assert verdict.line == "images.overhead inconclusive from 8 observations; 16 are needed"


def test_one_episode_cannot_be_exchanged_for_another(observations: ObservationSet) -> None:
    with pytest.raises(UsageError, match="needs observations of at least 2 episodes"):
        replace(observations, seeds=np.zeros(len(observations), np.int64)).permuted_rows()


def test_chunks_that_are_not_finite_are_refused(observations: ObservationSet) -> None:
    with pytest.raises(ActionError, match="the policy's chunks are not finite"):
        probe(Foreign((STATE,), (STATE,), noise=np.inf), observations, BARE)


def test_observations_come_from_their_steps(observations: ObservationSet, env: gym.Env) -> None:
    assert len(observations) == 16
    assert observations.episodes == 4
    assert observations.steps[:4].tolist() == [0, 3, 6, 9]
    assert sorted(set(observations.seeds.tolist())) == sorted(episode_seeds(Purpose.PROBE, 0, 4))
    assert observations.observation.environment_state is not None
    np.testing.assert_allclose(observations.block_xy[:, 0], observations.observation.environment_state, atol=1e-6)
    assert named_block_of(observations).tolist() == [0] * 16
    observed, _ = env.reset(seed=int(observations.seeds[4]))
    np.testing.assert_array_equal(observations.observation.pixels["overhead"][4], observed["pixels"]["overhead"])
    np.testing.assert_array_equal(observations.observation.agent_pos[4], observed["agent_pos"])


def test_permuted_rows_are_of_other_episodes(observations: ObservationSet) -> None:
    permuted_rows = observations.permuted_rows()
    assert (observations.seeds[permuted_rows] != observations.seeds).all()
    np.testing.assert_array_equal(permuted_rows, observations.permuted_rows())


def test_each_change_touches_what_it_names_and_nothing_else(observations: ObservationSet, env: gym.Env) -> None:
    whole, seen = observations.observation, set()
    for change in changes(Foreign((STATE, ENVIRONMENT_STATE, EYE), ()).spec, observations, hooks_of(env)):
        changed = change.observation
        differs = {
            STATE: (changed.agent_pos != whole.agent_pos).any(),
            ENVIRONMENT_STATE: (changed.environment_state != whole.environment_state).any(),
            **{IMAGE_PREFIX + name: (changed.pixels[name] != whole.pixels[name]).any() for name in whole.pixels},
        }
        touched = {name for name, does in differs.items() if does}
        seen.add((change.input, change.name))
        if change.input is not None:
            assert touched == {change.input}, change.name
        else:
            # Identical blocks that exchange places look as before.
            assert touched == (set() if change.name == "blocks exchanged" else {EYE}), change.name
    assert {name for _, name in seen} == {
        *("shuffled", "zeroed", "other block's", "shifted 2 cm", "shifted 5 cm", "shifted 10 cm"),
        *("grey", "confuser hidden", "blocks exchanged", "all cameras grey"),
    }


def test_shifts_have_the_length_that_they_name(observations: ObservationSet) -> None:
    found = {c.name: c.observation for c in changes(Foreign((ENVIRONMENT_STATE,), ()).spec, observations, BARE)}
    goal = observations.observation.environment_state
    assert goal is not None
    for centimetres in (2, 5, 10):
        moved = found[f"shifted {centimetres} cm"].environment_state
        assert moved is not None
        np.testing.assert_allclose(np.linalg.norm(moved - goal, axis=1), centimetres / 100, rtol=1e-4)


def test_a_policy_with_masked_images_sees_grey(observations: ObservationSet) -> None:
    seen: list[FloatArray] = []

    class Watching(Foreign):
        def predict(self, request: ChunkRequest) -> ActionChunks:
            seen.extend(request.observation.pixels.values())
            return super().predict(request)

    policy = MaskedImages(Watching((STATE, EYE), (STATE, EYE)))
    report = probe(policy, observations, BARE)
    assert {int(value) for image in seen for value in (image.min(), image.max())} == {GREY}
    assert [verdict.input for verdict in report.ignored if verdict.input == EYE] == [EYE]


def test_a_slow_policy_is_not_probed_before_a_run_and_the_warning_says_how_long_it_would_take(
    env: gym.Env, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Foreign):
        calls = 0

        def predict(self, request: ChunkRequest) -> ActionChunks:
            self.calls += 1
            time.sleep(0.05)
            return super().predict(request)

    policy = Slow((STATE, EYE), (STATE, EYE))
    monkeypatch.setattr("act_eval.diagnostics.input_check.LONGEST_S", 1.0)
    (warning,) = input_warnings(policy, env)
    assert policy.calls == 2
    # 4 episodes of 10 steps, a request every 2 steps, and 6 times all observations: 32 predictions
    found = re.search(r"a prediction takes 0\.[01] s, the check would take about (\d+) s; `act-eval probe`", warning)
    assert found is not None
    assert 1 < int(found[1]) < 10
    monkeypatch.setattr("act_eval.diagnostics.input_check.LONGEST_S", 100.0)
    assert [warning.split()[2] for warning in input_warnings(policy, env)] == ["state"]  # it was probed


class Counted(Foreign):
    calls = 0

    def predict(self, request: ChunkRequest) -> ActionChunks:
        self.calls += 1
        return super().predict(request)


def test_verdicts_are_kept_for_equal_facts_on_an_equal_machine(
    env: gym.Env, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    module, policy = "act_eval.diagnostics.input_check", Counted((STATE, EYE), (STATE, EYE))

    def calls(facts: object) -> int:
        before = policy.calls
        assert [warning.split()[2] for warning in input_warnings(policy, env, facts)] == ["state"]
        return policy.calls - before

    assert calls("a checkpoint") > 20
    assert calls("a checkpoint") == 0
    assert calls("another checkpoint") > 20
    assert calls(None) > 20
    kept = sorted(tmp_path.glob("act_eval/input_checks/*.json"))
    assert len(kept) == 2
    for path in kept:
        path.write_bytes(path.read_bytes()[:-3])
    assert calls("a checkpoint") > 20, "a damaged file"
    assert calls("a checkpoint") == 0
    with monkeypatch.context() as patch:
        patch.setattr(f"{module}.machine", lambda: {"cpu": "another"})
        assert calls("a checkpoint") > 20
    with monkeypatch.context() as patch:
        (tmp_path / "source.py").write_text("another version of act_eval")
        patch.setattr(f"{module}._SOURCES", tmp_path)
        assert calls("a checkpoint") > 20
    (tmp_path / "no folder").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no folder"))
    assert calls("a checkpoint") > 20, "nothing can be kept"


def test_what_prevents_a_check_is_not_kept(env: gym.Env, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    policy = Counted((STATE, EYE), (STATE, EYE))
    with monkeypatch.context() as patch:
        patch.setattr("act_eval.diagnostics.input_check.LONGEST_S", -1.0)
        (warning,) = input_warnings(policy, env, "a checkpoint")
        assert "were not probed" in warning
    assert [warning.split()[2] for warning in input_warnings(policy, env, "a checkpoint")] == ["state"]
