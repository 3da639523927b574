"""Overhead of a policy server: requests over loopback to a server that returns zeros.

Prints median and 95th percentile per request [ms], for single observations and for eight at a time.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import tyro

from act_eval.cli import guarded
from act_eval.policies.serving.client import RemotePolicy
from act_eval.policies.serving.connection import Endpoint
from act_eval.policies.serving.server import Exposure, PolicyServer
from act_eval.types import IMAGE_PREFIX, STATE, ActionChunks, ChunkRequest, Observation, PolicySpec

CHUNK, JOINTS = 20, 6


@dataclass(frozen=True)
class Flags:
    """Measure the overhead of a policy server over loopback."""

    requests: int = 1000
    """Timed, after a tenth as many."""
    rows: tuple[int, ...] = (1, 8)
    """Observations per request."""
    image_size: int = 96
    """Height and width of the images [px]."""
    cameras: int = 2
    """Images in an observation."""


class Zeros:
    """Returns zeros; implements `act_eval.types.ChunkPolicy`."""

    remembers = False

    def __init__(self, cameras: int, size: int) -> None:
        images = {f"{IMAGE_PREFIX}{number}": (size, size, 3) for number in range(cameras)}
        self.spec = PolicySpec(
            chunk=CHUNK,
            action_dim=JOINTS,
            window="same",
            takes_prefix=False,
            max_delay=0,
            inputs={STATE: (6,), **images},
        )

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Do nothing."""

    def predict(self, request: ChunkRequest) -> ActionChunks:
        """Return zeros."""
        return ActionChunks(np.zeros((len(request.rows), CHUNK, JOINTS), np.float32))


def request_of(spec: PolicySpec, rows: int) -> ChunkRequest:
    """Return a request of some rows."""
    pixels = {name: np.zeros((rows, *spec.inputs[IMAGE_PREFIX + name]), np.uint8) for name in spec.cameras}
    return ChunkRequest(
        rows=np.arange(rows),
        steps=np.zeros(rows, np.int64),
        observation=Observation(pixels, np.zeros((rows, JOINTS), np.float32), None),
        estimated_delay=np.zeros(rows, np.int64),
        prefix=np.zeros((rows, 0, JOINTS), np.float32),
        last_action=np.zeros((rows, JOINTS), np.float32),
    )


def measure(flags: Flags) -> int:
    """Measure and print; return the exit code."""
    policy = Zeros(flags.cameras, flags.image_size)
    with PolicyServer(policy, {}, {}, {}, Exposure(port=0)).running() as server:
        remote = RemotePolicy(Endpoint(url=server.address))
        for rows in flags.rows:
            request, spent_ms = request_of(policy.spec, rows), []
            for _ in range(flags.requests // 10 + flags.requests):
                began = perf_counter()
                remote.predict(request)
                spent_ms.append(1e3 * (perf_counter() - began))
            median, p95 = np.percentile(spent_ms[-flags.requests :], (50, 95))
            print(f"{rows} rows: median {median:.2f} ms, p95 {p95:.2f} ms, n = {flags.requests}")
        remote.close()
    return 0


if __name__ == "__main__":
    sys.exit(guarded(lambda: measure(tyro.cli(Flags))))
