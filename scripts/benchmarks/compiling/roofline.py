"""Peak rates of the machine, and the memory of a call."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from .paired_timing import Clock, wait

_SIZE = 1024
_REPEATS = 20


@dataclass(frozen=True)
class Roofline:
    """Floating-point work of one call against the rate of matrix products measured beside it."""

    gflop: float
    """Multiplications and additions of products and convolutions [10⁹]."""
    matmul_gflops: float
    """Best rate of a product of two 1024 × 1024 matrices [10⁹/s]."""
    share: float
    """Rate of the call / rate of the product."""


def roofline(call: Callable[[], object], call_ms: float, dtype: torch.dtype, device: str, clock: Clock) -> Roofline:
    """Return which share of the machine's rate a call reaches.

    Args:
        call: eager code; compiled graphs hide their work from the counter.
        call_ms: how long it takes.
        dtype: of the products.
        device: where it works.
        clock: that `call_ms` was read from.
    """
    with _Work() as work:
        call()
    gflop, rate = work.operations / 1e9, matmul_rate(dtype, device, clock)
    return Roofline(gflop, rate, gflop / (call_ms / 1e3) / rate)


class _Work(TorchDispatchMode):
    """Counts as torch's own `FlopCounterMode` does, whose hooks on modules fail on views without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        self.operations += 0 if count is None else count(*args, **(kwargs or {}), out_val=out)
        return out


def matmul_rate(dtype: torch.dtype, device: str, clock: Clock) -> float:
    """Return the best rate of a matrix product [10⁹ operations/s]."""
    read = time.perf_counter if clock == "wall" else time.process_time
    left, right = torch.randn(2, _SIZE, _SIZE, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(_REPEATS):
        wait(device)
        began = read()
        torch.mm(left, right)
        wait(device)
        best = min(best, read() - began)
    return 2 * _SIZE**3 / best / 1e9


def peak_mib(call: Callable[[], object], device: str) -> float | None:
    """Return by how much memory rises above its level before the call [MiB]; None where the system does not tell."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        wait(device)
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    if sys.platform != "linux":
        return None
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    except OSError:
        return None
    before = _status_mib("VmRSS")
    call()
    return _status_mib("VmHWM") - before


def _status_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))
