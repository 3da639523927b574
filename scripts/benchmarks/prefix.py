"""Measure what a training step of ACT-RTC costs with the prefix in the encoder and in the decoder.

python scripts/benchmarks/prefix.py --threads 2   the shipped network; the table in docs/policies.md
python scripts/benchmarks/prefix.py --network large --batch-size 8   a network as large as robots get; docs/compile.md
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from act_eval.cli import guarded
from act_eval.policies.act.config import ACTConfig, Feature
from act_eval.policies.act.presets import features, small_act, small_act_rtc
from act_eval.policies.profile_step import measure_step
from act_eval.policies.rtc import ACTRTCConfig
from act_eval.types import ACTION

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
class Options:
    """Cost of the two places of the committed prefix."""

    network: Literal["shipped", "large"] = "shipped"
    """The shipped network, or the one of the plan for expanding the batch by delays (512 wide, ResNet-34 at 224²)."""
    threads: int = 2
    """CPU threads."""
    batch_size: int = 32
    """Samples of a step."""
    steps: int = 10
    """Steps that are timed, after two that are not."""
    places: tuple[Literal["decoder", "encoder"], ...] = ("decoder", "encoder")
    """Location of the prefix tokens."""
    max_delays: tuple[int, ...] = (3, 8)
    """Largest delays; each means one more delays per sample."""
    compile: str = "off"
    """torch.compile for the steps: off or a mode of it."""
    float32: bool = False
    """Measure in float32 instead of bfloat16 autocast."""


def main(options: Options) -> int:
    """Measure and print."""
    plain, rtc = _makers(options)
    cases = {"ACT": plain(), "ACT-RTC, one delay": rtc(rtc_train_all_delays=False)}
    for longest in options.max_delays:
        for place in options.places:
            cases[f"ACT-RTC, {longest + 1} delays, {place}"] = rtc(rtc_max_delay=longest, rtc_prefix_in=place)
    table = Table("network", "median ms", "p95 ms", "CPU ms", "peak MiB", "CPU against one delay")
    one_delay = 0.0
    for name, config in cases.items():
        cost = measure_step(
            config, options.batch_size, options.steps, options.threads, not options.float32, options.compile
        )
        one_delay = cost.cpu_ms if name == "ACT-RTC, one delay" else one_delay
        ratio = f"{cost.cpu_ms / one_delay:.2f} ×" if one_delay else ""
        numbers = (cost.median_ms, cost.p95_ms, cost.cpu_ms, cost.peak_mib)
        table.add_row(name, *(f"{number:.0f}" for number in numbers), ratio)
    Console().print(table)
    return 0


def _makers(options: Options) -> tuple[Callable[[], ACTConfig], Callable[..., ACTRTCConfig]]:
    if options.network == "large":
        return lambda: ACTConfig(**_LARGE), lambda **changes: ACTRTCConfig(**_LARGE, **changes)
    inputs = features({"overhead": (96, 96), "wrist": (96, 96)})
    return lambda: small_act(inputs), lambda **changes: small_act_rtc(inputs, **changes)


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(tyro.cli(Options))))
