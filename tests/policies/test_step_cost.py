"""A training step is measured for what it is; nothing else is asked of the numbers, which belong to the machine."""

import pytest
from tiny_policies import tiny_config, tiny_rtc_config

from act_eval.errors import UsageError
from act_eval.policies.act import ACTConfig
from benchmarks.prefix import measure_step


@pytest.mark.parametrize("config", [tiny_config(), tiny_rtc_config()])
def test_a_step_takes_time_and_memory(config: ACTConfig) -> None:
    cost = measure_step(config, batch_size=2, steps=2, threads=1, bf16=True)
    assert 0 < cost.median_ms <= cost.p95_ms
    assert cost.cpu_ms > 0
    assert cost.peak_mib >= 0


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(UsageError, match="batch size is 0; it must be at least 1"):
        measure_step(tiny_config(), batch_size=0, steps=1, threads=1, bf16=False)
