"""An openpi server, as its protocol has it: asked in its words, its answers checked, its failures reported."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_serving import IMAGE, Remembering, request_of
from websockets.sync.server import ServerConnection, serve

from act_eval.errors import FeatureMismatch, RemoteError, UsageError
from act_eval.policies.serving.client import RemotePolicy
from act_eval.policies.serving.openpi import OpenpiPolicy, parse_address
from act_eval.policies.serving.server import PolicyServer
from act_eval.serving.connection import Endpoint
from act_eval.serving.exposure import Exposure
from act_eval.serving.messages import pack, unpack
from act_eval.types import ENVIRONMENT_STATE, STATE

H, W, _ = IMAGE
ASKING = {
    "chunk": 3,
    "action_dim": 2,
    "prompt": "pick up the block",
    "observation/state": "observation.state:2",
    "images.cam_high": f"observation.images.top:{H}x{W}x3:chw",
    "observation/image": f"observation.images.wrist:{H}x{W}x3",
}
Infer = Callable[[dict[str, Any]], dict[str, Any]]


def policy_at(url: str, options: dict[str, Any]) -> OpenpiPolicy:
    endpoint, interface = parse_address(url, options)
    assert interface is not None
    return OpenpiPolicy(endpoint, interface)


@contextmanager
def openpi(infer: Infer, metadata: dict[str, Any] | None = None) -> Iterator[str]:
    """A server as openpi's: sends metadata, responds with MessagePack, and with text if it fails."""

    def converse(client: ServerConnection) -> None:
        client.send(pack(metadata or {}))
        for frame in client:
            assert isinstance(frame, bytes)
            try:
                client.send(pack({**infer(unpack(frame)), "server_timing": {"infer_ms": 1.5}}))
            except KeyError as error:
                client.send(f"Traceback (most recent call last):\n  …\nKeyError: {error}\n")
                client.close(1011)
                return

    server = serve(converse, "127.0.0.1", 0, compression=None, max_size=None)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()
        thread.join()


def shown(rows: int):
    request = request_of(range(rows), 0)
    pixels = {"top": request.observation.pixels["top"], "wrist": request.observation.pixels["top"][:, ::-1]}
    return replace(request, observation=replace(request.observation, pixels=pixels))


def test_it_is_asked_in_its_own_words_and_answers_row_by_row():
    asked: list[dict[str, Any]] = []

    def infer(observation: dict[str, Any]) -> dict[str, Any]:
        asked.append(observation)
        return {"actions": np.arange(6.0).reshape(3, 2) + observation["observation/state"]}

    with openpi(infer, {"robot": "toy"}) as url:
        policy = policy_at(url, ASKING)
        assert policy.spec.inputs == {STATE: (2,), "observation.images.top": IMAGE, "observation.images.wrist": IMAGE}
        assert (policy.spec.chunk, policy.spec.window, policy.spec.takes_prefix) == (3, "same", False)
        request = shown(2)
        policy.reset([0, 1], [3, 4])
        actions = policy.predict(request).actions
        policy.close()
    assert actions.dtype == np.float32
    expected = np.arange(6.0).reshape(3, 2) + request.observation.agent_pos[:, None].astype(np.float64)
    np.testing.assert_allclose(actions, expected, rtol=1e-6)
    for row, seen in enumerate(asked):
        assert seen.keys() == {"prompt", "observation/state", "images", "observation/image"}
        assert seen["prompt"] == "pick up the block"
        top, wrist = (request.observation.pixels[name][row] for name in ("top", "wrist"))
        np.testing.assert_array_equal(seen["images"]["cam_high"], top.transpose(2, 0, 1))
        np.testing.assert_array_equal(seen["observation/image"], wrist)


def test_an_answer_of_another_shape_names_what_the_options_said():
    with openpi(lambda seen: {"actions": np.zeros((5, 2))}) as url:
        policy = policy_at(url, ASKING)
        with pytest.raises(FeatureMismatch, match=r"actions of shape \(5, 2\), float64; .* chunk=3 and action_dim=2"):
            policy.predict(shown(1))
        policy.close()


def test_an_answer_that_is_no_numbers_is_named():
    with openpi(lambda seen: {"actions": np.ones((3, 2), np.bool_)}) as url:
        policy = policy_at(url, ASKING)
        with pytest.raises(FeatureMismatch, match=r"actions of shape \(3, 2\), bool"):
            policy.predict(shown(1))
        policy.close()


