"""The real LeRobot, in two versions."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lerobot_environments import NEW, OLD, version_in, with_new, with_old


@pytest.fixture(scope="session", params=[OLD, NEW])
def lerobot(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The interpreter of an environment with LeRobot; ACT_EVAL_LEROBOT_PYTHON where that has this version."""
    version = request.param
    if given := os.environ.get("ACT_EVAL_LEROBOT_PYTHON"):
        found = version_in(Path(given))
        if found != version:
            pytest.skip(f"{given} has lerobot {found}, not {version}")
        yield Path(given)
        return
    folder = tmp_path_factory.mktemp("lerobot")
    yield (with_old if version == OLD else with_new)(folder)
    shutil.rmtree(folder)
