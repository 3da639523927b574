"""The benchmark counts, compares and times what it says, and passes only where every criterion holds."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from act_eval.errors import ActEvalError
from benchmarks.compiling.benchmark import Plan, Results, run
from benchmarks.compiling.measures import (
    PairedTiming,
    Spread,
    distance,
    matmul_rate,
    peak_mib,
    summary,
    time_pairs,
)
from benchmarks.compiling.report import as_json, as_markdown, judge

PLAN = Plan(
    kind="act_rtc",
    network="small",
    checkpoint=None,
    device="cpu",
    mode="auto",
    batch_size=1,
    image=(16, 16),
    inference_pairs=2,
    training_pairs=2,
    batches=2,
    threads=1,
    clock="processor",
    train=True,
)


@pytest.fixture(scope="module")
def results() -> Iterator[Results]:
    """Everything but the generated code: graphs are captured, differentiated and run, in eager kernels."""

    def captured(module: nn.Module, mode: str, same_numbers: bool) -> nn.Module:
        assert mode == "default"
        kinds.append(same_numbers)
        return torch.compile(module, backend="aot_eager", fullgraph=True)  # pyright: ignore[reportReturnType]

    kinds: list[bool] = []
    torch.compiler.reset()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.compiling.benchmark.compiled_module", captured)
        yield run(PLAN)
    assert kinds == [True, False]
    torch.compiler.reset()


def test_graphs_are_counted_and_numbers_are_compared(results: Results) -> None:
    assert results.training is not None
    for task in (results.inference, results.training):
        assert dataclasses.astuple(task.graphs) == (1, 0, 0)
        assert task.compile_s > 0
        assert task.roofline.gflop > 0
        assert task.speed.pairs == task.own_numbers.pairs == 2
        assert task.lerobot_eager is None  # act_rtc is none of LeRobot's
    assert results.training.roofline.gflop > 2 * results.inference.roofline.gflop
    same = results.equivalence
    assert max(same.chunk, same.loss, same.gradient) < 1e-5
    assert same.batches == 2
    assert 0 < results.bf16_chunk < 1


def test_every_criterion_can_fail(results: Results) -> None:
    slow = PairedTiming(Spread(1, 1), Spread(2, 2), ratio=0.5, lower=0.4, upper=0.6, pairs=9)
    fast = dataclasses.replace(slow, ratio=2.0, lower=1.5, upper=2.5)

    def with_speed(speed: PairedTiming) -> Results:
        task = dataclasses.replace(results.inference, speed=speed, lerobot_compiled=speed)
        return dataclasses.replace(results, inference=task, training=task)

    for device in ("cpu", "cuda"):
        assert all(c.passed for c in judge(with_speed(fast), device))
        failed = [c for c in judge(with_speed(slow), device) if not c.passed]
        assert {c.group for c in failed} == {"performance"}
        assert len(failed) == (4 if device == "cpu" else 2)
    wrong = dataclasses.replace(results.equivalence, loss=2e-5, gradient=float("inf"))
    failed = [c for c in judge(dataclasses.replace(with_speed(fast), equivalence=wrong), "cpu") if not c.passed]
    assert [c.found for c in failed] == ["2.0e-05", "inf"]
    again = dataclasses.replace(results.inference.graphs, recompilations=1)
    task = dataclasses.replace(with_speed(fast).inference, graphs=again)
    failed = [c for c in judge(dataclasses.replace(with_speed(fast), inference=task), "cpu") if not c.passed]
    assert [c.found for c in failed] == ["1, 0, 1"]


def test_the_report_has_the_sections_of_the_first_one_and_its_raw_numbers(results: Results) -> None:
    criteria = judge(results, "cpu")
    text = as_markdown(PLAN, results, criteria)
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        *("Environment", "Compilation", "Correctness", "Performance"),
        *("Success criteria", "Overall result", "Raw data"),
    ]
    raw = json.loads(text.split("```json\n")[1].split("```")[0])
    assert raw == json.loads(json.dumps(as_json(PLAN, results, criteria)))
    assert raw["success"] == all(c.passed for c in criteria)
    assert ("PASSED" in text) == raw["success"]


def test_a_ratio_and_its_interval_follow_from_pairs() -> None:
    second = np.linspace(1, 3, 40)
    found = summary(np.stack((2 * second, second), axis=1))
    assert (found.ratio, found.lower, found.upper) == (2, 2, 2)
    noisy = np.random.default_rng(0).lognormal(sigma=0.2, size=(200, 2)) * [1.2, 1.0]
    found = summary(noisy)
    assert found.lower < 1.2 < found.upper
    assert found.upper - found.lower < 0.2
    assert summary(noisy) == found


def test_calls_are_timed_in_turns_after_warm_up() -> None:
    said: list[str] = []
    found = time_pairs(
        lambda: said.append("a"), lambda: said.append("b"), pairs=3, warm_up=1, device="cpu", clock="wall"
    )
    assert "".join(said) == "ab" + "ab" + "ba" + "ab"
    assert found.pairs == 3


def test_differences_are_relative_above_one_and_never_hide_a_nan() -> None:
    reference = torch.tensor([0.5, -100.0])
    assert distance(reference, reference + torch.tensor([0.1, 1.0])) == pytest.approx(0.1)
    assert distance(reference, torch.tensor([0.5, float("nan")])) == float("inf")


def test_machine_bounds_are_positive_and_memory_is_seen() -> None:
    assert matmul_rate(torch.float32, "cpu", "processor") > 0
    grown = peak_mib(lambda: torch.ones(64 * 2**18).sum(), "cpu")  # 64 MiB
    assert grown is None or 32 < grown < 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"image": (0, 96)}, "image size is"),
        ({"threads": 2}, "clock 'processor' needs 1 thread on a CPU, got 2 on cpu"),
        ({"mode": "off"}, "mode is 'off'; there would be nothing to compare"),
        ({"mode": "fast"}, "unknown compile mode 'fast'; there are: auto, default"),
        ({"checkpoint": Path("no/such/folder")}, "no/such/folder"),
    ],
)
def test_bad_input_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ActEvalError, match=message):
        run(dataclasses.replace(PLAN, **change))  # pyright: ignore[reportArgumentType]
