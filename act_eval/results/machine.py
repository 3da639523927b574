"""The manifest's entries on machine, versions and date."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from act_eval.version import __version__

_PACKAGES = ("numpy", "scipy", "torch", "torchvision", "gymnasium", "mujoco", "dm-control", "av")


def machine() -> dict[str, str]:
    """Return the properties of this machine that results may depend on: versions, system, processor."""
    return {
        "act_eval": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        **{name: _version(name) for name in _PACKAGES},
    }


def fingerprint(threads: int, renderer: str, **more: str) -> dict[str, Any]:
    """Return everything beyond its configuration that a run's results may depend on.

    Args:
        threads: per network call.
        renderer: renderer of the camera images.
        more: further facts; those of `machine` if the run is made on another machine.
    """
    return {**machine(), "threads": threads, "renderer": renderer, **more}


def user_cache() -> Path:
    """Return the folder of what act_eval keeps for a user between runs: `act_eval` below `$XDG_CACHE_HOME`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "act_eval"


def notes(**more: Any) -> dict[str, Any]:
    """Return notes that no result depends on."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": _git_commit(),
        "digests": True,
        **more,
    }


def _cpu() -> str:
    """Return the processor model: libraries select kernels by it, and kernels round differently."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _git_commit() -> str | None:
    """Return the commit of the source tree, marked if it has changes; None outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():  # an installed package may be inside another repository
        return None
    command = ["git", "-C", os.fspath(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
