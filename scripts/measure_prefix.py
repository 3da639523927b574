"""Measure what a training step of ACT-RTC costs with the prefix in the encoder and in the decoder.

python scripts/measure_prefix.py --threads 2      the shipped network; the table in docs/policies.md
"""

import sys
from dataclasses import dataclass

import tyro
from rich.console import Console
from rich.table import Table

from act_eval.cli import guarded
from act_eval.policies.act.presets import features, small_act, small_act_rtc
from act_eval.policies.step_cost import measure_step


@dataclass(frozen=True)
class Options:
    """Cost of the two places of the committed prefix."""

    threads: int = 2
    """CPU threads."""
    batch_size: int = 32
    """Samples of a step."""
    steps: int = 10
    """Steps that are timed, after two that are not."""
    max_delays: tuple[int, ...] = (3, 8)
    """Largest delays; each means one more delays per sample."""
    float32: bool = False
    """Measure in float32 instead of bfloat16 autocast."""


def main(options: Options) -> int:
    """Measure and print."""
    inputs = features({"overhead": (96, 96), "wrist": (96, 96)})
    cases = {"ACT": small_act(inputs), "ACT-RTC, one delay": small_act_rtc(inputs, rtc_train_all_delays=False)}
    for longest in options.max_delays:
        for place in ("decoder", "encoder"):
            name = f"ACT-RTC, {longest + 1} delays, {place}"
            cases[name] = small_act_rtc(inputs, rtc_max_delay=longest, rtc_prefix_in=place)
    table = Table("network", "median ms", "p95 ms", "CPU ms", "peak MiB", "CPU against one delay")
    one_delay = 0.0
    for name, config in cases.items():
        cost = measure_step(config, options.batch_size, options.steps, options.threads, not options.float32)
        one_delay = cost.cpu_ms if name == "ACT-RTC, one delay" else one_delay
        ratio = f"{cost.cpu_ms / one_delay:.2f} ×" if one_delay else ""
        numbers = (cost.median_ms, cost.p95_ms, cost.cpu_ms, cost.peak_mib)
        table.add_row(name, *(f"{number:.0f}" for number in numbers), ratio)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(tyro.cli(Options))))
