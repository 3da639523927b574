"""Measure how much quicker two workers run an evaluation than one that is pinned to one core.

Workers are started before the clock; what is measured is episodes per second, alternately with one and with two,
of the same episodes. The records must be the same, or nothing is printed.
"""

import os
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from act_eval.cli import guarded
from act_eval.cli.evaluate import Flags as Evaluation
from act_eval.cli.plans import make_plan, plan_crew
from act_eval.errors import ActEvalError
from act_eval.evaluation import plan
from act_eval.launch import crew
from act_eval.runs import open_run


@dataclass(frozen=True)
class Flags:
    """Measure two workers against one."""

    policy: str = "act_rtc"
    """As for evaluate."""
    env: str = "confuser_pick"
    """As for evaluate."""
    episodes: int = 32
    """Of each measurement."""
    rounds: int = 3
    """Pairs of measurements."""
    video: str = "none"
    """all or none."""


def measure(flags: Flags, workers: int, out: Path) -> tuple[float, bytes]:
    """Return episodes per second and the records."""
    asked = Evaluation(
        policy=flags.policy, env=flags.env, episodes=flags.episodes, delay=("0", "4"), workers=workers, out=out,
        probe=False, video="all" if flags.video == "all" else "none",
    )  # fmt: skip
    crewing = plan_crew(asked)
    with crew(crewing.build, workers, crewing.place) as team:
        planned = make_plan(asked, crewing, team.facts, team.machine)
        with open_run(out, planned.manifest) as folder:
            blocks = plan(planned.job, {}, workers)
            began = time.perf_counter()
            team.run(planned.job, blocks, folder.new_shards(workers), lambda arm, record: None)
            spent = time.perf_counter() - began
            folder.finish()
    records = b"".join((out / arm / "episodes.jsonl").read_bytes() for arm in planned.manifest.arms)
    return len(planned.manifest.arms) * flags.episodes / spent, records


def main() -> int:
    """Measure and print; return the exit code."""
    flags = tyro.cli(Flags)
    cores = os.sched_getaffinity(0)
    found: set[bytes] = set()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        measure(replace(flags, episodes=4), 1, Path(folder) / "warm")
        for number in range(flags.rounds):
            os.sched_setaffinity(0, {min(cores)})
            one, records = measure(flags, 1, Path(folder) / f"{number}-1")
            os.sched_setaffinity(0, cores)
            two, again = measure(flags, 2, Path(folder) / f"{number}-2")
            found |= {records, again}
            if len(found) > 1:
                raise ActEvalError("the records of one and of two workers differ")
            ratios.append(two / one)
            print(f"one worker {one:.2f} episodes/s, two workers {two:.2f} episodes/s: {two / one:.2f} x", flush=True)
    print(f"median {statistics.median(ratios):.2f} x of {flags.rounds} pairs; load {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(guarded(main))
