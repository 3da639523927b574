"""A broken connection: the request is repeated and the responses stay the same; or the run ends with a clear error."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from tiny_serving import Remembering, request_of
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from act_eval.errors import FeatureMismatch, RemoteError, UsageError
from act_eval.policies.serving.client import RemotePolicy
from act_eval.policies.serving.server import PolicyServer
from act_eval.serving.connection import MOST_REPEATS, Connection, Endpoint
from act_eval.serving.exposure import Exposure
from act_eval.serving.messages import pack, unpack
from act_eval.types import ActionChunks, ChunkPolicy, ChunkRequest

IDENTITY = {"name": "toy", "digest": "d"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@contextmanager
def server(policy: ChunkPolicy, port: int = 0, identity: dict | None = None) -> Iterator[str]:
    served = PolicyServer(policy, identity or IDENTITY, {}, {}, Exposure(port=port))
    with served.running():
        yield served.address


class Forgetful(Remembering):
    """An answer depends on its request alone."""

    remembers = False

    def predict(self, request: ChunkRequest) -> ActionChunks:
        self.reset(request.rows.tolist(), [0] * len(request.rows))
        return super().predict(request)


def test_a_server_that_is_restarted_goes_on_with_the_episode():
    port = free_port()
    expected = [Forgetful().predict(request_of([0, 1], t)).actions for t in range(4)]
    with server(Forgetful(), port) as url:
        policy = RemotePolicy(Endpoint(url=url))
        policy.reset([0, 1], [3, 4])
        answers = [policy.predict(request_of([0, 1], t)).actions for t in range(2)]
    first = policy.handshake.instance
    with ExitStack() as later:
        back = threading.Timer(0.5, lambda: later.enter_context(server(Forgetful(), port)))
        back.start()
        answers += [policy.predict(request_of([0, 1], t)).actions for t in range(2, 4)]
        back.join()
        assert policy.handshake.instance != first
        np.testing.assert_array_equal(answers, expected)
        policy.close()


def test_what_a_policy_remembered_is_not_made_up():
    port = free_port()
    with server(Remembering(), port) as url:
        policy = RemotePolicy(Endpoint(url=url))
        policy.reset([0], [3])
        policy.predict(request_of([0], 0))
    with server(Remembering(), port):
        with pytest.raises(RemoteError, match=r"row 0 is in the middle of an episode that this server does not know"):
            policy.predict(request_of([0], 1))
        policy.reset([0], [3])
        assert policy.predict(request_of([0], 0)).actions.shape == (1, 5, 2)
        policy.close()


def test_another_policy_at_the_same_place_is_refused():
    port = free_port()
    with server(Forgetful(), port) as url:
        policy = RemotePolicy(Endpoint(url=url))
    other = {"name": "toy", "digest": "e"}
    with (
        server(Forgetful(), port, other),
        pytest.raises(UsageError, match=r"came back with another policy.*'digest': 'e'"),
    ):
        policy.predict(request_of([0], 0))


def test_waiting_for_a_server_ends():
    with server(Forgetful()) as url:
        policy = RemotePolicy(Endpoint(url=url, patience_s=0.2))
    text = r"did not come back within 0.2 s: no server answers at ws://.* Finished episodes are kept: repeat"
    with pytest.raises(RemoteError, match=text):
        policy.predict(request_of([0], 0))


def test_a_server_that_never_ran_is_reported_at_once():
    with pytest.raises(RemoteError, match=r"^no server answers at ws://127.0.0.1:\d+: .*refused"):
        RemotePolicy(Endpoint(url=f"ws://127.0.0.1:{free_port()}"))


def test_a_place_that_is_no_policy_server_is_named():
    with socket.create_server(("127.0.0.1", 0)) as mail:
        url = f"ws://127.0.0.1:{mail.getsockname()[1]}"

        def greet() -> None:
            line, _ = mail.accept()
            with line:
                line.recv(1000)
                line.sendall(b"220 mail.example ESMTP\r\n\r\n")

        greeter = threading.Thread(target=greet)
        greeter.start()
        with pytest.raises(RemoteError, match=rf"{url} does not speak WebSocket"):
            RemotePolicy(Endpoint(url=url))
        greeter.join()


class Proxy:
    """Stands before a server; `drop` says of each answer's number whether the line breaks instead of it."""

    def __init__(self, url: str, drop) -> None:
        self._url, self._drop, self._answers = url, drop, 0
        self._server = serve(self._pass, "127.0.0.1", 0, compression=None, max_size=None)
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}"

    def _pass(self, client: ServerConnection) -> None:
        def behind(link: Connection) -> None:
            for frame in client:
                answer = link.request(frame)  # pyright: ignore[reportArgumentType]
                number, self._answers = self._answers, self._answers + 1
                if self._drop(number):
                    client.socket.shutdown(socket.SHUT_RDWR)
                    return
                client.send(answer)

        link = Connection(Endpoint(url=self._url), client.send)
        try:
            behind(link)
        finally:
            link.close()

    @contextmanager
    def running(self) -> Iterator[str]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self.url
        finally:
            self._server.shutdown()
            thread.join()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_answers_that_are_lost_on_the_way_change_nothing_even_where_episodes_are_remembered():
    alone, served = Remembering(), Remembering()
    with server(served) as url, Proxy(url, lambda n: n % 3 == 1).running() as through:
        policy = RemotePolicy(Endpoint(url=through))
        for who in (alone, policy):
            who.reset([0, 1], [3, 4])
        for t in range(6):
            request = request_of([0, 1], t)
            np.testing.assert_array_equal(policy.predict(request).actions, alone.predict(request).actions)
        policy.close()
    assert len(served.seen) == 6, "asked once each"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_request_that_loses_its_connection_again_and_again_ends_the_run():
    with server(Forgetful()) as url, Proxy(url, lambda n: True).running() as through:
        policy = RemotePolicy(Endpoint(url=through))
        with pytest.raises(RemoteError, match=rf"was lost {1 + MOST_REPEATS} times during one request"):
            policy.predict(request_of([0], 0))


