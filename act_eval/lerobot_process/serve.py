"""From a folder to a running server, with errors as data for the parent process."""

import os
import platform
import traceback
from typing import Any

import torch
from lerobot import __version__ as lerobot_version  # pyright: ignore[reportMissingImports]

from act_eval.errors import ActEvalError
from act_eval.lerobot_process.loading import Settings, load
from act_eval.lerobot_process.policy import LeRobotPolicy
from act_eval.policies.serving.server import PolicyServer
from act_eval.serving import TOKEN
from act_eval.serving.exposure import MEGABYTE, Exposure

_LARGEST_REQUEST = 1024 * MEGABYTE


def prepare(given: dict[str, Any]) -> tuple[PolicyServer | None, dict[str, str]]:
    """Return a server that is bound to a free port of this machine, and the line for the parent.

    The line has the entry `address`, or `error`. Errors of LeRobot and of a policy's own code, which may be of any
    kind, are described in one line; their traceback goes to standard error.
    """
    settings = Settings(**given)
    torch.set_num_threads(settings.threads)
    try:
        loaded = load(settings)
        policy = LeRobotPolicy(loaded, settings)
    except ActEvalError as error:
        return None, {"error": str(error)}
    except Exception as error:
        traceback.print_exc()
        return None, {"error": f"{type(error).__name__}: {str(error).strip()[:1000]}"}
    kind, versions = loaded.config.type, {"lerobot": lerobot_version, "torch": torch.__version__}
    precision = str(next(iter(loaded.policy.parameters())).dtype).removeprefix("torch.")
    run = {"device": settings.device, "precision": precision, "compile": "off"}
    run |= {"rows_per_call": settings.rows_per_call, "rows_alone": policy.rows_alone}
    server = PolicyServer(
        policy,
        {"lerobot": kind, "task": settings.task, "rename_map": settings.rename_map, "rtc": settings.rtc},
        run,
        {**versions, "policy_python": platform.python_version(), **_hardware(settings.device)},
        Exposure(port=0, token=os.environ[TOKEN], max_bytes=_LARGEST_REQUEST),
    )
    return server, {"address": server.address}


def _hardware(device: str) -> dict[str, str]:
    found = {"cpu_capability": torch.backends.cpu.get_cpu_capability()}
    return found | ({"gpu": torch.cuda.get_device_name(device)} if torch.device(device).type == "cuda" else {})
