"""When the first control step of `evaluate` comes, against the end of `import torch`, in turn.

python scripts/benchmarks/start.py --rounds 6

The step is seen from inside: a `sitecustomize` of the measured processes notes the time when the first one is called.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro

WATCH = """
import importlib.abc, importlib.util, os, sys, time

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "act_eval.envs.pick":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            step = module.PickEnv.step
            def first(self, action):
                module.PickEnv.step = step
                with open(os.environ["FIRST_STEP"], "a") as file:
                    file.write(str(time.time()) + " ")
                return step(self, action)
            module.PickEnv.step = first
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Watch())
"""
COMMAND = ["-m", "act_eval", "evaluate", "--policy", "act_rtc", "--env", "confuser_pick", "--delay", "0"]
COMMAND += ["--episodes", "8", "--video", "none"]


def main(rounds: int = 6, workers: tuple[int, ...] = (1, 2)) -> None:
    """Measure the start of a run.

    Args:
        rounds: Runs for each number of workers, each followed by an import of torch.
        workers: Numbers of worker processes.
    """
    for count in workers:
        both = np.array([_first_step_and_import(count) for _ in range(rounds)])
        after = both[:, 0] - both[:, 1]
        step, torch = np.median(both, axis=0)
        print(
            f"{count} workers: first step after {step:.2f} s, import torch {torch:.2f} s, "
            f"difference {np.median(after):.2f} s ({after.min():.2f} to {after.max():.2f}, n = {rounds})"
        )


def _first_step_and_import(workers: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(WATCH)
        noted = Path(folder) / "first"
        path = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
        began = time.time()
        _run([*COMMAND, "--workers", str(workers), "--out", f"{folder}/run"], PYTHONPATH=path, FIRST_STEP=str(noted))
        first = min(map(float, noted.read_text().split())) - began
    began = time.time()
    _run(["-c", "import torch"])
    return first, time.time() - began


def _run(words: Sequence[str], **environment: str) -> None:
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environment})


if __name__ == "__main__":
    tyro.cli(main)
