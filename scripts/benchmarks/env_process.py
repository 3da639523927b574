"""Cost of `--env-python`: whole episodes of confuser_pick in this process and in one of its own, in turn.

Two 96 × 96 cameras, a policy without a network (a request every ten steps). Prints processor and wall-clock time per
control step [ms] of both and the median ratio of the pairs, once with the images of requests alone, as the engine
renders, and once with all. Reads processor time from /proc (Linux).
"""

import os
import resource
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tyro

from act_eval.cli import guarded
from act_eval.config import EnvDeclaration
from act_eval.processes import WORKER_ENVIRONMENT
from act_eval.sources.environments import env_source
from act_eval.types.env_hooks import hooks_of

STEPS = 200


def main(pairs: int = 10, episodes: int = 2, python: Path = Path(sys.executable)) -> int:
    """Measure the cost of an environment in a process of its own.

    Args:
        pairs: Of runs, one here and one there.
        episodes: Of each run.
        python: Interpreter of the process.
    """
    os.environ.update(WORKER_ENVIRONMENT)
    here = env_source("confuser_pick", {}, EnvDeclaration(), film=False).make()
    there: Any = env_source("confuser_pick", {}, EnvDeclaration(env_python=python), film=False).make()
    child = there._channel._process.pid
    for every in (10, 1):
        _run(here, 1, every, child), _run(there, 1, every, child)
        times = [(_run(here, episodes, every, child), _run(there, episodes, every, child)) for _ in range(pairs)]
        for number, clock in enumerate(("processor", "wall-clock")):
            own, other = (median(pair[side][number] for pair in times) for side in (0, 1))
            ratio = median(pair[1][number] / pair[0][number] for pair in times)
            print(
                f"images every {every} steps, {clock} time: {own:.2f} ms a step here, {other:.2f} there, ratio "
                f"{ratio:.2f} (n = {pairs} pairs of {episodes * STEPS} steps)"
            )
    there.close()
    return 0


def _run(env: Any, episodes: int, every: int, child: int) -> tuple[float, float]:
    """Return processor and wall-clock time per step [ms]."""
    hooks = hooks_of(env)
    assert hooks.skip_cameras is not None
    assert hooks.simulator_state is not None
    assert hooks.verdict is not None
    began, used = time.perf_counter(), _processor_s(child)
    for seed in range(episodes):
        hooks.skip_cameras(False)
        joints = env.reset(seed=seed)[0]["agent_pos"]
        for step in range(STEPS):
            hooks.simulator_state()
            hooks.skip_cameras((step + 1) % every != 0)
            env.step((joints + 0.05 * np.sin(step / 10)).astype(np.float32))
        hooks.verdict()
    steps = episodes * STEPS
    return 1e3 * (_processor_s(child) - used) / steps, 1e3 * (time.perf_counter() - began) / steps


def _processor_s(child: int) -> float:
    """Return the processor time of this process and of a running child [s]."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    return own.ru_utime + own.ru_stime + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(guarded(lambda: tyro.cli(main)))
