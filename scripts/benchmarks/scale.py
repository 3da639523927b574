"""What an episode costs in runs of any length: running, merging, comparing, the review page; time, memory, disk.

python scripts/benchmarks/scale.py --sizes 50 1000 10000     two conditions of a toy of 40 steps; docs/scaling.md
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

ACT_EVAL = (sys.executable, "-m", "act_eval")
_HERE = Path(__file__)
_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join((str(_HERE.parent), os.environ.get("PYTHONPATH", "")))}


class Reach(gym.Env[Any, Any]):
    """A point follows its commands to a drifting goal."""

    metadata = {"render_fps": 20}  # noqa: RUF012  # as Gymnasium has it

    def __init__(self) -> None:
        vector = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.observation_space = gym.spaces.Dict({"agent_pos": vector, "environment_state": vector})
        self.action_space = gym.spaces.Box(-9, 9, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.goal = self.np_random.uniform(-1, 1, (2, 2))
        self.drift = self.np_random.normal(0, 0.02, 2)
        return self._observation(), {}

    def step(self, action):
        self.place, self.goal = self.place + 0.1 * (action - self.place), self.goal + self.drift
        return self._observation(), 0.0, False, False, {"is_success": bool(np.abs(self.place - self.goal).max() < 0.1)}

    def _observation(self) -> dict[str, np.ndarray]:
        return {"agent_pos": self.place.copy(), "environment_state": self.goal.copy()}


class Goal:
    """Commands the goal for ten steps."""

    chunk, action_dim = 10, 2
    inputs = {"observation.environment_state": (2,)}  # noqa: RUF012  # as in docs/own-policy.md

    def predict(self, observation):
        return np.tile(observation["observation.environment_state"], (10, 1))


@dataclass(frozen=True)
class Cost:
    """What a step took."""

    seconds: float
    """Processor time."""
    peak_mib: float
    written: str = ""


def main(sizes: tuple[int, ...] = (50, 1000, 10_000)) -> None:
    """Run, merge, compare and show the same toy in runs of several lengths.

    Args:
        sizes: Episodes per condition, rising.
    """
    table = Table("step", "episodes", "s", "ms for each further episode", "peak memory, MiB", "written")
    with TemporaryDirectory(dir=".") as folder:
        costs = {size: _costs(Path(folder) / str(size), size) for size in sizes}
    for step in costs[sizes[0]]:
        for before, size in zip((None, *sizes), sizes, strict=False):
            cost = costs[size][step]
            further = ""
            if before is not None:
                further = f"{1000 * (cost.seconds - costs[before][step].seconds) / (2 * (size - before)):.2f}"
            row = (f"2 × {size:,}", f"{cost.seconds:.1f}", further, f"{cost.peak_mib:.0f}", cost.written)
            table.add_row(step if before is None else "", *row)
    Console(highlight=False, width=120).print(table)


def _costs(folder: Path, size: int) -> dict[str, Cost]:
    """Return step → what it took, for two conditions of that many episodes."""
    parts = [folder / name for name in ("a", "b")]
    flags = ["--policy", f"{_HERE.stem}:Goal", "--env", f"{_HERE.stem}:Reach", "--delay", "0", "4", "--horizon", "40"]
    common = ["--episodes", str(size), "--video", "none", "--no-probe", "--workers", "1"]
    ran = [
        _run(["evaluate", *flags, *common, "--shard", f"{number}/2", "--out", str(part)])
        for number, part in enumerate(parts, start=1)
    ]
    kept = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / (2 * size)
    found = {
        "running": Cost(
            sum(one.seconds for one in ran), max(one.peak_mib for one in ran), f"{kept / 1000:.1f} kB an episode"
        )
    }
    whole = folder / "whole"
    found["merging two parts"] = _run(["merge", *map(str, parts), "--out", str(whole)])
    found["comparing two conditions"] = _run(["compare", f"{whole}:naive_d0_s5", f"{whole}:naive_d4_s5"])
    page = _run(["report", str(whole)])
    files = [(whole / "report.html").stat().st_size, *(file.stat().st_size for file in whole.rglob("*.js"))]
    written = f"page {files[0] / 1e6:.2f} MB, largest other file {max(files[1:]) / 1e6:.2f} MB"
    found["review page"] = replace(page, written=written)
    shutil.rmtree(folder)
    return found


def _run(command: list[str]) -> Cost:
    with TemporaryFile() as output:
        process = subprocess.Popen([*ACT_EVAL, *command], stdout=output, stderr=output, env=_ENVIRONMENT)
        _, status, used = os.wait4(process.pid, 0)
        # compare answers 1 where one is worse
        if os.waitstatus_to_exitcode(status) not in ((0, 1) if command[0] == "compare" else (0,)):
            output.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{output.read().decode()}")
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


if __name__ == "__main__":
    tyro.cli(main)
