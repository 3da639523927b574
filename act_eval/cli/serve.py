"""`serve`: a policy behind a WebSocket, for clients of act_eval and of openpi."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from act_eval.cli.parsing import parse


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
    flags = parse(Flags, argv, prog)
    from act_eval.cli.serving import serve  # loads the policy, and help needs none of it

    return serve(flags, sys.stdout)
