"""Times of two callables, measured in turns, and what their ratio can be said to be.

Turns alternate in order, so that a machine that slows down or is shared slows both. A clock is chosen once: wall-clock
time, or the processor time of this process, which others on the machine do not lengthen (with one thread, on a CPU).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

Clock = Literal["wall", "processor"]
Call = Callable[[], object]
_RESAMPLES = 2000
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """Median and 95th percentile of a call's time [ms]."""

    p50_ms: float
    p95_ms: float


@dataclass(frozen=True)
class PairedTiming:
    """Times of two calls in pairs; `ratio` is the speed-up of the second one."""

    first: Spread
    second: Spread
    ratio: float
    """Median over the pairs of first time / second time."""
    lower: float
    """Bounds of the ratio's 95 % interval, by resampling pairs."""
    upper: float
    pairs: int


def time_pairs(first: Call, second: Call, pairs: int, warm_up: int, device: str, clock: Clock) -> PairedTiming:
    """Time two calls in turns.

    Args:
        first: reference.
        second: what is compared with it.
        pairs: how often both are timed.
        warm_up: calls of each before that.
        device: where they work; CUDA is waited for.
        clock: what is read.
    """
    calls = (first, second)
    for call in calls:
        for _ in range(warm_up):
            call()
    times_P2 = np.empty((pairs, 2))
    for pair in range(pairs):
        for side in (0, 1) if pair % 2 == 0 else (1, 0):
            times_P2[pair, side] = _elapsed_ms(calls[side], device, clock)
    return summary(times_P2)


def summary(times_P2: NDArray[np.float64]) -> PairedTiming:
    """Return what pairs of times [ms] say; the resampling has a generator of its own."""
    ratios_P = times_P2[:, 0] / times_P2[:, 1]
    draws_RP = np.random.default_rng(0).integers(len(ratios_P), size=(_RESAMPLES, len(ratios_P)))
    tail = (1 - _CONFIDENCE) / 2
    lower, upper = np.quantile(np.median(ratios_P[draws_RP], axis=1), (tail, 1 - tail))
    first, second = (Spread(*(float(q) for q in np.percentile(side, (50, 95)))) for side in times_P2.T)
    return PairedTiming(first, second, float(np.median(ratios_P)), float(lower), float(upper), len(ratios_P))


def _elapsed_ms(call: Call, device: str, clock: Clock) -> float:
    read = time.perf_counter if clock == "wall" else time.process_time
    wait(device)
    began = read()
    call()
    wait(device)
    return 1e3 * (read() - began)


def wait(device: str) -> None:
    """Wait until everything that was asked of the device is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
