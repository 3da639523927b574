"""Serve a policy until somebody stops it."""

import os
from typing import TYPE_CHECKING, TextIO

from act_eval.cli import OK
from act_eval.errors import UsageError
from act_eval.policies.serving import TOKEN
from act_eval.sources.factories import named_values
from act_eval.sources.policies import EXPERT, Network, label, policy_source
from act_eval.sources.policy_sources import ServerSource, check_network, need_serving

if TYPE_CHECKING:
    from act_eval.cli.serve import Flags


def serve(flags: "Flags", stream: TextIO) -> int:
    """Serve as the flags say; return the exit code once ctrl-C ends it.

    Raises:
        ActEvalError: with what is wrong with the flags, the policy or the port.
    """
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
