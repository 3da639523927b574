"""Measure how much quicker two workers run an evaluation than one that is pinned to one core.

The same episodes run alternately with one and with two workers; what is measured is episodes per second of wall-clock
time, once every worker is ready, and processor time per episode, which other programs on the machine
disturb less: twice the quotient of the latter is what two free cores give. The records must be the same, or nothing
is printed.
"""

import os
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from act_eval.cli import guarded
from act_eval.config import EvaluateConfig
from act_eval.errors import ActEvalError
from act_eval.evaluation.plan import plan_run, plan_workers
from act_eval.evaluation.worker import cut_blocks
from act_eval.launch import worker_pool
from act_eval.results import open_run

_SETTLE_S = 10.0


@dataclass(frozen=True)
class Measured:
    """One measurement."""

    per_s: float
    """Episodes per second."""
    cpu_s: float
    """Processor time of all processes per episode [s]."""
    records: bytes


def processor_s() -> float:
    """Return the processor time of this process and its descendants [s]: workers are forked from a server."""
    ticks, left = 0, [os.getpid()]
    while left:
        pid = left.pop()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))  # its own and that of children that have ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            left += map(int, (thread / "children").read_text().split())
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(config: EvaluateConfig, workers: int, out: Path) -> Measured:
    """Run the episodes once."""
    config = replace(config, workers=workers, out=out)
    plan = plan_workers(config)
    with worker_pool(plan.build, workers, plan.launcher) as team:
        planned, _ = plan_run(config, plan, team.facts, team.machine)
        with open_run(out, planned.manifest) as folder:
            blocks = cut_blocks(planned.job, {}, workers)
            time.sleep(_SETTLE_S)  # until every worker is ready
            began, used = time.perf_counter(), processor_s()
            ended: list[tuple[float, float]] = []
            team.run(
                planned.job, blocks, folder.new_shards(workers),
                lambda condition, record: ended.append((time.perf_counter(), processor_s())),
            )  # fmt: skip
            folder.finish()
    records = b"".join((out / condition / "episodes.jsonl").read_bytes() for condition in planned.manifest.conditions)
    return Measured(len(ended) / (ended[-1][0] - began), (ended[-1][1] - used) / len(ended), records)


def main(
    policy: str = "act_rtc",
    env: str = "confuser_pick",
    episodes: int = 32,
    rounds: int = 3,
    video: Literal["all", "none"] = "none",
) -> int:
    """Measure two workers against one.

    Args:
        policy: As for evaluate.
        env: As for evaluate.
        episodes: Of each measurement.
        rounds: Pairs of measurements.
        video: As for evaluate.
    """
    config = EvaluateConfig(
        policy=policy, env=env, episodes=episodes, delays=("0", "4"), probe=False, compile="off", video=video
    )
    cores = os.sched_getaffinity(0)
    found: set[bytes] = set()
    ratios: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        measure(replace(config, episodes=4), 1, Path(folder) / "warm")
        for number in range(rounds):
            os.sched_setaffinity(0, {min(cores)})
            one = measure(config, 1, Path(folder) / f"{number}-1")
            os.sched_setaffinity(0, cores)
            two = measure(config, 2, Path(folder) / f"{number}-2")
            found |= {one.records, two.records}
            if len(found) > 1:
                raise ActEvalError("the records of one and of two workers differ")
            ratios.append((two.per_s / one.per_s, 2 * one.cpu_s / two.cpu_s))
            for name, got in (("one worker, pinned", one), ("two workers", two)):
                print(f"{name}: {got.per_s:.2f} episodes/s, {got.cpu_s:.2f} s of processor an episode", flush=True)
    walls, cpus = zip(*ratios, strict=True)
    print(
        f"two against one, median of {rounds} pairs: {statistics.median(walls):.2f} x by the clock (load "
        f"{os.getloadavg()[0]:.1f} on {len(cores)} cores), {statistics.median(cpus):.2f} x by processor time"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(guarded(lambda: tyro.cli(main)))
