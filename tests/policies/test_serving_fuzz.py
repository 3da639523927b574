"""Any frame that a stranger sends is answered or refused in words, by server and client; and the next one is served."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny_serving import SPEC, Remembering, request_of
from websockets.sync.client import ClientConnection, connect

from act_eval.errors import ActEvalError, RemoteError
from act_eval.policies.serving.client import RemotePolicy
from act_eval.policies.serving.protocol import OURS, Handshake, PredictRequest
from act_eval.policies.serving.server import PolicyServer
from act_eval.serving.connection import Endpoint
from act_eval.serving.exposure import Exposure
from act_eval.serving.messages import pack, unpack

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=70) | ARRAYS
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner))


def frame() -> dict[str, Any]:
    numbered = PredictRequest(session="s", number=0, resets={0: 5}, request=request_of([0], 0))
    return numbered.to_message(SPEC)


def handshake() -> dict[str, Any]:
    said = Handshake(spec=SPEC, identity={"digest": "d"}, run={}, numeric={}, instance="i", max_bytes=9999)
    return unpack(pack(said.to_message()))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with PolicyServer(Remembering(), {}, {}, {}, Exposure(port=0)).running() as server:
        yield server.address


def ask(client: ClientConnection, message: dict[str, Any]) -> None:
    client.recv()
    client.send(pack(message))
    reply = client.recv(timeout=60)
    if isinstance(reply, str):
        assert reply
    else:
        answer = unpack(reply)
        assert ("actions" in answer) != bool(answer.get("error", {}).get("text"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_a_request_with_any_value_anywhere(url: str, data: st.DataObject):
    message = frame()
    if data.draw(st.booleans()):
        del message[OURS]
    for _ in range(data.draw(st.integers(1, 2))):
        place = message
        if OURS in message and isinstance(message[OURS], dict) and data.draw(st.booleans()):
            place = message[OURS]
        name = data.draw(st.sampled_from([*place, "seed", "step"]))
        if name in place and data.draw(st.booleans()):
            del place[name]
        else:
            place[name] = data.draw(VALUES)
    with connect(url, proxy=None) as stranger:
        ask(stranger, message)
    policy = RemotePolicy(Endpoint(url=url))
    policy.reset([0], [5])
    assert policy.predict(request_of([0], 0)).actions.shape == (1, SPEC.chunk, SPEC.action_dim)
    policy.close()


@given(st.data())
def test_a_handshake_with_any_value_anywhere(data: st.DataObject):
    message = handshake()
    for _ in range(data.draw(st.integers(1, 2))):
        place = message[OURS] if data.draw(st.booleans()) else message[OURS]["spec"]
        if not isinstance(place, dict):
            break
        name = data.draw(st.sampled_from(sorted(place) or ["chunk"]))
        place[name] = data.draw(VALUES)
    with suppress(RemoteError):
        found = Handshake.from_message(message)
        assert found.spec.chunk >= 1
        assert found.spec.window in ("same", "shifted")
        assert found.max_bytes >= 0


@pytest.mark.parametrize(
    ("place", "name", "value", "text"),
    [
        ("spec", "action_dim", None, "handshake is damaged: spec.action_dim is null; it must be a whole number"),
        ("spec", "chunk", 0, "handshake: spec: a policy needs chunk >= 1"),
        ("spec", "window", "other", r"spec.window is 'other'; it must be one of 'same', 'shifted'"),
        ("spec", "inputs", {"observation.state": 3}, r"spec.inputs.observation.state is 3; it must be a list"),
        (None, "identity", [1], "identity is a list with 1 entries; it must be an object"),
        (None, "identity", {"digest": np.zeros(2)}, "identity.digest is a ndarray; it must be JSON"),
        (None, "spec", None, "spec is null; it must be an object"),
        (None, "protocol", 7, "the server speaks protocol 7, this client 2"),
    ],
)
def test_a_malformed_handshake_is_named(place: str | None, name: str, value: object, text: str):
    message = handshake()
    (message[OURS] if place is None else message[OURS][place])[name] = value
    with pytest.raises(RemoteError, match=text):
        Handshake.from_message(message)


@given(st.dictionaries(st.sampled_from(["actions", "error", "server_timing"]), VALUES))
def test_an_answer_in_which_anything_stands(answer: dict[str, Any]):
    class Anything:
        def request(self, frame: bytes) -> bytes:
            return pack(answer)

    policy = RemotePolicy.__new__(RemotePolicy)
    policy._url, policy._session, policy._number, policy._resets = "ws://h:1", "s", 0, {}
    policy._handshake = Handshake.from_message(handshake())
    policy._connection = Anything()  # pyright: ignore[reportAttributeAccessIssue]
    with suppress(ActEvalError):
        assert isinstance(policy.predict(request_of([0], 0)).actions, np.ndarray)
