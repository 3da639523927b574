"""`serve`: a policy behind a WebSocket, for clients of act_eval and of openpi."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from act_eval.cli import OK
from act_eval.cli.parsing import parse
from act_eval.errors import UsageError


@dataclass(frozen=True)
class Flags:
    """Serve a policy over a WebSocket until ctrl-C. Clients give the printed address as --policy."""

    policy: str = "act_rtc"
    """A shipped policy, a checkpoint folder (ours or LeRobot's ACT), a hub id, or module:factory."""
    policy_options: tuple[str, ...] = ()
    """Given to module:factory, each as NAME=VALUE; a value is JSON or text."""
    host: str = "127.0.0.1"
    """Address to listen at. One that other machines can reach needs a token: set ACT_EVAL_TOKEN, 16 characters or
    more, for the server and for its clients."""
    port: int = 8000
    """Port to listen at; 0 takes a free one."""
    max_megabytes: int = 64
    """Largest message that is taken [MiB]."""
    device: str = "auto"
    """Where the network runs: cpu, cuda, or auto (cuda where there is one)."""
    compile: str = "auto"
    """torch.compile: off, a mode of it, or auto (where it pays)."""
    rows_per_call: int | None = None
    """Rows of every network call, filled up where fewer ask; 8 by default, as in an evaluation. With 1 a single
    environment is answered soonest."""
    threads: int = 1
    """Threads of the network's arithmetic."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and serve; return the exit code."""
    return serve(parse(Flags, argv, prog), sys.stdout)


def serve(flags: Flags, stream: TextIO) -> int:
    """Serve as the flags say; return the exit code once ctrl-C ends it.

    Raises:
        ActEvalError: with what is wrong with the flags, the policy or the port.
    """
    from act_eval.policies.serving import TOKEN  # loads the policy, and help needs none of it
    from act_eval.sources.factories import named_values
    from act_eval.sources.policies import EXPERT, Network, policy_source
    from act_eval.sources.policy_sources import ServerSource, check_network, label, need_serving

    need_serving()
    from act_eval.policies.serving.server import MEGABYTE, Exposure, PolicyServer

    for name in ("threads", "max_megabytes", "rows_per_call"):
        value = getattr(flags, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {value}; it must be at least 1")
    if flags.policy == EXPERT:
        raise UsageError("the expert reads the simulator's state and cannot be served; --policy takes a policy")
    exposure = Exposure(
        host=flags.host,
        port=flags.port,
        token=os.environ.get(TOKEN) or None,
        max_bytes=flags.max_megabytes * MEGABYTE,
    )
    check_network(flags.compile, flags.device)
    network = Network(
        device=flags.device, compile=flags.compile, rows_per_call=flags.rows_per_call, threads=flags.threads
    )
    options = named_values(flags.policy_options, "--policy-options")
    source = policy_source(flags.policy, options, network)
    if isinstance(source, ServerSource):
        raise UsageError(f"{flags.policy} is served already; --policy takes a checkpoint or module:factory")
    print(f"loading {flags.policy}", file=stream, flush=True)
    policy = source.load()
    facts = source.facts(policy)
    identity = {"name": label(flags.policy), **facts.identity}
    server = PolicyServer(policy, identity, facts.run, facts.numeric, exposure)
    guarded = "token needed" if exposure.token else "no token, this machine only"
    print(f"serving {identity['name']} at {server.address} ({guarded}); ctrl-C ends it", file=stream, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.close()
    return OK