@pytest.mark.parametrize("answer", [{"action": np.zeros((3, 2))}, {"actions": "left"}])
def test_an_answer_without_actions_is_named(answer: dict[str, Any]):
    with openpi(lambda seen: answer) as url:
        policy = policy_at(url, ASKING)
        with pytest.raises(RemoteError, match="a response must have the entry 'actions', an array of numbers"):
            policy.predict(shown(1))
        policy.close()


def test_its_failure_is_reported_and_fails_no_episode():
    with openpi(lambda seen: {"actions": seen["observation/joint_position"]}) as url:
        policy = policy_at(url, ASKING)
        with pytest.raises(RemoteError, match=r"failed: KeyError: 'observation/joint_position'$"):
            policy.predict(shown(1))
        policy.close()


def test_what_it_is_asked_and_says_of_itself_is_its_identity():
    digests = set()
    for metadata, options in (({}, {}), ({"robot": "a"}, {}), ({}, {"prompt": "put it down"})):
        with openpi(lambda seen: {}, metadata) as url:
            policy = policy_at(url, {**ASKING, **options})
            digests.add(policy.identity["digest"])
            policy.close()
    assert len(digests) == 3


def test_the_two_kinds_of_server_are_distinguished():
    text = r"no entry 'act_eval' but \['robot'\]: .* chunk=… action_dim=…"
    with openpi(lambda seen: {}, {"robot": "a"}) as url, pytest.raises(RemoteError, match=text):
        RemotePolicy(Endpoint(url=url))
    ours = PolicyServer(Remembering(), {}, {}, {}, Exposure(port=0))
    text = "is an act_eval server, which takes no options"
    with ours.running() as server, pytest.raises(UsageError, match=text):
        policy_at(server.address, ASKING)


THEIR_CLIENT = """
import sys
import numpy as np
from openpi_client.websocket_client_policy import WebsocketClientPolicy

client = WebsocketClientPolicy(host=sys.argv[1], api_key=sys.argv[2])
asked = dict(np.load(sys.argv[3]))
spec = client.get_server_metadata()["act_eval"]["spec"]
answer = client.infer({**asked, "seed": 5})
np.savez(sys.argv[4], actions=answer["actions"], chunk=spec["chunk"])
"""


@pytest.mark.slow
def test_openpis_own_client_is_answered(tmp_path: Path):
    """The real package, without its pin of an older NumPy."""
    words = ["install", "--quiet", "--no-deps", "--target", str(tmp_path / "site"), "openpi-client==0.1.2"]
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"openpi-client cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    (tmp_path / "client.py").write_text(THEIR_CLIENT)
    here, request, token = Remembering(), request_of([0], 0), "a token of enough length"
    here.reset([0], [5])
    asked = {
        "observation.state": request.observation.agent_pos[0],
        "observation.images.top": request.observation.pixels["top"][0],
        "prefix": request.prefix[0, :1],
        "last_action": request.last_action[0],
    }
    np.savez(tmp_path / "asked.npz", **asked)  # pyright: ignore[reportArgumentType]
    with PolicyServer(Remembering(), {}, {}, {}, Exposure(port=0, token=token)).running() as server:
        files = [str(tmp_path / name) for name in ("asked.npz", "answer.npz")]
        subprocess.run(
            [sys.executable, "-W", "ignore", str(tmp_path / "client.py"), server.address, token, *files],
            check=True,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        )
    answer = np.load(tmp_path / "answer.npz")
    assert answer["chunk"] == 5
    np.testing.assert_array_equal(answer["actions"], here.predict(request).actions[0])


def test_coordinates_can_be_asked_for():
    options = {"chunk": 3, "action_dim": 2, "goal": "observation.environment_state:2"}
    _, interface = parse_address("ws://h:1", options)
    assert interface is not None
    assert interface.spec.inputs == {ENVIRONMENT_STATE: (2,)}
    with pytest.raises(UsageError, match="one input of ours is given to the server at ws://h:1 under two names"):
        parse_address("ws://h:1", {"chunk": 3, "action_dim": 2, "a": "observation.state:2", "b": "observation.state:2"})
