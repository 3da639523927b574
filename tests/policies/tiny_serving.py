"""A policy that remembers its episodes, for tests of servers: its answers tell all that it was shown of one."""

from collections.abc import Sequence

import numpy as np

from act_eval.types import ActionChunks, ChunkRequest, Observation, PolicySpec

IMAGE = (4, 4, 3)
SPEC = PolicySpec(
    chunk=5,
    action_dim=2,
    window="shifted",
    takes_prefix=True,
    max_delay=3,
    inputs={"observation.state": (2,), "observation.images.top": IMAGE},
)


class Remembering:
    """Adds up what it was shown of an episode; a row that was never begun is an error."""

    spec = SPEC

    def __init__(self) -> None:
        self.sums: dict[int, float] = {}
        self.seen: list[dict[str, np.ndarray]] = []

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        for row, seed in zip(rows, seeds, strict=True):
            self.sums[row] = float(seed % 1000)

    def predict(self, request: ChunkRequest) -> ActionChunks:
        known = request.estimated_delay if request.prefix_known is None else request.prefix_known
        pixels, state = request.observation.pixels["top"], request.observation.agent_pos
        self.seen.append(
            {
                "rows": request.rows,
                "estimated": request.estimated_delay,
                "known": known,
                "last": request.last_action,
                "pixels": pixels,
                "state": state,
            }
        )
        answers = []
        for n, row in enumerate(request.rows.tolist()):
            shown = state[n].sum() + pixels[n].sum() + request.prefix[n].sum() + request.last_action[n].sum()
            self.sums[row] += float(shown) + 0.5 * float(request.estimated_delay[n])
            answers.append(self.sums[row] + np.arange(SPEC.chunk * SPEC.action_dim).reshape(SPEC.chunk, -1))
        return ActionChunks(np.array(answers, np.float32))


def request_of(rows: Sequence[int], step: int) -> ChunkRequest:
    """Return a request whose numbers are determined by rows and step."""
    n = len(rows)
    rng = np.random.default_rng([step, *rows])
    prefix = np.zeros((n, SPEC.max_delay, SPEC.action_dim), np.float32)
    prefix[:, :1] = rng.normal(size=(n, 1, SPEC.action_dim))
    return ChunkRequest(
        rows=np.array(list(rows), np.int64),
        steps=np.full(n, step, np.int64),
        observation=Observation(
            pixels={"top": rng.integers(0, 255, (n, *IMAGE)).astype(np.uint8)},
            agent_pos=rng.normal(size=(n, 2)).astype(np.float32),
            environment_state=None,
        ),
        estimated_delay=np.ones(n, np.int64),
        prefix=prefix,
        prefix_known=np.ones(n, np.int64),
        last_action=rng.normal(size=(n, SPEC.action_dim)).astype(np.float32),
    )
