"""`serve-env`: serve an environment over a WebSocket."""

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from act_eval.cli import OK
from act_eval.cli.parsing import parse


@dataclass(frozen=True)
class Flags:
    """Serve an environment over a WebSocket until ctrl-C. Clients pass the printed address as --env."""

    env: str = "confuser_pick"
    """A built-in name, a Gymnasium id, module:factory, or dm_control:DOMAIN/TASK."""
    env_options: tuple[str, ...] = ()
    """Passed to the environment, each as NAME=VALUE; a value is JSON or text."""
    host: str = "127.0.0.1"
    """Address to listen on. An address that other machines can reach needs a token: set ACT_EVAL_TOKEN, 16 characters
    or more, for the server and its clients."""
    port: int = 8001
    """Port to listen on; 0 picks a free port."""
    max_megabytes: int = 64
    """Largest accepted message [MiB]."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and serve; return the exit code."""
    return serve(parse(Flags, argv, prog), sys.stdout)


def serve(flags: Flags, stream: TextIO) -> int:
    """Serve until ctrl-C; return the exit code.

    Raises:
        ActEvalError: if the flags, the environment or the port are invalid.
    """
    from act_eval.serving import need_serving
    from act_eval.sources.external_envs import full_name, make_raw
    from act_eval.sources.factories import named_values

    need_serving("environment servers")
    from act_eval.envs.serving.server import EnvServer
    from act_eval.serving.exposure import Exposure

    exposure = Exposure.of_flags(flags.host, flags.port, flags.max_megabytes)
    name, options = full_name(flags.env), named_values(flags.env_options, "--env-options")
    make_raw(name, options, None, False)[0].close()  # a fault shows here, not at the first client

    def tell(url: str) -> None:
        print(f"serving {name} at {url} ({exposure.guard}); ctrl-C ends it", file=stream, flush=True)

    server = EnvServer(lambda film, horizon: make_raw(name, options, horizon, film), name, options, exposure)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever(tell)
    return OK
