"""The pass criteria of a benchmark, and its report: Markdown, with the raw numbers as JSON at the end."""

import dataclasses
import json
import platform
from dataclasses import dataclass
from typing import Any

import torch

from .benchmark import Plan, Results, Task
from .measures import BOUND, PairedTiming
from .subjects import lerobot_version

CUDA_INFERENCE, CUDA_TRAINING = 1.2, 1.1
CPU_LOWER = 0.97
CPU_LEROBOT = 1.1


@dataclass(frozen=True)
class Criterion:
    """One condition, what was found, and whether it holds."""

    group: str
    """Compilation, correctness or performance."""
    what: str
    found: str
    threshold: str
    passed: bool


def judge(results: Results, device: str) -> list[Criterion]:
    """Return every criterion that applies to a device; a benchmark passes if all of them do."""
    found = [_one_graph(name, task) for name, task in results.tasks.items()]
    found += _equal_numbers(results)
    for name, task in results.tasks.items():
        if device.startswith("cuda"):
            least = CUDA_INFERENCE if name == "inference" else CUDA_TRAINING
            found.append(_faster(f"{name}: compiled over eager", task.speed, least))
        else:
            found += _on_cpu(name, task)
    return found


def _one_graph(name: str, task: Task) -> Criterion:
    counts = task.graphs
    return Criterion(
        "compilation",
        f"{name}: graphs, breaks, recompilations",
        f"{counts.graphs}, {counts.breaks}, {counts.recompilations}",
        "1, 0, 0",
        (counts.graphs, counts.breaks, counts.recompilations) == (1, 0, 0),
    )


def _equal_numbers(results: Results) -> list[Criterion]:
    same = results.equivalence
    found = {"chunk": same.chunk}
    if results.training is not None:
        found |= {"loss": same.loss, f"gradients (worst: {same.gradient_of})": same.gradient}
    return [
        Criterion("correctness", f"{name}: difference / max(1, reference)", f"{x:.1e}", f"≤ {BOUND:.0e}", x <= BOUND)
        for name, x in found.items()
    ]


def _on_cpu(name: str, task: Task) -> list[Criterion]:
    speed = task.speed
    found = [
        Criterion(
            "performance",
            f"{name}: compiled over eager, lower bound",
            f"{speed.lower:.2f} (of {speed.ratio:.2f}, {speed.pairs} pairs)",
            f"≥ {CPU_LOWER}",
            speed.lower >= CPU_LOWER,
        )
    ]
    if task.lerobot_compiled is not None:
        found.append(_faster(f"{name}: compiled over LeRobot's eager", task.lerobot_compiled, CPU_LEROBOT))
    return found


def _faster(what: str, found: PairedTiming, least: float) -> Criterion:
    text = f"{found.ratio:.2f} ({found.lower:.2f} – {found.upper:.2f}, {found.pairs} pairs)"
    return Criterion("performance", what, text, f"≥ {least}", found.ratio >= least)


def as_json(plan: Plan, results: Results, criteria: list[Criterion]) -> dict[str, Any]:
    """Return everything that was measured, as JSON values."""
    settings = dataclasses.asdict(plan) | {"checkpoint": None if plan.checkpoint is None else str(plan.checkpoint)}
    return {
        "success": all(c.passed for c in criteria),
        "environment": _environment(plan),
        "plan": settings,
        "results": dataclasses.asdict(results),
        "criteria": [dataclasses.asdict(c) for c in criteria],
    }


def as_markdown(plan: Plan, results: Results, criteria: list[Criterion]) -> str:
    """Return the report."""
    raw = as_json(plan, results, criteria)
    passed = raw["success"]
    sections = [
        "# torch.compile benchmark report: ACT",
        *("## Environment", _items(raw["environment"] | _subject(plan, results))),
        *("## Compilation", _compilation(results)),
        *("## Correctness", _correctness(results, criteria)),
        *("## Performance", _performance("Inference", results.inference)),
        *([_performance("Training step", results.training)] if results.training else []),
        *("## Success criteria", _criteria(criteria)),
        *(
            "## Overall result",
            "PASSED" if passed else "FAILED: " + "; ".join(c.what for c in criteria if not c.passed),
        ),
        *("## Raw data", f"```json\n{json.dumps(raw, indent=1)}\n```"),
    ]
    return "\n\n".join(sections) + "\n"


