"""`lerobot:FOLDER` without LeRobot: what is wrong with folder, interpreter, options or process is named, and it ends.

`tests/lerobot_package/test_lerobot_process.py` runs the real policies.
"""

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from act_eval.errors import CheckpointError, RemoteError, UsageError
from act_eval.lerobot_process.noise import RowNoise
from act_eval.sources.lerobot import LeRobotSource
from act_eval.sources.policies import Network, policy_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "policy"
    made.mkdir()
    (made / "config.json").write_text(json.dumps({"type": "diffusion"}))
    return made


def program(folder: Path, text: str) -> str:
    """Return the path of a program in place of an interpreter."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return str(path)


def source(folder: Path, python: str | None = None, **options: Any) -> LeRobotSource:
    found = policy_source(f"lerobot:{folder}", options, Network(), python=python)
    assert isinstance(found, LeRobotSource)
    return found


def test_a_python_without_lerobot_is_named_with_the_line_that_installs_it(folder: Path) -> None:
    with pytest.raises(UsageError) as raised:
        source(folder).load()
    python = re.escape(os.path.abspath(sys.executable))
    needed = r"lerobot: \S+ -m pip install lerobot"
    assert re.fullmatch(rf"lerobot:{folder}: {python}: it \(Python [\d.]+\) has no {needed}", str(raised.value))


@pytest.mark.parametrize("python", ["/nowhere/python", "no-such-python"])
def test_a_python_that_is_not_there_is_named(folder: Path, python: str) -> None:
    with pytest.raises(UsageError, match=f"--policy-python {python}: there is no program of this path or name"):
        source(folder, python)


def test_what_is_no_interpreter_is_named(folder: Path) -> None:
    path = folder / "text"
    path.write_text("hello")
    path.chmod(0o755)
    with pytest.raises(UsageError, match=f"--policy-python {path} cannot be run"):
        source(folder, str(path)).load()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "has no config.json; expected LeRobot's pretrained_model folder, or a hub id"),
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("{}", 'is no LeRobot policy\'s: it has no "type"'),
        ("[1]", "is no LeRobot policy's"),
    ],
)
def test_a_folder_that_is_no_policy_says_so(tmp_path: Path, content: str | None, text: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=re.escape(text)):
        source(tmp_path)
    with pytest.raises(CheckpointError, match=r"lerobot:/nowhere: /nowhere does not exist"):
        source(Path("/nowhere"))


def test_the_folder_of_a_training_step_will_do(folder: Path) -> None:
    (folder.parent / "pretrained_model").mkdir()
    (folder / "config.json").rename(folder.parent / "pretrained_model" / "config.json")
    found = source(folder.parent)
    assert found.folder.name == "pretrained_model"
    assert found.label == folder.parent.name


@pytest.mark.parametrize(
    "options",
    [{"task": 3}, {"start_s": 0}, {"timeout_s": True}, {"rename_map": "a"}, {"rtc": {}, "horizon": 3}, {"steps": 8}],
    ids=str,
)
def test_an_option_that_means_nothing_is_named(folder: Path, options: dict[str, Any]) -> None:
    name = next(iter(options)) if "rtc" not in options else "horizon"
    with pytest.raises(UsageError, match=f"--policy-options {name}=.*: a LeRobot policy takes task=TEXT"):
        source(folder, **options)


def test_flags_of_another_kind_of_policy_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="--precision is about a checkpoint's network"):
        policy_source(f"lerobot:{folder}", {}, Network(precision="bf16"))
    with pytest.raises(UsageError, match="--policy-python is for --policy lerobot:FOLDER; act runs in this Python"):
        policy_source("act", {}, Network(), python=sys.executable)


def test_a_process_that_fails_passes_on_what_it_printed(folder: Path) -> None:
    python = program(folder, "import sys\nprint('so it goes', file=sys.stderr)\nsys.exit(7)")
    with pytest.raises(RemoteError, match=r"its process \(.*/python\) ended \(7\); it printed:\nso it goes"):
        source(folder, python).load()


def test_a_process_that_does_not_start_in_time_is_ended(folder: Path) -> None:
    pid = folder / "pid"
    text = f"import os, sys, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\nprint('on my way', file=sys.stderr)"
    python = program(folder, f"{text}\nsys.stderr.flush()\ntime.sleep(60)")
    begin = time.monotonic()
    with pytest.raises(RemoteError, match=r"did not start within 3 s \(--policy-options start_s=…\); .*\non my way"):
        source(folder, python, start_s=3).load()
    assert time.monotonic() - begin < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_noise_of_a_row_is_the_same_in_any_batch() -> None:
    def drawn(seeds: list[int]) -> list[np.ndarray]:
        like = torch.zeros(len(seeds), 3)
        with RowNoise(seeds):
            parts = [
                torch.randn(len(seeds), 3),
                torch.randn((len(seeds), 2, 2), dtype=torch.float64),
                torch.rand(size=(len(seeds), 3)),
                torch.randn_like(like),
                torch.normal(mean=2.0, std=0.5, size=(len(seeds), 3)),
            ]
        return [part.numpy() for part in parts]

    before = torch.get_rng_state()
    together, alone = drawn([3, 4, 5, 6]), [drawn([seed]) for seed in (3, 4, 5, 6)]
    for part, whole in enumerate(together):
        np.testing.assert_array_equal(whole, np.concatenate([one[part] for one in alone]))
        assert len(np.unique(whole)) == whole.size
    assert abs(together[4].mean() - 2) < 1
    assert torch.equal(torch.get_rng_state(), before)
    with RowNoise([3, 4, 5, 6]):
        torch.randn(3)  # no row's: torch's own generator, which shows that it was used
    assert not torch.equal(torch.get_rng_state(), before)
