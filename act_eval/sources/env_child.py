"""The process of `--env-python`, run by its path under any Python: env_child.py CONNECTION MEMORY PACKAGE.

CONNECTION and MEMORY are inherited file descriptors, PACKAGE is the folder of act_eval. The other packages beside it
are not importable here: they belong to another Python. The first frame says which packages are missing.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from importlib import util
from multiprocessing.connection import Connection

_NEEDED = ("numpy", "gymnasium", "msgpack")
_PARENT_S = 2.0
_exit = os._exit  # users' code must not end the process, so it is replaced while that runs


def main(connection: Connection, memory: int, package: str) -> None:
    """Serve environments until the other process closes its end or ends."""
    missing = [name for name in _NEEDED if util.find_spec(name) is None]
    connection.send_bytes(json.dumps({"python": sys.version_info[:2], "missing": missing}).encode())
    job = json.loads(connection.recv_bytes())  # does not come if the other process refuses this Python
    _import_act_eval(package)
    from act_eval.envs.serving.session import EnvSession
    from act_eval.serving.messages import pack, unpack
    from act_eval.serving.shared_arrays import SharedArrays
    from act_eval.sources.external_envs import make_raw

    session = EnvSession(lambda film, horizon: make_raw(job["name"], job["options"], horizon, film))
    shared = SharedArrays(memory)
    try:
        while True:
            connection.send_bytes(pack(session.respond(unpack(connection.recv_bytes())), shared))
    finally:
        session.close()


def _import_act_eval(package: str) -> None:
    """Import act_eval from its folder."""
    spec = util.spec_from_file_location(
        "act_eval", os.path.join(package, "__init__.py"), submodule_search_locations=[package]
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["act_eval"] = util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _end_with_parent(parent: int) -> None:
    """End this process when its parent has ended, even within a long step."""
    while os.getppid() == parent:
        time.sleep(_PARENT_S)
    _exit(1)


if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # it is this file's folder, whose modules are act_eval's
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C reaches the whole group; the parent handles it
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError):
        main(Connection(int(sys.argv[1])), int(sys.argv[2]), sys.argv[3])
