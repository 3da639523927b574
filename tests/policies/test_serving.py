"""A policy behind a real socket: the same answers, refusals that name what is wrong, and only invited clients."""

import contextlib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from tiny_serving import IMAGE, SPEC, Remembering, request_of
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from act_eval.errors import RemoteError, UsageError
from act_eval.policies.serving.client import RemotePolicy, RemotePolicyError
from act_eval.policies.serving.protocol import OURS, PROTOCOL
from act_eval.policies.serving.server import PolicyServer
from act_eval.serving.connection import Endpoint
from act_eval.serving.exposure import MOST_CLIENTS, Exposure, is_loopback
from act_eval.serving.messages import pack, unpack
from act_eval.types import ActionChunks, ChunkPolicy, ChunkRequest, Observation

TOKEN = "a token of enough length"


@contextmanager
def serving(policy: ChunkPolicy, **exposure) -> Iterator[str]:
    server = PolicyServer(policy, {"name": "toy", "digest": "d"}, {"device": "cpu"}, {}, Exposure(port=0, **exposure))
    with server.running():
        yield server.address


@contextmanager
def remote(url: str, **line) -> Iterator[RemotePolicy]:
    policy = RemotePolicy(Endpoint(url=url, **line))
    try:
        yield policy
    finally:
        policy.close()


def test_a_served_policy_says_and_answers_what_it_does_here():
    here, there = Remembering(), Remembering()
    with serving(there) as url, remote(url) as policy:
        assert policy.spec == SPEC
        assert policy.handshake.identity == {"name": "toy", "digest": "d"}
        for who in (here, policy):
            who.reset([0, 1, 5], [7, 8, 2**63])
        for step in range(3):
            request = request_of([0, 5, 1], step)
            np.testing.assert_array_equal(policy.predict(request).actions, here.predict(request).actions)
        assert policy.predict(request_of([1], 9)).actions.dtype == np.float32
    assert [seen.keys() for seen in there.seen] == [{"rows", "estimated", "known", "last", "pixels", "state"}] * 4
    for mine, theirs in zip(here.seen, there.seen, strict=False):
        for name in mine.keys() - {"rows"}:
            np.testing.assert_array_equal(mine[name], theirs[name])


def test_a_served_history_arrives_with_its_time_axis():
    class Two(Remembering):
        spec = replace(SPEC, history=2, history_spacing=3)

    old, new = (request_of([0, 1], step) for step in (4, 7))
    stacked = replace(new, observation=Observation.over_time([old.observation, new.observation]))
    there = Two()
    with serving(there) as url, remote(url) as policy:
        assert (policy.spec.history, policy.spec.history_spacing) == (2, 3)
        policy.reset([0, 1], [1, 2])
        policy.predict(stacked)
        np.testing.assert_array_equal(there.seen[0]["state"][:, 0], old.observation.agent_pos)
        np.testing.assert_array_equal(there.seen[0]["pixels"][:, 1], new.observation.pixels["top"])
        with pytest.raises(UsageError, match=r"'observation.state' has shape \(2, 2\), float32; .* \(2, 2, 2\)"):
            policy.predict(new)
        with connect(url, proxy=None, compression=None) as client:  # openpi's client: one row, without its axis
            client.recv()
            images = {"observation.images.top": stacked.observation.pixels["top"][0]}
            client.send(pack({"observation.state": stacked.observation.agent_pos[0], **images, "seed": 5}))
            assert unpack(client.recv())["actions"].shape == (SPEC.chunk, SPEC.action_dim)
    np.testing.assert_array_equal(there.seen[-1]["last"], new.observation.agent_pos[:1])


def test_a_handshake_with_a_bad_history_is_refused():
    class Other(PolicyServer):
        def __init__(self, *arguments) -> None:
            super().__init__(*arguments)
            about = unpack(self._handshake)
            about[OURS]["spec"]["history"] = 0
            self._handshake = pack(about)

    text = "history of a policy is 0; it must be a whole number, at least 1"
    with Other(Remembering(), {}, {}, {}, Exposure(port=0)).running() as server, pytest.raises(RemoteError, match=text):
        RemotePolicy(Endpoint(url=server.address))