def test_a_server_that_hangs_is_a_broken_line():
    held = threading.Event()

    class Hanging(Forgetful):
        def predict(self, request: ChunkRequest) -> ActionChunks:
            if not self.seen:
                self.seen.append({})
                held.wait(60)
            return super().predict(request)

    hanging = Hanging()
    with server(hanging) as url:
        policy = RemotePolicy(Endpoint(url=url, timeout_s=0.3))
        release = threading.Timer(0.8, held.set)
        release.start()
        np.testing.assert_array_equal(
            policy.predict(request_of([0], 0)).actions, Forgetful().predict(request_of([0], 0)).actions
        )
        release.join()
        policy.close()
    assert len(hanging.seen) == 2, "asked once, however often the request was repeated"


@pytest.mark.parametrize(("name", "value"), [("timeout_s", 0), ("patience_s", -1.0), ("timeout_s", float("nan"))])
def test_waiting_times_are_above_zero(name: str, value: float):
    with pytest.raises(UsageError, match=f"{name} is {value}; it must be above 0"):
        Endpoint(url="ws://localhost:1", **{name: value})


def test_a_refused_handshake_ends_the_connection():
    left = threading.Event()

    def refuse(frame: bytes) -> None:
        raise FeatureMismatch(f"{len(unpack(frame))} entry is too few")

    def greet(client: ServerConnection) -> None:
        client.send(pack({"a": 1}))
        with pytest.raises(ConnectionClosed):
            client.recv()
        left.set()

    listening = serve(greet, "127.0.0.1", 0, compression=None)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    url = f"ws://127.0.0.1:{listening.socket.getsockname()[1]}"
    with pytest.raises(FeatureMismatch, match="1 entry is too few"):
        Connection(Endpoint(url=url), refuse)
    listening.shutdown()
    thread.join()
    assert left.is_set()
