"""An environment with the real LeRobot 0.4.4.

No released LeRobot admits the torch that is installed here, so it is installed without its pins on top of this
environment, and skipped with the reason where the packages cannot be had.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import torch

VERSION = "0.4.4"
# What its import needs and this environment lacks, or has in a version that this LeRobot does not know.
NEEDS = [
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


@pytest.fixture(scope="session")
def lerobot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with LeRobot; ACT_EVAL_LEROBOT_PYTHON where that is set."""
    if given := os.environ.get("ACT_EVAL_LEROBOT_PYTHON"):
        return Path(given)
    if sys.version_info[:2] != (3, 11):
        pytest.skip(f"lerobot {VERSION} is the newest for Python 3.11; this is {sys.version.split()[0]}")
    folder = tmp_path_factory.mktemp("lerobot")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "this_environment.pth").write_text(str(Path(torch.__file__).parents[1]))
    for words in (["--no-deps", f"lerobot=={VERSION}"], NEEDS):
        command = [str(python), "-m", "pip", "install", "--quiet", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
        if done.returncode:
            pytest.skip(f"lerobot {VERSION} cannot be installed here: {done.stderr.strip().splitlines()[-1]}")
    return python