def test_each_client_has_rows_of_its_own():
    with serving(Remembering()) as url, remote(url) as one, remote(url) as other:
        one.reset([0], [1])
        other.reset([0], [2])
        first = [one.predict(request_of([0], t)).actions for t in range(2)]
        second = [other.predict(request_of([0], t)).actions for t in range(2)]
    lonely = Remembering()
    for expected, seed in ((first, 1), (second, 2)):
        lonely.reset([0], [seed])
        for t, actions in enumerate(expected):
            np.testing.assert_array_equal(actions, lonely.predict(request_of([0], t)).actions)


class Raising(Remembering):
    def predict(self, request: ChunkRequest) -> ActionChunks:
        if request.steps[0] == 1:
            raise ValueError("no idea what to do")
        if request.steps[0] == 2:
            raise UsageError("estimated delay 9 is above max_delay = 3")
        if request.steps[0] == 3:
            return ActionChunks(np.array([object()]))
        return super().predict(request)


def test_what_a_policy_raises_is_its_fault_and_the_line_lives_on():
    with serving(Raising()) as url, remote(url) as policy:
        policy.reset([0], [1])
        with pytest.raises(RemotePolicyError, match=r"^ValueError: no idea what to do$"):
            policy.predict(request_of([0], 1))
        with pytest.raises(UsageError, match=r"estimated delay 9 is above max_delay = 3"):
            policy.predict(request_of([0], 2))
        with pytest.raises(RemotePolicyError, match="arrays of object cannot travel"):
            policy.predict(request_of([0], 3))
        assert policy.predict(request_of([0], 4)).actions.shape == (1, SPEC.chunk, SPEC.action_dim)


def test_a_wrong_number_of_actions_reaches_the_one_who_judges_it():
    class Short(Remembering):
        def predict(self, request: ChunkRequest) -> ActionChunks:
            return ActionChunks(super().predict(request).actions[:, 1:])

    with serving(Short()) as url, remote(url) as policy:
        policy.reset([0], [1])
        assert policy.predict(request_of([0], 0)).actions.shape == (1, SPEC.chunk - 1, SPEC.action_dim)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"agent_pos": np.zeros((1, 3), np.float32)}, r"'observation.state' has shape \(1, 3\), float32; .* \(1, 2\)"),
        ({"agent_pos": np.zeros((1, 2), np.int64)}, "'observation.state' has shape .* int64"),
        ({"pixels": {"top": np.zeros((1, 4, 5, 3), np.uint8)}}, r"'observation.images.top' has shape \(1, 4, 5, 3\)"),
        ({"pixels": {"top": np.zeros((1, *IMAGE), np.float32)}}, r"'observation.images.top' .* float32; .* uint8"),
        ({"pixels": {}}, r"the policy reads camera 'top'; the environment has \[\]"),
    ],
    ids=str,
)
def test_a_wrong_observation_is_named(changes: dict, text: str):
    request = request_of([0], 0)
    with serving(Remembering()) as url, remote(url) as policy:
        policy.reset([0], [1])
        with pytest.raises(UsageError, match=text):
            policy.predict(replace(request, observation=replace(request.observation, **changes)))
        assert policy.predict(request).actions.shape == (1, SPEC.chunk, SPEC.action_dim)


def test_a_request_that_is_too_large_is_refused_before_it_is_sent():
    text = r"a request has \d{4} bytes, ws://127.* accepts 1024: .* --max-megabytes"
    with serving(Remembering(), max_bytes=1024) as url, remote(url) as policy, pytest.raises(UsageError, match=text):
        policy.predict(request_of(range(20), 0))


