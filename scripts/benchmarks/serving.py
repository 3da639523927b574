"""Overhead of a policy server: requests over loopback to a server that returns zeros.

Prints median and 95th percentile per request [ms], for single observations and for eight at a time.
"""

import sys
import time
from functools import partial

import numpy as np
import tyro
from in_turn import in_turn, request_of

from act_eval.cli import guarded
from act_eval.policies.serving.client import RemotePolicy
from act_eval.policies.serving.server import PolicyServer
from act_eval.serving.connection import Endpoint
from act_eval.serving.exposure import Exposure
from act_eval.types import IMAGE_PREFIX, STATE, ActionChunks, ChunkRequest, Observation, PolicySpec

JOINTS = 6


class Zeros:
    """Returns zeros; implements `act_eval.types.ChunkPolicy`."""

    remembers = False

    def __init__(self, cameras: int, size: int) -> None:
        images = {f"{IMAGE_PREFIX}{number}": (size, size, 3) for number in range(cameras)}
        inputs = {STATE: (JOINTS,), **images}
        self.spec = PolicySpec(
            chunk=20, action_dim=JOINTS, window="same", takes_prefix=False, max_delay=0, inputs=inputs
        )

    def reset(self, rows: object, seeds: object) -> None:
        """Do nothing."""

    def predict(self, request: ChunkRequest) -> ActionChunks:
        """Return zeros."""
        return ActionChunks(np.zeros((len(request.rows), self.spec.chunk, JOINTS), np.float32))


def main(requests: int = 1000, rows: tuple[int, ...] = (1, 8), image_size: int = 96, cameras: int = 2) -> int:
    """Measure the overhead of a policy server over loopback.

    Args:
        requests: Timed, after a tenth as many.
        rows: Observations per request.
        image_size: Height and width of the images [px].
        cameras: Images in an observation.
    """
    policy = Zeros(cameras, image_size)
    with PolicyServer(policy, {}, {}, {}, Exposure(port=0)).running() as server:
        remote = RemotePolicy(Endpoint(url=server.address))
        for count in rows:
            spec, state = policy.spec, np.zeros((count, JOINTS), np.float32)
            pixels = {name: np.zeros((count, *spec.inputs[IMAGE_PREFIX + name]), np.uint8) for name in spec.cameras}
            call = partial(remote.predict, request_of(Observation(pixels, state, None), state))
            spent_s = in_turn({"server": call}, requests, time.perf_counter, requests // 10)["server"]
            median, p95 = 1e3 * np.percentile(spent_s, (50, 95))
            print(f"{count} rows: median {median:.2f} ms, p95 {p95:.2f} ms, n = {requests}")
        remote.close()
    return 0


if __name__ == "__main__":
    sys.exit(guarded(lambda: tyro.cli(main)))
