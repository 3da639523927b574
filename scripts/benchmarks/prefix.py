"""Measure what a training step of ACT-RTC costs with the prefix in the encoder and in the decoder.

python scripts/benchmarks/prefix.py --threads 2   the shipped network; the table in docs/policies.md
python scripts/benchmarks/prefix.py --network large --batch-size 8   a network as large as robots get; docs/compile.md
"""

import sys
from functools import partial
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