def _environment(plan: Plan) -> dict[str, Any]:
    cuda = plan.device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(plan.device)
        if cuda
        else f"cpu ({torch.backends.cpu.get_cpu_capability()})",
        "threads": plan.threads,
        "clock": plan.clock,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "lerobot": lerobot_version() or "not installed",
        "tf32": bool(torch.backends.cuda.matmul.allow_tf32) if cuda else False,
    }


def _subject(plan: Plan, results: Results) -> dict[str, Any]:
    height, width = plan.image
    return {
        "policy": f"{results.name}, {results.parameters / 1e6:.1f} M parameters",
        "batch": plan.batch_size if plan.checkpoint else f"{plan.batch_size}, two cameras of {height} × {width}",
        "compile mode": results.mode,
        "pairs": f"{plan.inference_pairs} of inference, {plan.training_pairs} of training, after 2 calls each",
    }


def _items(found: dict[str, Any]) -> str:
    return "\n".join(f"- **{name}**: {value}" for name, value in found.items())


def _compilation(results: Results) -> str:
    rows: list[tuple[Any, ...]] = [("", "graphs", "breaks", "recompilations", "first call [s]")]
    for name, task in results.tasks.items():
        counts = task.graphs
        rows.append((name, counts.graphs, counts.breaks, counts.recompilations, f"{task.compile_s:.1f}"))
    return _table(rows)


def _correctness(results: Results, criteria: list[Criterion]) -> str:
    same = results.equivalence
    rows: list[tuple[Any, ...]] = [("number", "largest difference", "threshold", "")]
    rows += [(c.what, c.found, c.threshold, _verdict(c)) for c in criteria if c.group == "correctness"]
    consistency = {
        f"mean loss difference ({same.batches} batches)": f"{same.mean_loss:.1e}",
        "mean gradient norm difference": f"{same.mean_gradient_norm:.1e}",
        "bfloat16 autocast, largest chunk difference from float32 (normalised)": f"{results.bf16_chunk:.1e}",
    }
    if results.lerobot_chunk is not None:
        consistency["eager chunk from LeRobot's"] = f"{results.lerobot_chunk:.1e}"
    text = "Consistency, from equal weights and equal random numbers (dropout and latent noise on):"
    return f"{_table(rows)}\n\n{text}\n\n{_items(consistency)}"


def _performance(title: str, task: Task) -> str:
    rows: list[tuple[Any, ...]] = [
        ("comparison", "first p50 / p95 [ms]", "second p50 / p95 [ms]", "times as fast", "95 % interval")
    ]
    named = {
        "our eager → compiled": task.speed,
        "LeRobot's eager → our eager": task.lerobot_eager,
        "LeRobot's eager → our compiled": task.lerobot_compiled,
        "compiled with Inductor's random numbers and kernels → with eager's": task.own_numbers,
        "our eager float32 → bfloat16": task.bf16,
        "LeRobot's eager → ours, both bfloat16": task.lerobot_bf16,
    }
    rows += [_timing_row(name, found) for name, found in named.items() if found is not None]
    roof = task.roofline
    notes = {
        "work": f"{roof.gflop:.1f} GFLOP; matrix products run at {roof.matmul_gflops:.0f} GFLOP/s here",
        "eager share of that rate": f"{roof.share:.2f}",
        "memory above the level before, eager / compiled": f"{_mib(task.eager_mib)} / {_mib(task.compiled_mib)}",
    }
    return f"### {title}\n\n{_table(rows)}\n\n{_items(notes)}"


def _timing_row(name: str, found: PairedTiming) -> tuple[str, ...]:
    first, second = (f"{s.p50_ms:.1f} / {s.p95_ms:.1f}" for s in (found.first, found.second))
    return name, first, second, f"{found.ratio:.2f}", f"{found.lower:.2f} – {found.upper:.2f}"


def _criteria(criteria: list[Criterion]) -> str:
    rows: list[tuple[Any, ...]] = [("criterion", "found", "threshold", "")]
    return _table([*rows, *((c.what, c.found, c.threshold, _verdict(c)) for c in criteria)])


def _verdict(criterion: Criterion) -> str:
    return "passed" if criterion.passed else "**failed**"


def _mib(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f} MiB"


def _table(rows: list[tuple[Any, ...]]) -> str:
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