def test_a_client_that_sends_too_much_is_cut_off_and_others_are_not():
    with serving(Remembering(), max_bytes=1024) as url, connect(url, proxy=None) as rude:
        rude.recv()
        rude.send(b"x" * 2000)
        with pytest.raises(ConnectionClosed) as closed:
            rude.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        with remote(url) as policy:
            assert policy.spec == SPEC


def test_a_token_is_needed_where_there_is_one():
    with serving(Remembering(), token=TOKEN) as url:
        with pytest.raises(UsageError, match=r"requires a token in the environment variable ACT_EVAL_TOKEN"):
            RemotePolicy(Endpoint(url=url))
        with pytest.raises(UsageError, match=r"refuses the token in the environment variable ACT_EVAL_TOKEN"):
            RemotePolicy(Endpoint(url=url, token=TOKEN + "!"))
        with pytest.raises(UsageError, match="the token in ACT_EVAL_TOKEN must be printable ASCII"):
            Endpoint(url=url, token="schlüssel")
        with remote(url, token=TOKEN) as policy:
            assert policy.spec == SPEC
        assert TOKEN not in repr(Endpoint(url=url, token=TOKEN)) + repr(Exposure(token=TOKEN))


def test_what_other_machines_can_reach_needs_a_token():
    for host in ("0.0.0.0", "::", "192.168.1.7", "robot.lab"):
        assert not is_loopback(host)
        with pytest.raises(UsageError, match=rf"{host} can be reached from other machines.*ACT_EVAL_TOKEN"):
            Exposure(host=host)
        assert Exposure(host=host, token=TOKEN).host == host
    assert all(map(is_loopback, ("127.0.0.1", "127.8.9.1", "::1", "localhost")))
    with pytest.raises(UsageError, match="the token has 5 characters; it must have at least 16"):
        Exposure(token="short")


def test_a_page_in_the_browser_cannot_connect():
    with serving(Remembering()) as url, pytest.raises(InvalidStatus, match="403"):
        connect(url, proxy=None, origin="https://evil.example")


def test_a_port_that_is_taken_is_named():
    text = r"cannot listen at 127.0.0.1, port \d+: .*in use"
    with serving(Remembering()) as url, pytest.raises(UsageError, match=text):
        PolicyServer(Remembering(), {}, {}, {}, Exposure(port=int(url.rpartition(":")[2])))


def test_health_is_reported():
    with serving(Remembering()) as url, urllib.request.urlopen(url.replace("ws", "http", 1) + "/healthz") as answer:
        assert answer.read() == b"OK\n"


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (b"\xc1\xc1", "are no message"),
        ("text", "must be a binary frame of MessagePack, got text"),
        (pack({OURS: 3}), "must be a map, got int"),
        (pack({OURS: {"session": "s", "number": 0, "resets": [[0], []]}, "rows": np.zeros(1, np.int64)}), "'prefix'"),
        (pack({OURS: {}, "rows": np.zeros(5000, np.int64)}), "1 to 1024 rows, none negative, got 5000"),
        (pack({OURS: {}, "rows": np.array([-1])}), "none negative"),
    ],
    ids=["hostile", "text", "entry", "incomplete", "rows", "negative"],
)
def test_a_malformed_frame_is_answered_with_what_is_wrong_and_others_are_served(frame: bytes | str, text: str):
    with serving(Remembering()) as url, connect(url, proxy=None) as stranger:
        stranger.recv()
        stranger.send(frame)
        reply = stranger.recv()
        assert text in (reply if isinstance(reply, str) else unpack(reply)["error"]["text"])
        with remote(url) as policy:
            policy.reset([0], [1])
            assert len(policy.predict(request_of([0], 0)).actions) == 1


