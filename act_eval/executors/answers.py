"""Asking a policy, with the fault of one row kept away from the others.

This is one of the two places where an exception of somebody else's code is a result and no defect of ours (the
other is the environment's step in `act_eval.rollout`): a policy that raises ends its episode as `policy_error`.
"""

from collections.abc import Sequence

import numpy as np

from act_eval.errors import RemoteError, UsageError
from act_eval.types import ActionChunks, ChunkPolicy, ChunkRequest, FloatArray, PolicySpec

Answer = FloatArray | str
"""(C, A) absolute commands, or what went wrong."""


def ask(policy: ChunkPolicy, request: ChunkRequest) -> list[Answer]:
    """Return the answer to each row of a request, or for a row at fault what went wrong with it.

    A prediction that raises is repeated row by row, so that only the rows that cause it fail.

    Raises:
        UsageError: if the policy refuses the question as such: its wiring concerns every episode.
        RemoteError: if the policy's server is lost: that is nobody's failed episode.
    """
    count = len(request.rows)
    try:
        return _checked(policy.predict(request), count, policy.spec)
    except (UsageError, RemoteError):
        raise
    except Exception as error:
        if count == 1:
            return [f"{type(error).__name__}: {error}"]
    return [ask(policy, _rows(request, [row]))[0] for row in range(count)]


def _checked(chunks: ActionChunks, count: int, spec: PolicySpec) -> list[Answer]:
    kind = np.asarray(chunks.actions).dtype
    if kind.kind not in "fiu":  # numpy would turn texts into numbers, and drop what is imaginary
        return [f"the policy answered with actions of type {kind}, expected floating-point numbers"] * count
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite and is named below
        actions = np.array(chunks.actions, dtype=np.float32)  # a copy: policies may reuse their buffers
    expected = (count, spec.chunk, spec.action_dim)
    if actions.shape != expected:
        return [f"the policy answered with actions of shape {actions.shape}, expected {expected}"] * count
    if np.isfinite(actions).all():
        return list(actions)
    return [_finite(chunk) for chunk in actions]


def _finite(chunk: FloatArray) -> Answer:
    bad = np.argwhere(~np.isfinite(chunk))
    if len(bad) == 0:
        return chunk
    index, dim = bad[0]
    return f"the policy answered with a non-finite action: {chunk[index, dim]} at index {index}, dimension {dim}"


def _rows(request: ChunkRequest, rows: Sequence[int]) -> ChunkRequest:
    take = np.asarray(rows, dtype=np.int64)
    return ChunkRequest(
        rows=request.rows[take],
        steps=request.steps[take],
        observation=request.observation.take(take),
        told_delay=request.told_delay[take],
        prefix=request.prefix[take],
        prefix_known=None if request.prefix_known is None else request.prefix_known[take],
        last_action=request.last_action[take],
    )
