"""What a process that has drawn leaves on the screen when it ends."""

import os
import subprocess
import sys

import pytest

ENDING = """
import gymnasium as gym
import act_eval.envs
env = gym.make("act_eval/Pick-v1")
env.reset(seed=1)
import dm_control.mujoco  # with MUJOCO_GL=egl it opens a display of its own, and closes it for all at the end
held = [env]
held.append(held)  # only the interpreter's end deletes it
"""


@pytest.mark.skipif(sys.platform != "linux", reason="EGL")
def test_a_process_that_still_holds_an_environment_ends_without_a_word() -> None:
    environment = {**os.environ, "MUJOCO_GL": "egl"}
    done = subprocess.run(
        [sys.executable, "-c", ENDING], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
