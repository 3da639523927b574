"""Where an environment is made, if not in this process: a process of another Python, or a server."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act_eval.errors import UsageError
from act_eval.serving import TOKEN, need_serving

if TYPE_CHECKING:
    from act_eval.envs.serving.client import ServedEnv

_URL = re.compile(r"wss?://")


@dataclass(frozen=True)
class Python:
    """A process of its own."""

    path: str
    """Of its interpreter."""


@dataclass(frozen=True)
class Server:
    """A server of `act-eval serve-env`, which makes environments of one name and its options."""

    url: str


Place = Python | Server


def is_server(name: str) -> bool:
    """Return whether the name of an environment is the address of a server."""
    return _URL.match(name) is not None


def python_of(given: str | Path | None) -> Python | None:
    """Return the process of `--env-python`.

    Raises:
        UsageError: if there is no such file.
    """
    if given is None:
        return None
    path = Path(given).expanduser().absolute()  # not resolved: a virtual environment's link names its packages
    if not path.is_file():
        raise UsageError(f"--env-python {given}: there is no such file; it must be a Python interpreter")
    return Python(os.fspath(path))


def make_elsewhere(place: Place, name: str, options: Mapping[str, Any], film: bool, horizon: int | None) -> "ServedEnv":
    """Return a new environment that is made elsewhere; see `act_eval.sources.external_envs.make_raw`.

    Raises:
        UsageError: or a child of it, if the place cannot be used, or the environment cannot be made there.
        RemoteError: if no server answers, or it speaks another protocol.
    """
    match place:
        case Python(path):
            from act_eval.sources.env_process import made_in_process

            return made_in_process(path, name, options, film, horizon)
        case Server(url):
            from act_eval.envs.serving.client import ServedEnv

            return ServedEnv(_connected(url), film, horizon)


def served_at(url: str) -> tuple[str, dict[str, Any]]:
    """Return the name of the environment that a server makes, and its options.

    Raises:
        UsageError: if the token is missing or wrong, or the extra `serve` is not installed.
        RemoteError: if no server answers, or it speaks another protocol.
    """
    connection = _connected(url)
    try:
        connection.begin()
        return connection.name, dict(connection.options)
    finally:
        connection.release()


def _connected(url: str) -> Any:
    need_serving("environment servers")
    from act_eval.envs.serving.connection import EnvConnection
    from act_eval.serving.connection import Endpoint

    return EnvConnection(Endpoint(url=url, token=os.environ.get(TOKEN) or None))
