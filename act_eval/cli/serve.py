"""`serve`: serve a policy over a WebSocket, for clients of act_eval and of openpi."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from act_eval.cli import OK
from act_eval.cli.parsing import parse
from act_eval.errors import UsageError


@dataclass(frozen=True)
class Flags:
    """Serve a policy over a WebSocket until ctrl-C. Clients pass the printed address as --policy."""

    policy: str = "act_rtc"
    """A shipped policy, a checkpoint folder (ours or LeRobot's ACT), a hub id, module:factory, or lerobot:FOLDER."""
    policy_options: tuple[str, ...] = ()
    """Passed to module:factory or to LeRobot's process, each as NAME=VALUE; a value is JSON or text."""
    policy_python: str | None = None
    """Python interpreter of lerobot:FOLDER, in whose environment LeRobot is installed; this one by default."""
    host: str = "127.0.0.1"
    """Address to listen on. An address that other machines can reach needs a token: set ACT_EVAL_TOKEN, 16 characters
    or more, for the server and its clients."""
    port: int = 8000
    """Port to listen on; 0 picks a free port."""
    max_megabytes: int = 64
    """Largest accepted message [MiB]."""
    device: str = "auto"
    """Device of the network: cpu, cuda, or auto (cuda if available)."""
    compile: str = "auto"
    """torch.compile: off, one of its modes, or auto (on if it pays off)."""
    rows_per_call: int | None = None
    """Batch size of every network call, padded if fewer requests wait; 8 by default, as in an evaluation. 1 gives a
    single environment the lowest latency."""
    threads: int = 1
    """Threads per network call."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and serve; return the exit code."""
    return serve(parse(Flags, argv, prog), sys.stdout)


def serve(flags: Flags, stream: TextIO) -> int:
    """Serve until ctrl-C; return the exit code.

    Raises:
        ActEvalError: if the flags, the policy or the port are invalid.
    """
    from act_eval.serving import need_serving
    from act_eval.sources.factories import named_values  # slow to import; help does not need it
    from act_eval.sources.network_sources import check_network, label
    from act_eval.sources.policies import EXPERT, Network, policy_source
    from act_eval.sources.policy_sources import ServerSource

    need_serving("policy servers")
    from act_eval.policies.serving.server import PolicyServer
    from act_eval.serving.exposure import Exposure

    for name in ("threads", "rows_per_call"):
        value = getattr(flags, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {value}; it must be at least 1")
    if flags.policy == EXPERT:
        raise UsageError("the expert reads the simulator's state and cannot be served; --policy takes a policy")
    exposure = Exposure.of_flags(flags.host, flags.port, flags.max_megabytes)
    check_network(flags.compile, flags.device)
    network = Network(
        device=flags.device, compile=flags.compile, rows_per_call=flags.rows_per_call, threads=flags.threads
    )
    options = named_values(flags.policy_options, "--policy-options")
    source = policy_source(flags.policy, options, network, python=flags.policy_python)
    if isinstance(source, ServerSource):
        raise UsageError(f"{flags.policy} is served already; --policy takes a checkpoint or module:factory")
    print(f"loading {flags.policy}", file=stream, flush=True)
    policy = source.load()
    facts = source.facts(policy)
    identity = {"name": label(flags.policy), **facts.identity}
    server = PolicyServer(policy, identity, facts.run, facts.numeric, exposure)
    print(f"serving {identity['name']} at {server.address} ({exposure.guard}); ctrl-C ends it", file=stream, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.close()
    return OK
