"""Measure what a training step of ACT-RTC costs with the prefix in the encoder and in the decoder.

python scripts/benchmarks/prefix.py --threads 2   the shipped network; the table in docs/policies.md
python scripts/benchmarks/prefix.py --network large --batch-size 8   a network as large as robots get; docs/compile.md
"""

import multiprocessing
import resource
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from act_eval.cli import guarded
from act_eval.errors import UsageError
from act_eval.policies.act.config import ACTConfig, Feature
from act_eval.policies.act.model import ACTION_IS_PAD
from act_eval.policies.act.presets import features, small_act, small_act_rtc
from act_eval.policies.checkpoint import fresh_policy
from act_eval.policies.compile import compile_for_training
from act_eval.policies.rtc import ACTRTCConfig
from act_eval.types import ACTION

_WARM_UP = 2
_LARGE: dict[str, Any] = {
    "input_features": features({"wrist": (224, 224)}),
    "output_features": {ACTION: Feature("ACTION", (6,))},
    "chunk_size": 8,
    "n_action_steps": 8,
    "vision_backbone": "resnet34",
    "pre_norm": True,
    "n_decoder_layers": 4,
    "use_vae": False,
}
"""That of the plan which the encoder's expansion comes from: ResNet-34 on one 224 × 224 camera, four decoder layers."""


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
    policy = fresh_policy(config).train()
    optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=config.optimizer_lr)
    compile_for_training(policy, compile_mode, "cpu", autocast=bf16)
    batch = {key: torch.randn(batch_size, *feature.shape) for key, feature in config.input_features.items()}
    batch[ACTION] = torch.randn(batch_size, config.target_steps, config.action_dim)
    batch[ACTION_IS_PAD] = torch.zeros(batch_size, config.target_steps, dtype=torch.bool)
    before_mib = _resident_mib()
    times_s: list[tuple[float, float]] = []
    for _ in range(_WARM_UP + steps):
        start = time.perf_counter(), time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss, _ = policy(batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 10.0)
        optimizer.step()
        times_s.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    wall_ms, cpu_ms = 1e3 * np.array(times_s[_WARM_UP:]).T
    median, p95 = np.percentile(wall_ms, (50, 95))
    return StepCost(float(median), float(p95), float(cpu_ms.min()), _resident_mib() - before_mib)


def _resident_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024**2 if sys.platform == "darwin" else peak / 1024


def main(
    network: Literal["shipped", "large"] = "shipped",
    threads: int = 2,
    batch_size: int = 32,
    steps: int = 10,
    places: tuple[Literal["decoder", "encoder"], ...] = ("decoder", "encoder"),
    max_delays: tuple[int, ...] = (3, 8),
    compile: str = "off",
    float32: bool = False,
) -> int:
    """Cost of the two places of the committed prefix.

    Args:
        network: The shipped network, or the one of the plan for expanding the batch by delays (512 wide, ResNet-34 at
            224²).
        threads: CPU threads.
        batch_size: Samples of a step.
        steps: Steps that are timed, after two that are not.
        places: Location of the prefix tokens.
        max_delays: Largest delays; each means one more delays per sample.
        compile: torch.compile for the steps: off or a mode of it.
        float32: Measure in float32 instead of bfloat16 autocast.
    """
    if network == "large":
        plain, rtc = ACTConfig(**_LARGE), partial(ACTRTCConfig, **_LARGE)
    else:
        inputs = features({"overhead": (96, 96), "wrist": (96, 96)})
        plain, rtc = small_act(inputs), partial(small_act_rtc, inputs)
    cases = {"ACT": plain, "ACT-RTC, one delay": rtc(rtc_train_all_delays=False)}
    for longest in max_delays:
        for place in places:
            cases[f"ACT-RTC, {longest + 1} delays, {place}"] = rtc(rtc_max_delay=longest, rtc_prefix_in=place)
    table = Table("network", "median ms", "p95 ms", "CPU ms", "peak MiB", "CPU against one delay")
    one_delay = 0.0
    for name, config in cases.items():
        cost = measure_step(config, batch_size, steps, threads, not float32, compile)
        one_delay = cost.cpu_ms if name == "ACT-RTC, one delay" else one_delay
        ratio = f"{cost.cpu_ms / one_delay:.2f} ×" if one_delay else ""
        numbers = (cost.median_ms, cost.p95_ms, cost.cpu_ms, cost.peak_mib)
        table.add_row(name, *(f"{number:.0f}" for number in numbers), ratio)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(lambda: tyro.cli(main)))
