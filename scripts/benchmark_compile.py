"""Benchmark torch.compile on ACT or ACT-RTC: equal numbers first, then speed; exit code 0 only if all criteria pass.

python scripts/benchmark_compile.py --device cpu --batch-size 8     LeRobot's default network; docs/compile.md
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import tyro

from act_eval.cli import FAILED, OK, guarded
from act_eval.sources.network_sources import check_network
from benchmarks.compiling.benchmark import Plan, run
from benchmarks.compiling.report import as_json, as_markdown, judge


def main(plan: Annotated[Plan, tyro.conf.arg(name="")], out: Path = Path("outputs/benchmark_compile")) -> int:
    """Benchmark of torch.compile.

    Args:
        plan: What is measured, and how often.
        out: Folder of report.md and report.json.
    """
    check_network(plan.mode, plan.device)
    results = run(plan)
    criteria = judge(results, plan.device)
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.md").write_text(as_markdown(plan, results, criteria))
    (out / "report.json").write_text(json.dumps(as_json(plan, results, criteria), indent=1))
    for criterion in criteria:
        print(f"{'ok  ' if criterion.passed else 'FAIL'} {criterion.what}: {criterion.found} ({criterion.threshold})")
    print(f"report {out / 'report.md'}")
    return OK if all(criterion.passed for criterion in criteria) else FAILED


if __name__ == "__main__":
    sys.exit(guarded(lambda: tyro.cli(main)))
