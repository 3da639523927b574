"""What servers of policies and of environments share: messages, connections, access.

MessagePack with NumPy arrays, never pickle. `websockets` and `msgpack` come with the extra `serve`.
"""

from importlib.util import find_spec

from act_eval.errors import UsageError

TOKEN = "ACT_EVAL_TOKEN"
"""Environment variable with the token of a server: a command line is visible to other users."""


def need_serving(what: str) -> None:
    """Refuse to speak with servers where the packages for it are missing.

    Raises:
        UsageError: naming them.
    """
    for name in ("msgpack", "websockets"):
        if find_spec(name) is None:
            raise UsageError(f"{what} need {name!r}: pip install 'act_eval[serve]'")
