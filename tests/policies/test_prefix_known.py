"""Padding in place of committed commands: a delay without its prefix."""

import numpy as np
import pytest
import torch
from tiny_policies import CAMERAS, normalised_batch, processor, tiny_rtc

from act_eval.errors import FeatureMismatch, UsageError
from act_eval.policies.rtc import ACTRTCPolicy
from act_eval.policies.serve import TorchChunkPolicy
from act_eval.types import ChunkRequest, Observation

PLACES = pytest.mark.parametrize("place", ["encoder", "decoder"])


def chunks(policy: ACTRTCPolicy, delay: list[int], known: list[int] | None, seed: int = 0) -> torch.Tensor:
    batch = normalised_batch(policy.config, rows=len(delay))
    prefix = torch.randn(len(delay), 3, 6, generator=torch.Generator().manual_seed(seed))
    seen = None if known is None else torch.tensor(known)
    return policy.predict_action_chunk(batch, torch.tensor(delay), prefix, seen)


@PLACES
def test_what_is_not_known_is_not_read_and_what_is_known_is(place: str) -> None:
    policy = tiny_rtc(rtc_prefix_in=place)
    delay, known = [3, 3, 2, 3], [0, 2, 0, 3]
    moved = (chunks(policy, delay, known) - chunks(policy, delay, known, seed=1)).abs().amax(dim=(1, 2))
    assert (moved > 1e-4).tolist() == [False, True, False, True]


@PLACES
def test_padding_is_neither_the_prefix_nor_another_delay(place: str) -> None:
    policy = tiny_rtc(rtc_prefix_in=place)
    delay = [3, 2, 1, 3]
    padded = chunks(policy, delay, [0] * 4)
    for other in (chunks(policy, delay, None), chunks(policy, [0] * 4, None)):
        assert ((padded - other).abs().amax(dim=(1, 2)) > 1e-4).all()


@PLACES
def test_known_up_to_the_delay_is_the_plain_call_to_the_last_bit(place: str) -> None:
    policy = tiny_rtc(rtc_prefix_in=place)
    assert torch.equal(chunks(policy, [3, 0, 1, 2], [3, 0, 1, 2]), chunks(policy, [3, 0, 1, 2], None))


def test_padding_is_what_the_network_saw_in_training_behind_the_prefix() -> None:
    policy = tiny_rtc()
    prefix = torch.randn(2, 3, 6)
    model = policy.model
    tokens = model._prefix_tokens(torch.tensor([[0], [2]]), prefix)
    pad = policy.model.prefix_pad_embed
    assert torch.equal(tokens[0, 0], pad.expand(3, -1))
    assert torch.equal(tokens[1, 0, 2], pad)
    assert not torch.equal(tokens[1, 0, 1], pad)


def request(prefix: np.ndarray, estimated: list[int], known: list[int] | None) -> ChunkRequest:
    rows = len(estimated)
    rng = np.random.default_rng(0)
    pixels = {name: rng.integers(0, 256, (rows, 16, 24, 3)).astype(np.uint8) for name in CAMERAS}
    normal = rng.standard_normal((rows, 14)).astype(np.float32)
    return ChunkRequest(
        rows=np.arange(rows),
        steps=np.zeros(rows, np.int64),
        observation=Observation(pixels, agent_pos=normal[:, :6], environment_state=normal[:, 6:8]),
        estimated_delay=np.array(estimated),
        prefix=prefix,
        prefix_known=None if known is None else np.array(known),
        last_action=normal[:, 8:],
    )


def test_a_served_network_takes_requests_with_unknown_commands() -> None:
    policy = tiny_rtc()
    served = TorchChunkPolicy(policy, processor(policy))
    prefix = np.random.default_rng(1).standard_normal((3, 3, 6)).astype(np.float32)
    holes = prefix.copy()
    holes[0], holes[1, 1:] = np.nan, np.nan
    estimated = [3, 3, 2]
    answer = served.predict(request(holes, estimated, [0, 1, 2])).actions
    assert np.isfinite(answer).all()
    np.testing.assert_array_equal(served.predict(request(prefix, estimated, [0, 1, 2])).actions, answer)
    plain = served.predict(request(prefix, estimated, None)).actions
    assert [np.array_equal(a, b) for a, b in zip(answer, plain, strict=True)] == [False, False, True]


@pytest.mark.parametrize(
    ("known", "error", "message"),
    [
        ([4, 0], UsageError, r"known commands are \[4, 0\]; allowed are 0 to the delays \[3, 1\]"),
        ([3, 2], UsageError, r"known commands are \[3, 2\]; allowed are 0 to the delays \[3, 1\]"),
        ([-1, 0], UsageError, r"known commands are \[-1, 0\]"),
        ([1], FeatureMismatch, r"known has shape \(1,\); needed is \(2,\)"),
    ],
)
def test_more_than_the_delay_cannot_be_known(known: list[int], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        chunks(tiny_rtc(), [3, 1], known)
