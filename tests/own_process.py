"""Environments for a process of their own: one tells what is loaded there, others end or stop it."""

import os
import signal
import sys
import time
from typing import Any

import numpy as np
from user_faults import Reach

HEAVY = ("torch", "mujoco", "scipy", "websockets", "tyro", "act_eval.policies", "act_eval.executors")


class Loaded(Reach):
    def step(self, action: np.ndarray) -> Any:
        *rest, info = super().step(action)
        return *rest, {**info, "pid": os.getpid(), "heavy": [name for name in HEAVY if name in sys.modules]}


class Dies(Reach):
    """Ends its process in an unlucky episode, by `how`."""

    def __init__(self, how: str, render_mode: str | None = "rgb_array") -> None:
        super().__init__(render_mode)
        self.how = how

    def fail(self) -> None:
        match self.how:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "crash":
                signal.signal(signal.SIGSEGV, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGSEGV)
            case "leave":
                os._exit(3)


class Hangs(Reach):
    def step(self, action: np.ndarray) -> Any:
        if self.count == 0 and action[0] == 0:
            time.sleep(600)
        return super().step(action)
