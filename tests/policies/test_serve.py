"""A network behind the ChunkPolicy protocol: its answers depend on the request's row alone, to the last bit."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from tiny_policies import CAMERAS, processor, request, stats, tiny_act, tiny_config, tiny_rtc

from act_eval.errors import FeatureMismatch, UsageError
from act_eval.policies.act import ACTPolicy
from act_eval.policies.act.presets import features, small_act_rtc
from act_eval.policies.normalize import Processor
from act_eval.policies.rtc import ACTRTCPolicy
from act_eval.policies.serve import TorchChunkPolicy
from act_eval.types import ChunkRequest, Observation

MAKERS = [
    tiny_act,
    tiny_rtc,
    lambda: tiny_rtc(rtc_anchor="last_action", rtc_prefix_in="encoder"),
    lambda: tiny_rtc(rtc_prefix_in="encoder", n_past_actions=2, rtc_anchor="none"),
    lambda: tiny_rtc(n_past_actions=2),
]
Maker = Callable[[], ACTPolicy | ACTRTCPolicy]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def take(whole: ChunkRequest, rows: np.ndarray) -> ChunkRequest:
    return ChunkRequest(
        rows=whole.rows[rows],
        steps=whole.steps[rows],
        observation=whole.observation.take(rows),
        estimated_delay=whole.estimated_delay[rows],
        prefix=whole.prefix[rows],
        last_action=whole.last_action[rows],
        past_actions=None if whole.past_actions is None else whole.past_actions[rows],
    )


def assert_rows_are_independent(policy: TorchChunkPolicy, whole: ChunkRequest, trials: int) -> None:
    reference = policy.predict(whole).actions
    rng = np.random.default_rng(1)
    for _ in range(trials):
        rows = rng.permutation(len(whole.rows))[: rng.integers(1, len(whole.rows) + 1)]
        np.testing.assert_array_equal(policy.predict(take(whole, rows)).actions, reference[rows])


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("rows_per_call", [1, 5, 8])
def test_a_row_is_bit_identical_in_any_company_and_place(make: Maker, rows_per_call: int) -> None:
    policy = make()
    served = TorchChunkPolicy(policy, processor(policy), rows_per_call=rows_per_call)
    assert_rows_are_independent(served, request(17), trials=12)


def test_a_row_of_the_shipped_size_is_bit_identical_too() -> None:
    """Large matrices take other kernels than tiny ones."""
    policy = ACTRTCPolicy(small_act_rtc(features({"overhead": (96, 96), "wrist": (96, 96)})))
    served = TorchChunkPolicy(policy, processor(policy))
    assert_rows_are_independent(served, request(11, size=(96, 96), slots=8), trials=5)


@pytest.mark.parametrize("make", MAKERS)
def test_answers_are_those_of_the_network_in_physical_units(make: Maker) -> None:
    policy = make()
    prepare = processor(policy)
    asked = request(3)
    raw = {
        "observation.state": torch.from_numpy(asked.observation.agent_pos),
        "observation.environment_state": torch.from_numpy(asked.observation.environment_state),
        "last_action": torch.from_numpy(asked.last_action),
        "past_actions": torch.from_numpy(asked.past_actions),
    }
    for name, images in asked.observation.pixels.items():
        raw[f"observation.images.{name}"] = torch.from_numpy(images).permute(0, 3, 1, 2)
    batch = prepare.prepare(raw)
    anchor = batch.get("anchor")
    if isinstance(policy, ACTRTCPolicy):
        prefix = prepare.prepare_prefix(torch.from_numpy(asked.prefix), anchor)
        chunk = policy.predict_action_chunk(batch, torch.from_numpy(asked.estimated_delay), prefix)
    else:
        chunk = policy.predict_action_chunk(batch)
    answer = TorchChunkPolicy(policy, prepare).predict(asked).actions
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, prepare.restore(chunk, anchor).numpy(), atol=1e-5)


def test_past_commands_reach_the_network_as_in_training() -> None:
    policy = tiny_rtc(n_past_actions=3)
    served = TorchChunkPolicy(policy, processor(policy))
    assert served.spec.past_actions == 3
    asked = _with(request(3), past_actions=np.zeros((3, 3, 6), np.float32))
    a, b = request(1).past_actions[0, :2], request(3).last_action[2]
    asked.past_actions[0], asked.past_actions[1, 1:], asked.past_actions[1, 0] = 1, a, np.nan
    asked.past_actions[2] = np.nan  # the episode's start
    filled = asked.past_actions.copy()
    filled[1, 0], filled[2] = a[0], b
    np.testing.assert_array_equal(
        served.predict(asked).actions, served.predict(_with(asked, past_actions=filled)).actions
    )
    moved = served.predict(_with(asked, past_actions=filled + 1)).actions
    assert (moved != served.predict(asked).actions).any(axis=(1, 2)).all()
    with pytest.raises(FeatureMismatch, match=r"'past_actions' has shape \(2, 6\), float32; the policy was made for"):
        served.predict(_with(asked, past_actions=filled[:, 1:]))


def test_delay_and_prefix_reach_the_network_and_what_lies_beyond_the_delay_does_not() -> None:
    policy = tiny_rtc()
    served = TorchChunkPolicy(policy, processor(policy))
    asked = request(4)
    answer = served.predict(asked).actions
    beyond = np.arange(3) >= asked.estimated_delay[:, None]
    other = np.where(beyond[..., None], np.float32(9), asked.prefix)
    np.testing.assert_array_equal(served.predict(_with(asked, prefix=other)).actions, answer)
    moved = np.where(beyond[..., None], asked.prefix, asked.prefix + 1)
    changed = (served.predict(_with(asked, prefix=moved)).actions != answer).any(axis=(1, 2))
    assert changed.tolist() == (asked.estimated_delay > 0).tolist()
    assert changed.any()
    assert (served.predict(_with(asked, estimated_delay=3 - asked.estimated_delay)).actions != answer).any()


@pytest.mark.parametrize("slots", [2, 5])
def test_a_prefix_of_another_length_is_cut_or_filled(slots: int) -> None:
    policy = tiny_rtc()
    served = TorchChunkPolicy(policy, processor(policy))
    asked = _with(request(4), estimated_delay=np.array([0, 1, 2, 2]))
    prefix = np.zeros((4, slots, 6), np.float32)
    prefix[:, :2] = asked.prefix[:, :2]
    np.testing.assert_array_equal(served.predict(_with(asked, prefix=prefix)).actions, served.predict(asked).actions)


def _with(asked: ChunkRequest, **changes: np.ndarray) -> ChunkRequest:
    return ChunkRequest(**{**asked.__dict__, **changes})


def test_an_empty_request_has_an_empty_answer() -> None:
    policy = tiny_act()
    assert TorchChunkPolicy(policy, processor(policy)).predict(request(0)).actions.shape == (0, 5, 6)


def test_the_spec_says_what_the_policy_is() -> None:
    rtc, act = tiny_rtc(), tiny_act()
    spec = TorchChunkPolicy(rtc, processor(rtc)).spec
    assert (spec.chunk, spec.action_dim, spec.window, spec.takes_prefix, spec.max_delay) == (5, 6, "shifted", True, 3)
    assert spec.inputs == {
        "observation.state": (6,),
        "observation.environment_state": (2,),
        "observation.images.overhead": (16, 24, 3),
        "observation.images.wrist": (16, 24, 3),
    }
    assert spec.cameras == ("overhead", "wrist")
    spec = TorchChunkPolicy(act, processor(act)).spec
    assert (spec.window, spec.takes_prefix, spec.max_delay) == ("same", False, 0)


def test_non_finite_actions_are_passed_on() -> None:
    policy = tiny_act()
    with torch.no_grad():
        policy.model.action_head.bias[2] = float("nan")
    answer = TorchChunkPolicy(policy, processor(policy)).predict(request(2)).actions
    assert np.isnan(answer[..., 2]).all()
    assert np.isfinite(answer[..., 0]).all()


def test_a_policy_without_state_as_input_still_has_its_anchor() -> None:
    policy = tiny_rtc(input_features=features(CAMERAS, state=None))
    served = TorchChunkPolicy(policy, processor(policy))
    asked = request(2)
    moved = Observation(asked.observation.pixels, asked.observation.agent_pos + 1, asked.observation.environment_state)
    zero_delay = _with(asked, estimated_delay=np.zeros(2, np.int64))
    difference = served.predict(_with(zero_delay, observation=moved)).actions - served.predict(zero_delay).actions
    np.testing.assert_allclose(difference, 1, atol=1e-5)


def test_an_environment_that_does_not_fit_is_refused_by_field() -> None:
    policy = tiny_act()
    served = TorchChunkPolicy(policy, processor(policy))
    fits = request(2).observation
    pixels = {name: np.zeros((2, 96, 96, 3), np.uint8) for name in CAMERAS}
    for observation, message in (
        (
            Observation(pixels, fits.agent_pos, fits.environment_state),
            r"'observation.images.overhead' has shape \(96, 96, 3\), uint8; .* for \(16, 24, 3\), uint8",
        ),
        (
            Observation(fits.pixels, fits.agent_pos[:, :5], fits.environment_state),
            r"'observation.state' has shape \(5,\), float32; .* for \(6,\)",
        ),
        (
            Observation(fits.pixels, fits.agent_pos, None),
            "reads 'observation.environment_state', but the environment has no coordinates",
        ),
        (
            Observation(
                {k: v / np.float32(255) for k, v in fits.pixels.items()}, fits.agent_pos, fits.environment_state
            ),
            r"'observation.images.overhead' has shape \(16, 24, 3\), float32; .* for \(16, 24, 3\), uint8",
        ),
        (
            Observation({"wrist": pixels["wrist"]}, fits.agent_pos, fits.environment_state),
            r"reads camera 'overhead'; the environment has \['wrist'\]",
        ),
    ):
        with pytest.raises(FeatureMismatch, match=message):
            served.predict(_with(request(2), observation=observation))


def test_a_delay_beyond_training_is_refused() -> None:
    policy = tiny_rtc()
    served = TorchChunkPolicy(policy, processor(policy))
    with pytest.raises(UsageError, match=r"estimated delays are \[4, 4, .*trained for 0 to 3"):
        served.predict(_with(request(2), estimated_delay=np.array([4, 4])))
    with pytest.raises(UsageError, match=r"estimated delays are \[1, 3\], but the prefix has 2 committed commands"):
        served.predict(_with(request(2, slots=2), estimated_delay=np.array([1, 3])))
    with pytest.raises(UsageError, match="rows_per_call is 0; it must be at least 1"):
        TorchChunkPolicy(policy, Processor(tiny_config(), stats(tiny_config())), rows_per_call=0)
