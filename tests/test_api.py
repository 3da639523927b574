"""The front door from Python: what a script or a notebook calls, without console and without a guard."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_envs import Walk

import act_eval
from act_eval.errors import CheckpointError, TimingError, UnknownName, UsageError
from act_eval.evaluation.reporter import EpisodeProgress, Silent
from act_eval.progress import Tally
from act_eval.results import Manifest
from act_eval.run import Run
from act_eval.timing import Constant
from act_eval.types import EpisodeRecord

QUICK: dict[str, Any] = {"image_size": 32, "video": "none", "probe": False, "compile": "off"}
SCRIPT = """
import act_eval
run = act_eval.evaluate("expert", "pick", episodes=4, image_size=32, video="none", workers=2, out={out!r})
print(sum(len(one.records) for one in run.conditions.values()), "episodes")
"""


OBJECTS = """
import gymnasium as gym
import numpy as np

import act_eval

class Straight:
    chunk, action_dim = 10, 2
    inputs = {"observation.environment_state": (2,)}

    def predict(self, observation):
        return np.tile(observation["observation.environment_state"], (10, 1))

class Reach(gym.Env):
    metadata = {"render_modes": [], "render_fps": 10}

    def __init__(self):
        vector = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.observation_space = gym.spaces.Dict({"agent_pos": vector, "environment_state": vector})
        self.action_space = gym.spaces.Box(-2, 2, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position, self.goal = np.zeros(2), self.np_random.uniform(-1, 1, 2)
        return self._observation(), {}

    def step(self, action):
        self.position = self.position + np.clip(action - self.position, -0.2, 0.2)
        done = bool(np.linalg.norm(self.position - self.goal) < 0.1)
        return self._observation(), 0.0, done, False, {"is_success": done}

    def _observation(self):
        return {"agent_pos": self.position.copy(), "environment_state": self.goal}

for _ in range(2):
    run = act_eval.evaluate(Straight, Reach, delays=[0, 2], episodes=4, horizon=20, video="none")
    print(run.folder)
try:
    act_eval.evaluate(Straight, Reach, delays=[0], episodes=4, horizon=20, video="none", workers=4)
except act_eval.errors.UsageError as error:
    print(error)
"""
IMPORT = """
import sys, time
began = time.perf_counter()
import act_eval
took = time.perf_counter() - began
heavy = {name.partition(".")[0] for name in sys.modules} & {"torch", "mujoco", "gymnasium", "numpy", "scipy", "rich"}
print(len([name for name in sys.modules if name.startswith("act_eval")]), sorted(heavy), took < 0.3)
"""


class Straight:
    """Commands the goal."""

    chunk, action_dim = 10, 2
    inputs = {"observation.environment_state": (2,)}  # noqa: RUF012

    def predict(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        return np.tile(observation["observation.environment_state"].clip(-1, 1), (10, 1))


class Recorder(Silent):
    """A reporter that keeps what it receives."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps = 0
        self.amounts: list[float] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    @contextmanager
    def episodes(
        self, finished: Mapping[str, Sequence[EpisodeRecord]], episodes: int, horizons: Mapping[str, int]
    ) -> Iterator[EpisodeProgress]:
        tally, recorder = Tally(finished, episodes, horizons), self

        class Progress:
            def ended(self, condition: str, record: EpisodeRecord) -> None:
                tally.ended(condition, record)
                recorder.amounts.append(tally.total)

            def stepped(self, condition: str, steps: int) -> None:
                recorder.steps += steps
                tally.stepped(condition, steps)
                recorder.amounts.append(tally.total)

        yield Progress()


def expert(out: Path, **fields: object) -> Run:
    return act_eval.evaluate(
        "expert", "pick", out=out, workers=1, **{"episodes": 3, "progress": False, **QUICK, **fields}
    )


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is reported at every step, however fast the machine is."""
    monkeypatch.setattr("act_eval.evaluation.worker._REPORT_S", -1.0)


@pytest.mark.usefixtures("every_step")
def test_a_finished_run_is_returned_at_once_and_equals_the_first(tmp_path: Path) -> None:
    first, again = Recorder(), Recorder()
    run = expert(tmp_path / "run", progress=first)
    assert [record.outcome for record in run.conditions["expert"].records] == ["success"] * 3
    assert run.report == tmp_path / "run" / "report.html"
    repeated = expert(tmp_path / "run", progress=again)
    assert repeated.conditions["expert"].records == run.conditions["expert"].records
    assert "3/3 = 1.00, 95% Wilson" in str(run)
    assert "3/3 = 1.00" in run._repr_html_()
    same = act_eval.compare(run, expert(tmp_path / "other").folder)
    assert same.exit_code == 0
    assert act_eval.load_run(run.folder).report == run.report
    assert "3 episodes are finished already; 0 are left to run" in again.lines
    assert (first.steps > 0, again.steps) == (True, 0)


@pytest.mark.usefixtures("every_step")
def test_progress_moves_while_all_episodes_are_in_one_batch(tmp_path: Path) -> None:
    recorder = Recorder()
    expert(tmp_path / "run", episodes=2, progress=recorder)
    assert recorder.amounts[0] < 1
    assert recorder.amounts == sorted(recorder.amounts)
    assert recorder.amounts[-1] == 2


@pytest.mark.parametrize("from_stdin", [False, True])
def test_a_plain_script_may_use_several_processes(tmp_path: Path, from_stdin: bool) -> None:
    code = SCRIPT.format(out=str(tmp_path / "run"))
    script = tmp_path / "plain.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, "-" if from_stdin else str(script)],
        input=code if from_stdin else None, capture_output=True, text=True, cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "4 episodes\n"  # once: no worker has run the script again


def test_delays_are_numbers_texts_or_models(tmp_path: Path, checkpoint: str) -> None:
    run = act_eval.evaluate(
        checkpoint,
        "pick",
        delays=[0, "1", Constant(2)],
        episodes=1,
        out=tmp_path / "run",
        workers=1,
        progress=False,
        **QUICK,
    )
    assert list(run.conditions) == ["naive_d0_s4", "naive_d1_s4", "naive_d2_s4"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    from untrained import write_checkpoint

    return str(write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "act", "act", image_size=32))


def test_importing_the_package_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    assert done.stdout == "2 [] True\n"  # itself and its version


def test_every_name_of_the_front_door_can_be_imported() -> None:
    assert all(getattr(act_eval, name) is not None for name in act_eval.__all__)


def test_classes_of_a_script_run_in_its_process_and_resume(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(OBJECTS)
    done = subprocess.run(
        [sys.executable, "plain.py"], capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    first, again, refused = done.stdout.splitlines()
    assert first == again
    assert first.startswith("outputs/evaluate/Reach_Straight_")
    reason = "environment Reach is defined in __main__:Reach, which workers cannot import"
    assert refused == f"workers is 4, and this can only run in this process, one worker: {reason}"
    shown = [line for line in done.stderr.splitlines() if line.startswith("workers 1,")]
    assert shown == [f"workers 1, in this process: {reason}"] * 2
    assert "8 episodes are finished already; 0 are left to run" in done.stderr


def walk(**fields: Any) -> dict[str, Any]:
    return {"delays": [0], "episodes": 2, "horizon": 14, "video": "none", "probe": False, "progress": False, **fields}


def test_lambdas_and_made_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines, made = Recorder(), Walk()
    run = act_eval.evaluate(lambda: Straight(), made, **walk(progress=lines))
    assert "run     1 × 1 episodes at a time, video none" in lines.lines
    assert Manifest.read(run.folder).notes["batch"] == 1
    again = act_eval.evaluate(lambda: Straight(), made, **walk(progress=lines))
    assert again.folder == run.folder
    assert "2 episodes are finished already; 0 are left to run" in lines.lines
    by_class = act_eval.evaluate(Straight, lambda: Walk(), **walk())
    assert by_class.folder != run.folder
    outcomes = [[one.steps for one in r.conditions["naive_d0_s5"].records] for r in (run, by_class)]
    assert outcomes[0] == outcomes[1]  # the same records, one slot or many
    with pytest.raises(UsageError, match="batch is 4; Walk is a made environment, with one slot"):
        act_eval.evaluate(Straight, made, **walk(batch=4))


def test_networks_with_other_weights_are_other_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: str
) -> None:
    from act_eval.policies.checkpoint import load_pretrained

    monkeypatch.chdir(tmp_path)
    policy, processor = load_pretrained(Path(checkpoint))
    quick: dict[str, Any] = {**QUICK, "delays": [0], "seeds": [3], "progress": False}
    run = act_eval.evaluate((policy, processor), "pick", **quick)
    assert act_eval.evaluate((policy, processor), "pick", **quick).folder == run.folder
    stored = act_eval.evaluate(checkpoint, "pick", **quick, workers=1)
    assert [r.steps for r in stored.conditions["naive_d0_s4"].records] == [
        r.steps for r in run.conditions["naive_d0_s4"].records
    ]
    with torch.no_grad():
        next(policy.parameters()).add_(1.0)
    assert act_eval.evaluate((policy, processor), "pick", **quick).folder != run.folder
    with torch.no_grad():
        next(policy.parameters()).fill_(float("nan"))
    with pytest.raises(CheckpointError, match=r"policy .*: tensor '.*' is nan at index .*; weights must be finite"):
        act_eval.evaluate((policy, processor), "pick", **quick)


def test_a_sweep_of_classes_prints_as_text_and_html(tmp_path: Path) -> None:
    found = act_eval.sweep(
        [Straight], [Walk], delays=[0, 4], executors=["naive"], episodes=2, horizon=14, workers=1, progress=False,
        out=tmp_path / "sweep",
    )  # fmt: skip
    assert "Straight" in str(found)
    assert "Walk under naive execution: " in str(found)
    assert "<table" in found._repr_html_()


def test_a_probe_prints_a_verdict_per_input() -> None:
    report = act_eval.probe(Straight, Walk, episodes=4, horizon=14)
    assert report.ignored == ()
    assert "\nenvironment_state " in str(report)


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"horizn": 40}, UnknownName, "unknown field of EvaluateConfig 'horizn'; there are: action_noise, .*horizon"),
        ({"episodes": "many"}, UsageError, "episodes of EvaluateConfig is 'many'; it must be a number"),
        ({"video": "some"}, UsageError, "video of EvaluateConfig is 'some'; allowed: all, failures, none"),
        ({"probe": 1}, UsageError, "probe of EvaluateConfig is 1; it must be True or False"),
        ({"episodes": 0}, UsageError, "--episodes is 0; it must be at least 1"),
        ({"delays": []}, UsageError, "no delay is given"),
        ({"delays": ["fast"]}, TimingError, "delay 'fast'"),
        ({"shard": "1/2"}, UsageError, "for the command line"),
        ({"policy": "no_such_policy"}, UnknownName, "unknown policy 'no_such_policy'"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(
    fields: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        act_eval.evaluate(**{"progress": False, **fields})


def test_the_front_door_names_what_it_has() -> None:
    with pytest.raises(AttributeError, match=r"module 'act_eval' has no attribute 'evalute'; it has .*evaluate"):
        _ = act_eval.evalute  # pyright: ignore[reportAttributeAccessIssue]
