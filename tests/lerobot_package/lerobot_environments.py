"""Environments with the real LeRobot: 0.4.4 on Python 3.11, 0.6.1 on 3.12, one at a time, each deleted after its tests.

The pins of 0.4.4 exclude the torch that act_eval needs, so it is installed without them on top of this environment.
0.6.1 is installed with act_eval's requirements by one command, as a user does it (about 6 GB).
"""

import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
import torch

import act_eval

OLD, NEW = "0.4.4", "0.6.1"
ROOT = Path(act_eval.__file__).resolve().parent.parent
# What the import of 0.4.4 needs and this environment lacks, or has in a version that this LeRobot does not know.
NEEDED_BY_OLD = [
    "datasets>=4,<5",
    "draccus==0.10.0",
    "diffusers>=0.27.2,<0.36",
    "transformers>=4.57,<5",
    "accelerate>=1.7,<1.11",
    "huggingface_hub<0.36",
    "deepdiff",
    "imageio-ffmpeg",
    "jsonlines",
    "pyserial",
    "termcolor",
]


def version_in(python: Path) -> str:
    """Return the version of LeRobot that an interpreter finds."""
    code = "from importlib.metadata import version; print(version('lerobot'))"
    return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def with_old(folder: Path) -> Path:
    if sys.version_info[:2] != (3, 11):
        pytest.skip(f"lerobot {OLD} is the newest for Python 3.11; this is {sys.version.split()[0]}")
    venv.create(folder, with_pip=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "this_environment.pth").write_text(str(Path(torch.__file__).parents[1]))
    install(folder, "--no-deps", f"lerobot=={OLD}")
    return install(folder, *NEEDED_BY_OLD)


def with_new(folder: Path) -> Path:
    make = [sys.executable if sys.version_info[:2] == (3, 12) else "python3.12", "-m", "venv", str(folder)]
    environment = {**os.environ, "PYENV_VERSION": "3.12"}  # pyenv has a python3.12 that runs only if chosen
    try:
        subprocess.run(make, check=True, capture_output=True, timeout=120, env=environment)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"lerobot {NEW} needs Python 3.12, and {make[0]} makes no environment here: {error}")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = [*project["dependencies"], *project["optional-dependencies"]["serve"]]
    lerobot = f"lerobot[training,evaluation,dataset,core_scripts,diffusion]=={NEW}"
    return install(folder, *ours, lerobot, "lerobot-policy-act-smooth==0.1.0")


def install(folder: Path, *words: str) -> Path:
    """Install packages into an environment; return its interpreter."""
    python = folder / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2400, check=False)
    if done.returncode:
        pytest.skip(f"LeRobot cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    return python
