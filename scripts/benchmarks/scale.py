"""What an episode costs in runs of any length: running, merging, comparing, the review page; time, memory, disk.

python scripts/benchmarks/scale.py --sizes 50 1000 10000     two conditions of a toy of 40 steps; docs/scaling.md
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import gymnasium as gym
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

ACT_EVAL = (sys.executable, "-m", "act_eval")
_HERE = Path(__file__)
_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join((str(_HERE.parent), os.environ.get("PYTHONPATH", "")))}


class Reach(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """A point follows its commands to a drifting goal."""

    metadata = {"render_fps": 20}

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
    inputs = {"observation.environment_state": (2,)}

    def predict(self, observation):
        return np.tile(observation["observation.environment_state"], (10, 1))


def main(sizes: tuple[int, ...] = (50, 1000, 10_000)) -> None:
    """Run, merge, compare and show the same toy in runs of several lengths.

    Args:
        sizes: Episodes per condition.
    """
    table = Table("episodes", "step", "ms an episode", "peak memory, MiB", "written")
    with TemporaryDirectory(dir=".") as folder:
        for size in sizes:
            for step, cost in _costs(Path(folder) / str(size), size).items():
                table.add_row(f"2 × {size:,}", step, *cost)
    Console(highlight=False).print(table)


def _costs(folder: Path, size: int) -> dict[str, tuple[str, str, str]]:
    """Return step → milliseconds of processor time an episode beyond an empty command, peak memory, what it wrote."""
    parts = [folder / name for name in ("a", "b")]
    flags = ["--policy", f"{_HERE.stem}:Goal", "--env", f"{_HERE.stem}:Reach", "--delay", "0", "4", "--horizon", "40"]
    common = ["--episodes", str(size), "--video", "none", "--no-probe", "--workers", "1"]
    found: dict[str, tuple[str, str, str]] = {}
    empty_s, _ = _run(["evaluate", "--help"])
    costs = [
        _run(["evaluate", *flags, *common, "--shard", f"{number}/2", "--out", str(part)])
        for number, part in enumerate(parts, start=1)
    ]
    spent = sum(seconds - empty_s for seconds, _ in costs)
    found["running"] = _shown(spent, size, max(peak for _, peak in costs), _bytes(folder) / (2 * size), "an episode")
    whole = folder / "whole"
    steps: Sequence[tuple[str, list[str]]] = (
        ("merging two parts", ["merge", *map(str, parts), "--out", str(whole)]),
        ("comparing two runs", ["compare", str(whole), str(whole)]),
        ("the page", ["report", str(whole)]),
    )
    for name, command in steps:
        seconds, peak = _run(command)
        found[name] = _shown(seconds - empty_s, size, peak)
    page = whole / "report.html"
    largest = max((file.stat().st_size for file in whole.rglob("*.js")), default=0)
    kept = f"{page.stat().st_size / 1e6:.2f} MB, its largest part {largest / 1e6:.2f} MB"
    found["the page"] = (*found["the page"][:2], kept)
    shutil.rmtree(folder)
    return found


def _run(command: list[str]) -> tuple[float, float]:
    """Run a command; return its processor time [s] and peak memory [MiB]."""
    with TemporaryFile() as output:
        process = subprocess.Popen([*ACT_EVAL, *command], stdout=output, stderr=output, env=_ENVIRONMENT)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            output.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{output.read().decode()}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _shown(seconds: float, size: int, peak: float, written: float = 0.0, of: str = "") -> tuple[str, str, str]:
    return f"{500 * seconds / size:.2f}", f"{peak:.0f}", f"{written / 1000:.1f} kB {of}" if written else ""


if __name__ == "__main__":
    began = time.monotonic()
    tyro.cli(main)
    print(f"{time.monotonic() - began:.0f} s")