def good_frame(**changes) -> dict:
    about = {"session": "s", "number": 0, "resets": [[0], [5]], **changes.pop(OURS, {})}
    request = request_of([0], 0)
    return {
        OURS: about,
        "rows": request.rows,
        "steps": request.steps,
        "estimated_delay": request.estimated_delay,
        "prefix": request.prefix,
        "last_action": request.last_action,
        "observation.state": request.observation.agent_pos,
        "observation.images.top": request.observation.pixels["top"],
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({OURS: {"number": -1}}, "'number' must be a whole number from 0 on, got '-1'"),
        ({OURS: {"number": True}}, "'number' must be a whole number"),
        ({OURS: {"session": ""}}, "'session' must be a text of 1 to 64 characters"),
        ({OURS: {"session": "x" * 65}}, "'session' must be a text"),
        ({OURS: {"resets": [[0], [-5]]}}, "'resets' must be as many rows as seeds"),
        ({OURS: {"resets": {"0": 5}}}, "'resets' must be two lists"),
        ({"estimated_delay": np.array([-1])}, "'estimated_delay' must be 0 to"),
        ({"estimated_delay": np.array([1.0])}, "'estimated_delay' has shape"),
        ({"prefix": np.zeros((1, 5000, 2), np.float32)}, "a prefix may have 4096 commands, got 5000"),
        ({"prefix": np.zeros((2, 3, 2), np.float32)}, "'prefix' has shape"),
        ({"told_delay": np.array([1])}, "'told_delay' belongs to protocol 1, this server speaks protocol 2"),
        ({"last_action": "text"}, "'last_action' must be an array, the request has str"),
    ],
    ids=str,
)
def test_a_malformed_entry_is_named(changes: dict, text: str):
    with serving(Remembering()) as url, connect(url, proxy=None) as client:
        client.recv()
        client.send(pack(good_frame(**changes)))
        assert text in unpack(client.recv())["error"]["text"]


def test_a_repeated_request_receives_the_stored_response():
    policy = Remembering()
    with serving(policy) as url, connect(url, proxy=None) as client:
        client.recv()
        replies = []
        for _ in range(3):
            client.send(pack(good_frame()))
            replies.append(client.recv())
        assert replies[0] == replies[1] == replies[2]
        assert len(policy.seen) == 1


def test_openpis_client_is_answered_one_observation_at_a_time():
    here = Remembering()
    here.reset([0], [5])
    request = request_of([0], 0)
    plain = {
        "observation.state": request.observation.agent_pos[0],
        "observation.images.top": request.observation.pixels["top"][0],
    }
    with serving(Remembering()) as url, connect(url, proxy=None, compression=None) as client:
        assert unpack(client.recv())[OURS]["protocol"] == PROTOCOL
        client.send(pack({**plain, "seed": 5, "prefix": request.prefix[0, :1], "last_action": request.last_action[0]}))
        answer = unpack(client.recv())
        np.testing.assert_array_equal(answer["actions"], here.predict(request).actions[0])
        assert answer["server_timing"]["infer_ms"] >= 0
        client.send(pack({"observation.state": plain["observation.state"]}))
        assert client.recv() == "'observation.images.top' must be an array, the request has nothing"
        client.send(pack(plain))
        assert unpack(client.recv())["actions"].shape == (SPEC.chunk, SPEC.action_dim)


@pytest.mark.parametrize("protocol", [1, 3])
def test_a_server_of_another_protocol_is_named(protocol: int):
    class Other(PolicyServer):
        def __init__(self, *arguments) -> None:
            super().__init__(*arguments)
            self._handshake = pack({OURS: {"protocol": protocol}})

    text = rf"speaks protocol {protocol}, this client 2: install the same version"
    with Other(Remembering(), {}, {}, {}, Exposure(port=0)).running() as server, pytest.raises(RemoteError, match=text):
        RemotePolicy(Endpoint(url=server.address))


def test_there_is_a_limit_to_clients():
    with serving(Remembering()) as url, contextlib.ExitStack() as lines:
        for _ in range(MOST_CLIENTS):
            lines.enter_context(connect(url, proxy=None)).recv()
        with connect(url, proxy=None) as late, pytest.raises(ConnectionClosed, match=f"{MOST_CLIENTS} clients are"):
            late.recv()
