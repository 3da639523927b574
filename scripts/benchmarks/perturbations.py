"""Cost of each perturbation of images against a step of the built-in environment with both cameras.

python scripts/benchmarks/perturbations.py --steps 300
"""

import time
from collections.abc import Callable

import numpy as np
import tyro

from act_eval.envs.pick import PickEnv
from act_eval.perturbations import PerturbedEnv
from act_eval.perturbations.catalogue import AXES
from act_eval.scenes.arm import HOME


def main(steps: int = 300, image_size: int = 96, severity: int = 3) -> None:
    """Time the environment's steps, the hooks of image axes, and resets under axes of model and scene.

    Args:
        steps: Calls of each.
        image_size: Height and width of both images [px].
        severity: Severity of every axis.
    """
    env = PickEnv(image_size=image_size)
    observed, _ = env.reset(seed=1)
    step_ms = _median_ms(lambda: env.step(np.array(HOME, np.float32)), steps)
    reset_ms = _median_ms(lambda: env.reset(seed=1), 20)
    print(f"{env.renderer_name()}: step with two images of {image_size}² {step_ms:.2f} ms, reset {reset_ms:.1f} ms")
    for name, kind in AXES.items():
        perturbed = PerturbedEnv(env, (kind(severity),))
        if kind.writes == ("pixels",):
            perturbed.apply(1)
            ms = _median_ms(lambda: perturbed.shown_to_policy(observed), steps)  # noqa: B023  # called at once
            print(f"{name:16} {ms:.3f} ms = {100 * ms / step_ms:.0f} % of a step")
        elif any(field.startswith("model.") for field in kind.writes) and name != "geom_texture":
            ms = _median_ms(lambda: perturbed.reset(seed=1), 20) - reset_ms  # noqa: B023
            print(f"{name:16} {ms:+.1f} ms at a reset")
        perturbed.restore()


def _median_ms(call: Callable[[], object], count: int) -> float:
    times = []
    for _ in range(count):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return 1e3 * float(np.median(times))


if __name__ == "__main__":
    tyro.cli(main)
