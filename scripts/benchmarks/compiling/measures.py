"""The measurements of the benchmark: equal numbers, graphs, paired times, the machine's peak rate and memory.

Numbers are compared from equal weights and equal random numbers; the bound is |difference| ≤ 1e-5 · max(1, |reference|)
for every number of the chunk, the loss and every gradient. Times are measured in turns that alternate in order, so that
a machine that slows down or is shared slows both. A clock is chosen once: wall-clock time, or the processor time of
this process, which others on the machine do not lengthen (with one thread, on a CPU).
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from act_eval.policies.checkpoint import Policy

from .subjects import Batch, observation_of

BOUND = 1e-5
Clock = Literal["wall", "processor"]
Call = Callable[[], object]
_RESAMPLES = 2000
_CONFIDENCE = 0.95
_SIZE = 1024
_REPEATS = 20


@dataclass(frozen=True)
class Equivalence:
    """Largest differences over all batches, each divided by max(1, |reference|)."""

    chunk: float
    loss: float
    gradient: float
    gradient_of: str
    """The parameter whose gradient differs most."""
    mean_loss: float
    """Mean difference of the loss."""
    mean_gradient_norm: float
    """Mean difference of the norm of the whole gradient."""
    batches: int


@dataclass(frozen=True)
class _Step:
    loss: Tensor
    gradients: dict[str, Tensor]

    @property
    def norm(self) -> float:
        return float(torch.stack([g.norm() for g in self.gradients.values()]).norm())


def compare(policy: Policy, eager: nn.Module, compiled: nn.Module, batches: list[Batch]) -> Equivalence:
    """Run chunks and training steps with both and return how far they lie apart.

    Args:
        policy: its model is set to one and the other; left at `eager`.
        eager: the plain model.
        compiled: the same model, compiled with the random numbers of eager code.
        batches: training batches.
    """
    chunks, losses, norms = [0.0], [], []
    gradients: dict[str, float] = {}
    for number, batch in enumerate(batches):
        policy.model = eager
        chunk, step = predicted(policy, batch), training_step(policy, batch, number)
        policy.model = compiled
        chunks.append(distance(chunk, predicted(policy, batch)))
        other = training_step(policy, batch, number)
        losses.append((distance(step.loss, other.loss), abs(float(step.loss - other.loss))))
        norms.append(abs(step.norm - other.norm))
        for name, gradient in step.gradients.items():
            gradients[name] = max(gradients.get(name, 0.0), distance(gradient, other.gradients[name]))
    policy.model = eager
    worst = max(gradients, key=lambda name: gradients[name])
    return Equivalence(
        chunk=max(chunks),
        loss=max(relative for relative, _ in losses),
        gradient=gradients[worst],
        gradient_of=worst,
        mean_loss=sum(plain for _, plain in losses) / len(losses),
        mean_gradient_norm=sum(norms) / len(norms),
        batches=len(batches),
    )


def under_bf16(call: Call, device: str) -> Call:
    """Return a call that runs under bfloat16 autocast."""

    def ask() -> object:
        with torch.autocast(device.split(":")[0], torch.bfloat16):
            return call()

    return ask


def predicted(policy: Policy, batch: Batch) -> Tensor:
    """Return a chunk, copied: a compiled model may write into it at its next call."""
    return policy.predict_action_chunk(observation_of(batch)).clone()


def training_step(policy: Policy, batch: Batch, seed: int) -> _Step:
    """Return loss and gradients in training mode, dropout and the latent's noise on, from one seed."""
    policy.train()
    policy.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    loss, _ = policy(batch)
    loss.backward()
    named = ((name.replace("_orig_mod.", ""), p.grad) for name, p in policy.named_parameters())
    return _Step(loss.detach().clone(), {name: grad.clone() for name, grad in named if grad is not None})


def distance(reference: Tensor, other: Tensor) -> float:
    """Return the largest |difference| / max(1, |reference|); infinite if a number is not finite."""
    apart = (reference - other).abs() / reference.abs().clamp(min=1)
    return float(apart.max()) if bool(torch.isfinite(apart).all()) else float("inf")


@dataclass(frozen=True)
class GraphCount:
    """Counts for one kind of call."""

    graphs: int
    """Graphs of the first call."""
    breaks: int
    """Places where the code fell out of a graph."""
    recompilations: int
    """Graphs that calls with other data of the same shapes added."""


def count_graphs(first: Call, others: Sequence[Call]) -> GraphCount:
    """Make a first call, for which nothing is compiled yet, and others with data of the same shapes, and count."""
    before = _counts()
    first()
    compiled = _counts()
    for call in others:
        call()
    after = _counts()
    return GraphCount(compiled[0] - before[0], after[1] - before[1], after[0] - compiled[0])


def _counts() -> tuple[int, int]:
    """Return dynamo's numbers of graphs and of graph breaks so far."""
    return counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())


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
            times_P2[pair, side] = 1e3 * _elapsed_s(calls[side], device, clock)
    return summary(times_P2)


def summary(times_P2: NDArray[np.float64]) -> PairedTiming:
    """Return what pairs of times [ms] say; the resampling has a generator of its own."""
    ratios_P = times_P2[:, 0] / times_P2[:, 1]
    draws_RP = np.random.default_rng(0).integers(len(ratios_P), size=(_RESAMPLES, len(ratios_P)))
    tail = (1 - _CONFIDENCE) / 2
    lower, upper = np.quantile(np.median(ratios_P[draws_RP], axis=1), (tail, 1 - tail))
    first, second = (Spread(*(float(q) for q in np.percentile(side, (50, 95)))) for side in times_P2.T)
    return PairedTiming(first, second, float(np.median(ratios_P)), float(lower), float(upper), len(ratios_P))


def _elapsed_s(call: Call, device: str, clock: Clock) -> float:
    read = time.perf_counter if clock == "wall" else time.process_time
    wait(device)
    began = read()
    call()
    wait(device)
    return read() - began


def wait(device: str) -> None:
    """Wait until everything that was asked of the device is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Roofline:
    """Floating-point work of one call against the rate of matrix products measured beside it."""

    gflop: float
    """Multiplications and additions of products and convolutions [10⁹]."""
    matmul_gflops: float
    """Best rate of a product of two 1024 × 1024 matrices [10⁹/s]."""
    share: float
    """Rate of the call / rate of the product."""


def roofline(call: Call, call_ms: float, dtype: torch.dtype, device: str, clock: Clock) -> Roofline:
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
    left, right = torch.randn(2, _SIZE, _SIZE, device=device, dtype=dtype)
    best_s = min(_elapsed_s(lambda: torch.mm(left, right), device, clock) for _ in range(_REPEATS))
    return 2 * _SIZE**3 / best_s / 1e9


def peak_mib(call: Call, device: str) -> float | None:
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
