"""Time and memory of a training step, measured in a separate process.

Used to compare the two locations of ACT-RTC's prefix tokens, see `scripts/benchmarks/prefix.py`.
"""

import multiprocessing
import resource
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from act_eval.errors import UsageError
from act_eval.policies.act.config import ACTConfig
from act_eval.policies.act.policy import ACTPolicy, ChunkingPolicy
from act_eval.policies.compile import compile_for_training
from act_eval.policies.rtc import ACTRTCConfig, ACTRTCPolicy

_WARM_UP = 2


@dataclass(frozen=True)
class StepCost:
    """Cost of one training step (forward, loss, backward, clipping, AdamW) on a batch of random numbers."""

    median_ms: float
    p95_ms: float
    cpu_ms: float
    """Lowest processor time of a step, over all threads: for comparisons on a machine with other load."""
    peak_mib: float
    """Highest resident memory above that of the process with its network, before the first step."""


def measure_step(
    config: ACTConfig, batch_size: int, steps: int, threads: int, bf16: bool, compile_mode: str = "off"
) -> StepCost:
    """Measure `steps` training steps on the CPU, after two that do not count, in a fresh process.

    Raises:
        UsageError: if a number is below 1.
    """
    for name, value in (("batch size", batch_size), ("steps", steps), ("threads", threads)):
        if value < 1:
            raise UsageError(f"{name} is {value}; it must be at least 1")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (config, batch_size, steps, threads, bf16, compile_mode))


def _measure(config: ACTConfig, batch_size: int, steps: int, threads: int, bf16: bool, compile_mode: str) -> StepCost:
    torch.set_num_threads(threads)
    policy = ACTRTCPolicy(config) if isinstance(config, ACTRTCConfig) else ACTPolicy(config)
    optimizer = torch.optim.AdamW(policy.train().get_optim_params(), lr=config.optimizer_lr)
    compile_for_training(policy, compile_mode, "cpu", autocast=bf16)
    batch = random_batch(config, batch_size)
    before_mib = _resident_mib()
    times_s: list[tuple[float, float]] = []
    for _ in range(_WARM_UP + steps):
        start = time.perf_counter(), time.process_time()
        _step(policy, optimizer, batch, bf16)
        times_s.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    wall_ms, cpu_ms = 1e3 * np.array(times_s[_WARM_UP:]).T
    median, p95 = np.percentile(wall_ms, (50, 95))
    return StepCost(float(median), float(p95), float(cpu_ms.min()), _resident_mib() - before_mib)


def random_batch(config: ACTConfig, rows: int) -> dict[str, Tensor]:
    """Return a normalised training batch of random numbers without padding."""
    batch = {key: torch.randn(rows, *feature.shape) for key, feature in config.input_features.items()}
    batch["action"] = torch.randn(rows, config.target_steps, config.action_dim)
    return batch | {"action_is_pad": torch.zeros(rows, config.target_steps, dtype=torch.bool)}


def _step(policy: ChunkingPolicy, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor], bf16: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss, _ = policy(batch)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(policy.parameters(), 10.0)
    optimizer.step()


def _resident_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024**2 if sys.platform == "darwin" else peak / 1024
