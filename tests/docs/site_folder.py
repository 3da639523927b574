"""A folder in which commands find what the pages speak of: runs, checkpoints, data, files of a user."""

import os
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from made_runs import FINGERPRINT, make_run, outcomes, suite
from site_pages import DOCS, ROOT, blocks
from untrained import write_checkpoint

from act_eval.cli import main
from act_eval.comparison.baselines import Baseline
from act_eval.seeding import Purpose, episode_seeds

SEED = 4348884358902
"""Of an episode in `OUT`."""

_STUMBLES = '''
import numpy as np
from act_eval.types import ActionChunks, PolicySpec

class Stumbles:
    """Keeps still, and fails at the second chunk under even seeds: real episodes, some short, and no successes."""

    spec = PolicySpec(
        chunk=14, action_dim=6, window="shifted", takes_prefix=True, max_delay=4, inputs={"observation.state": (6,)}
    )

    even = {}

    def reset(self, rows, seeds):
        self.even.update((row, seed % 2 == 0) for row, seed in zip(rows, seeds))

    def predict(self, request):
        joints = request.observation.agent_pos
        chunk = np.repeat(joints[:, None], 14, axis=1)
        chunk[(np.asarray(request.steps) > 0) & [self.even[row] for row in request.rows.tolist()]] = np.nan
        return ActionChunks(chunk)


class Nothing:
    """Asks for zeros."""

    chunk = 10

    def __init__(self, action_dim, state):
        self.action_dim, self.inputs = action_dim, {"observation.state": (state,)}

    def predict(self, observation):
        return np.zeros((10, self.action_dim))

def cartpole():
    return Nothing(1, 5)

def pusht():
    return Nothing(2, 2)
'''
_PAIRED = ("BASE", "NEW", "RUN_A", "RUN_B", "RUN_C")
_WATCHED = ("RUN", "OUT/POLICY_ENV", "outputs/evaluate/moving", "outputs/evaluate/base", "outputs/sweep/headline/one")


def python_of(page: str, holding: str) -> str:
    """Return the Python block of a page that holds some text."""
    (found,) = (b.text for b in blocks(DOCS / page) if b.language == "python" and holding in b.text)
    return found


def furnish(folder: Path) -> Path:
    """Write what can be made in seconds: a user's files, finished runs, baselines, a checkpoint."""
    (folder / "scripts").symlink_to(ROOT / "scripts")
    (folder / "my_policy.py").write_text(python_of("own-policy.md", "class Reach"))
    (folder / "my_reach.py").write_text(python_of("own-environment.md", "class Reach"))
    (folder / "my_stumbles.py").write_text(_STUMBLES)
    for example in (DOCS / "examples").glob("own_*.py"):
        shutil.copy(example, folder)
    _watched(folder)
    _compared(folder)
    write_checkpoint(folder / "chosen", "act", image_size=96)
    for run in ("outputs/train/encoder", "outputs/lerobot"):
        write_checkpoint(folder / run / "checkpoints/last/pretrained_model", "act_rtc", image_size=96)
    return folder


def train(folder: Path) -> None:
    """Collect two demonstrations in each environment that is trained in, and begin a run that can be resumed."""
    for env in ("confuser_pick", "moving_pick"):
        in_shell(folder, f"act-eval collect --env {env} --episodes 2 --workers 1 --image-size 32").check_returncode()
    flags = "--steps 2 --batch-size 2 --held-out 0 --validate-every 0 --evaluate-every 0 --threads 1"
    in_shell(folder, f"python scripts/train.py {flags}").check_returncode()


def in_shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line as a reader would, with this interpreter's programs first and a home of its own."""
    for place in (".local/share/bash-completion/completions", ".zfunc", ".config/fish/completions"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HOME": str(folder), "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"}
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=900
    )


def here(folder: Path, command: str) -> int:
    """Run a command in this process, which must already be in the folder; return its exit code."""
    program, *words = shlex.split(command, comments=True)
    if program == "act-eval":
        return main(words)
    assert program == "python", command
    sys.argv = words
    try:
        runpy.run_path(str(folder / words[0]), run_name="__main__")
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    return 0


def _watched(folder: Path) -> None:
    """Runs whose episodes were really stepped, with logged states."""
    flags = (
        "--policy my_stumbles:Stumbles --env pick --delay 0 4 --execution-horizon 10 "
        "--workers 1 --video none --no-probe"
    )
    for name, more in (("OUT", ""), ("outputs/evaluate/new", "--action-noise 0.01")):
        code = here(folder, f"python scripts/evaluate.py {flags} {more} --seeds 3,{SEED} --out {name}")
        assert code == 0, f"the run {name} that the pages are tried on was not made"
    for name in _WATCHED:
        shutil.copytree(folder / "OUT", folder / name)
    sweep = (
        "--policies my_stumbles:Stumbles --envs pick --delays 0 --execution-horizon 10 --executors naive --episodes 2"
    )
    for part in (1, 2):
        here(folder, f"act-eval sweep {sweep} --workers 1 --shard {part}/2 --out grid_{'ab'[part - 1]}")
        here(folder, f"python scripts/evaluate.py {flags} --shard {part}/2 --seeds 3,{SEED} --out parts")
        here(folder, f"python scripts/evaluate.py {flags} --shard {part}/2 --seeds 3,{SEED} --out on_{'ab'[part - 1]}")


def _compared(folder: Path) -> None:
    """Runs of known outcomes."""
    for number, name in enumerate(_PAIRED):
        make_run(folder / name, {"rtc_d4_s10": outcomes(30 + number, 10 - number)}, digest=f"{number:02}")
    conditions = {"naive": "outputs/evaluate/final_act", "rtc": "outputs/evaluate/final_act_rtc"}
    for method, name in conditions.items():
        make_run(folder / name, {f"{method}_d{d}_s10": outcomes(38, 2) for d in (0, 4)}, digest=method)
    held_out = suite(40, first_seed=episode_seeds(Purpose.HELD_OUT, 0, 1)[0])
    make_run(folder / "outputs/held_out", {"rtc_d4_s10": outcomes(35, 5)}, of=held_out, digest="02")
    elsewhere = make_run(
        folder / "elsewhere", {"rtc_d4_s10": outcomes(11, 1)}, fingerprint={**FINGERPRINT, "threads": 2}
    )
    make_run(folder / "outputs/baseline_act_rtc", {"rtc_d4_s10": outcomes(11, 1)})
    golden = folder / "tests/golden/regression/act_rtc.json"
    golden.parent.mkdir(parents=True)
    Baseline.of_run(elsewhere, "as it was").write(golden)
    shutil.copytree(folder / "outputs/evaluate/new", folder / "outputs/run")
