"""Pass criteria of a benchmark."""

from dataclasses import dataclass

from .benchmark import Results, Task
from .equivalence import BOUND
from .paired_timing import PairedTiming

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
    found = [_compilation(name, task) for name, task in results.tasks.items()]
    found += _correctness(results)
    for name, task in results.tasks.items():
        found += _on_cuda(name, task) if device.startswith("cuda") else _on_cpu(name, task)
    return found


def _compilation(name: str, task: Task) -> Criterion:
    counts = task.graphs
    return Criterion(
        "compilation",
        f"{name}: graphs, breaks, recompilations",
        f"{counts.graphs}, {counts.breaks}, {counts.recompilations}",
        "1, 0, 0",
        (counts.graphs, counts.breaks, counts.recompilations) == (1, 0, 0),
    )


def _correctness(results: Results) -> list[Criterion]:
    same = results.equivalence
    found = {"chunk": same.chunk}
    if results.training is not None:
        found |= {"loss": same.loss, f"gradients (worst: {same.gradient_of})": same.gradient}
    return [
        Criterion("correctness", f"{name}: difference / max(1, reference)", f"{x:.1e}", f"≤ {BOUND:.0e}", x <= BOUND)
        for name, x in found.items()
    ]


def _on_cuda(name: str, task: Task) -> list[Criterion]:
    least = CUDA_INFERENCE if name == "inference" else CUDA_TRAINING
    return [_faster(f"{name}: compiled over eager", task.speed, least)]


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
