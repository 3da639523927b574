"""Benchmark torch.compile on ACT or ACT-RTC: equal numbers first, then speed; exit code 0 only if all criteria pass.

python scripts/benchmark_compile.py --device cpu --batch-size 8     LeRobot's default network; docs/compile.md
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from act_eval.cli import FAILED, OK, guarded
from act_eval.sources.policy_sources import check_network, resolve_device
from benchmarks.compiling.benchmark import Plan, run
from benchmarks.compiling.criteria import judge
from benchmarks.compiling.report import as_json, as_markdown


@dataclass(frozen=True)
class Options:
    """Benchmark of torch.compile."""

    device: str = "cpu"
    """cpu, cuda, or auto (cuda where there is one)."""
    batch_size: int = 8
    """Samples of a batch."""
    policy: Literal["act", "act_rtc"] = "act"
    """Which policy."""
    network: Literal["lerobot", "small"] = "lerobot"
    """LeRobot's default network (51 M parameters), or the shipped one."""
    checkpoint: Path | None = None
    """A `pretrained_model` folder whose weights are used instead."""
    image: tuple[int, int] = (96, 96)
    """Height and width of the two cameras."""
    mode: str = "auto"
    """Mode of torch.compile. On a CPU, where auto compiles nothing, the mode `default` is measured."""
    inference_runs: int = 30
    """Pairs of inference."""
    training_runs: int = 10
    """Pairs of training steps."""
    batches: int = 5
    """Random batches on which eager and compiled must agree."""
    threads: int = 1
    """CPU threads."""
    clock: Literal["wall", "processor"] = "wall"
    """Wall-clock time, or processor time of this process: for one thread on a machine that others use too."""
    train: bool = True
    """Measure training steps as well."""
    out: Path = Path("outputs/benchmark_compile")
    """Folder of report.md and report.json."""


def main(options: Options) -> int:
    """Run, write both reports, print the verdicts."""
    check_network(options.mode, options.device)
    plan = Plan(
        kind=options.policy,
        network=options.network,
        checkpoint=options.checkpoint,
        device=resolve_device(options.device),
        mode=options.mode,
        batch_size=options.batch_size,
        image=options.image,
        inference_pairs=options.inference_runs,
        training_pairs=options.training_runs,
        batches=options.batches,
        threads=options.threads,
        clock=options.clock,
        train=options.train,
    )
    results = run(plan)
    criteria = judge(results, plan.device)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "report.md").write_text(as_markdown(plan, results, criteria))
    (options.out / "report.json").write_text(json.dumps(as_json(plan, results, criteria), indent=1))
    for criterion in criteria:
        print(f"{'ok  ' if criterion.passed else 'FAIL'} {criterion.what}: {criterion.found} ({criterion.threshold})")
    print(f"report {options.out / 'report.md'}")
    return OK if all(criterion.passed for criterion in criteria) else FAILED


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(tyro.cli(Options))))
