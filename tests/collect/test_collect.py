"""Collecting: the same data set whatever happens on the way, successes only, observation and command of one moment."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import act_eval.envs  # noqa: F401  registers the environments
from act_eval.collect import (
    Collected,
    CollectPlan,
    CollectProgress,
    Demonstrator,
    MakeAttempts,
    collect,
    expert_demonstrator,
)
from act_eval.datasets import Demonstrations
from act_eval.errors import DatasetError, SimulationError, UsageError
from act_eval.seeding import Purpose, episode_seeds
from act_eval.sources.environments import EnvSource
from act_eval.types import Verdict

COMMAND = (sys.executable, "-m", "act_eval", "collect")
SEEDS = episode_seeds(Purpose.COLLECT, 0, 40)


class ToyEnv(gym.Env):
    """Counts up; a quarter of the seeds fails, one in five breaks. `success` makes all of them succeed or fail."""

    metadata = {"render_fps": 20}  # noqa: RUF012

    def __init__(self, success: bool | None = None) -> None:
        self._success = success
        image = spaces.Box(0, 255, (8, 8, 3), np.uint8)
        vectors = {"agent_pos": spaces.Box(-1, 1, (2,)), "environment_state": spaces.Box(-1, 1, (2,))}
        self.observation_space = spaces.Dict({"pixels": spaces.Dict({"top": image}), **vectors})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        assert seed is not None
        self.seed, self.count = seed, 0
        self.place = np.random.default_rng(seed).random(2).astype(np.float32)
        return self._observation(), {}

    def step(self, action: np.ndarray) -> Any:
        if outcome_of(self.seed) == "invalid" and self._success is None:
            raise SimulationError("broken")
        assert action[0] == self.count
        self.count += 1
        ended = self.count == 3 + self.seed % 4
        return self._observation(), 0.0, ended, False, {"is_success": ended}

    def verdict(self) -> Verdict:
        outcome = outcome_of(self.seed) if self._success is None else ("missed", "success")[self._success]
        return Verdict(outcome=outcome)

    def suite_facts(self) -> dict[str, Any]:
        return {"scene": "toy"}

    def _observation(self) -> dict[str, Any]:
        image = np.full((8, 8, 3), (self.seed + 20 * self.count) % 256, np.uint8)
        joints = np.array([self.count, self.seed % 1000], np.float32)
        return {"pixels": {"top": image}, "agent_pos": joints, "environment_state": self.place}


class ToyExpert:
    def __init__(self, env: ToyEnv) -> None:
        self.env = env

    def act(self) -> np.ndarray:
        return np.array([self.env.count, self.env.seed % 7], np.float32)


def outcome_of(seed: int) -> str:
    if seed % 5 == 3:
        return "invalid"
    return "missed" if seed % 4 == 1 else "success"


def toy(success: bool | None = None) -> Demonstrator:
    env = ToyEnv(success)
    return Demonstrator(env, ToyExpert(env).act, ("a", "b"))


def demonstrator_of(plan: CollectPlan) -> MakeAttempts:
    return partial(expert_demonstrator, EnvSource(env_id=plan.env, options=plan.options))


def plan(episodes: int = 12, **changes: Any) -> CollectPlan:
    return CollectPlan(**({"env": "toy", "episodes": episodes} | changes))


def contents(root: Path) -> dict[str, str]:
    """Hash of every file of a data set."""
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, str]:
    """What an undisturbed collection with one worker gives."""
    collect(plan(), tmp_path / "whole", toy, workers=1)
    return contents(tmp_path / "whole")


def test_only_successes_are_kept_and_the_rest_is_counted(tmp_path: Path) -> None:
    done = collect(plan(), tmp_path / "set", toy, workers=1)
    outcomes = [outcome_of(seed) for seed in SEEDS]
    needed = next(n for n in range(40) if outcomes[:n].count("success") == 12)
    discarded = {name: outcomes[:needed].count(name) for name in ("invalid", "missed")}
    assert min(discarded.values()) >= 1
    data = Demonstrations(tmp_path / "set")
    assert done == Collected(tmp_path / "set", 12, data.total_frames, needed, discarded, existed=False)
    assert data.episodes.seeds is not None
    assert data.episodes.seeds.tolist() == [s for s in SEEDS[:needed] if outcome_of(s) == "success"]
    history = data.collection()
    assert history is not None
    assert history["attempts"] == needed
    assert [(d["seed"], d["outcome"]) for d in history["discarded"]] == [
        (s, outcome_of(s)) for s in SEEDS[:needed] if outcome_of(s) != "success"
    ]
    assert history["facts"] == {"scene": "toy"}


def test_a_frame_is_an_observation_and_the_command_given_upon_it(tmp_path: Path) -> None:
    collect(plan(), tmp_path / "set", toy, workers=1)
    data = Demonstrations(tmp_path / "set")
    assert data.features["action"].names == ("a", "b")
    assert data.episodes.seeds is not None
    for episode, seed in enumerate(data.episodes.seeds.tolist()):
        rows = data.vectors(episode, ["observation.state", "action", "next.done", "next.success"])
        count = 3 + seed % 4
        assert rows["observation.state"].tolist() == [[t, seed % 1000] for t in range(count)]
        assert rows["action"].tolist() == [[t, seed % 7] for t in range(count)]
        assert rows["next.done"].tolist() == rows["next.success"].tolist() == [False] * (count - 1) + [True]
        assert data.frames(episode, "top")[:, 0, 0, 0].tolist() == [(seed + 20 * t) % 256 for t in range(count)]


@pytest.mark.parametrize("workers", [2, 3])
def test_worker_count_changes_nothing(tmp_path: Path, whole: dict[str, str], workers: int) -> None:
    collect(plan(), tmp_path / "set", toy, workers=workers)
    assert contents(tmp_path / "set") == whole


@pytest.mark.parametrize("stops", [(1,), (3, 9), (2, 4, 6, 8, 10, 12)])
def test_interruptions_change_nothing(tmp_path: Path, whole: dict[str, str], stops: tuple[int, ...]) -> None:
    out = tmp_path / "set"
    for stop in stops:

        def interrupt(progress: CollectProgress, stop: int = stop) -> None:
            if progress.episodes >= stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            collect(plan(), out, toy, workers=1, on_progress=interrupt)
        assert not out.exists()
        files = sorted((tmp_path / "set.partial").glob("attempt-*.parquet"))
        assert len(files) >= stop
        files[-1].write_bytes(files[-1].read_bytes()[:-100])  # as a power cut leaves it
        (tmp_path / "set.partial/attempt-000030.parquet.part").write_bytes(b"half an attempt")
    collect(plan(), out, toy, workers=1)
    assert contents(out) == whole
    assert not (tmp_path / "set.partial").exists()


def test_video_storage_is_as_deterministic(tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        collect(plan(images="video"), tmp_path / name, toy, workers=workers)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(list(tmp_path.glob("one/videos/*/*/*.mp4"))) == 1


def test_a_longer_collection_begins_with_the_shorter_one(tmp_path: Path) -> None:
    """An unfinished collection may also be continued to another number of episodes."""

    def interrupt(progress: CollectProgress) -> None:
        if progress.episodes == 8:
            raise KeyboardInterrupt

    collect(plan(12), tmp_path / "long", toy, workers=1)
    with pytest.raises(KeyboardInterrupt):
        collect(plan(12), tmp_path / "short", toy, workers=1, on_progress=interrupt)
    collect(plan(5), tmp_path / "short", toy, workers=1)
    long, short = Demonstrations(tmp_path / "long"), Demonstrations(tmp_path / "short")
    assert len(short.episodes) == 5
    for episode in range(5):
        a, b = (d.vectors(episode, ["action"])["action"] for d in (long, short))
        np.testing.assert_array_equal(a, b)


def test_progress_counts_up(tmp_path: Path) -> None:
    seen: list[CollectProgress] = []
    done = collect(plan(), tmp_path / "set", toy, workers=1, on_progress=seen.append)
    assert [p.episodes + sum(p.discarded.values()) for p in seen] == list(range(1, done.attempts + 1))
    assert seen[-1] == CollectProgress(12, done.discarded)


def test_a_data_set_of_a_version_that_knew_less_is_recognised_and_a_damaged_one_named(tmp_path: Path) -> None:
    collect(plan(), tmp_path / "set", toy, workers=1)
    (file,) = (tmp_path / "set").rglob("collection.json")
    history = json.loads(file.read_text())
    del history["plan"]["recovery"]
    file.write_text(json.dumps(history))
    assert collect(plan(), tmp_path / "set", toy, workers=1).existed
    with pytest.raises(DatasetError, match=r"with recovery = 0.0; requested is 0.5"):
        collect(plan(recovery=0.5), tmp_path / "set", toy, workers=1)
    for old in ({"fumbles": 0.0}, {"options": {"slips": 0.008}}):
        file.write_text(json.dumps(history | {"plan": history["plan"] | old}))
        with pytest.raises(DatasetError, match=r"written by act_eval 0\.1\.0 \((fumbles|slips)\).*name another --out"):
            collect(plan(), tmp_path / "set", toy, workers=1)
    for text in ("{", "[]", "{}"):
        file.write_text(text)
        with pytest.raises(DatasetError, match=r"collection.json is damaged: .*; name another --out"):
            collect(plan(), tmp_path / "set", toy, workers=1)


def test_a_finished_data_set_is_left_alone(tmp_path: Path) -> None:
    first = collect(plan(), tmp_path / "set", toy, workers=1)
    before = contents(tmp_path / "set")
    again = collect(plan(), tmp_path / "set", toy, workers=1)
    assert again == Collected(tmp_path / "set", 12, first.frames, first.attempts, first.discarded, existed=True)
    for changed, text in (
        (plan(13), "holds demonstrations with episodes = 12; requested is 13"),
        (plan(seed=1), "holds demonstrations with seed = 0; requested is 1"),
        (plan(options={"success": True}), r"with options = \{\}; requested is \{'success': True\}"),
    ):
        with pytest.raises(DatasetError, match=text):
            collect(changed, tmp_path / "set", toy, workers=1)
    assert contents(tmp_path / "set") == before


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="exists and was not written by collecting"):
        collect(plan(), tmp_path / "set", toy, workers=1)
    (tmp_path / "set/notes.txt").unlink()
    collect(plan(1), tmp_path / "set", toy, workers=1)  # an empty folder is nobody's


def test_another_unfinished_collection_is_refused(tmp_path: Path) -> None:
    def interrupt(progress: CollectProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(plan(), tmp_path / "set", toy, workers=1, on_progress=interrupt)
    with pytest.raises(
        DatasetError, match=r"set\.partial holds an unfinished collection with seed = 0; requested is 7"
    ):
        collect(plan(seed=7), tmp_path / "set", toy, workers=1)

    (tmp_path / "set.partial/plan.json").write_text("{")
    with pytest.raises(DatasetError, match=r"plan\.json is damaged: .* Remove the folder .*set\.partial"):
        collect(plan(), tmp_path / "set", toy, workers=1)


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"cannot collect into .*file/set\.partial: .*Not a directory"):
        collect(plan(), tmp_path / "file/set", toy, workers=1)


def test_an_expert_that_fails_stops_the_collection(tmp_path: Path) -> None:
    text = re.escape("the expert failed in 11 of 11 attempts at toy with {'success': False} (missed 11)")
    with pytest.raises(DatasetError, match=text):
        collect(plan(options={"success": False}), tmp_path / "set", partial(toy, False), workers=1)


def dying() -> Demonstrator:
    """Kills the worker that asks for it; the parent gets a toy."""
    if "SPAWNED_BY" in os.environ and os.environ["SPAWNED_BY"] != str(os.getpid()):
        os.kill(os.getpid(), signal.SIGKILL)
    os.environ["SPAWNED_BY"] = str(os.getpid())
    return toy()


def test_a_worker_that_dies_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPAWNED_BY", str(os.getpid()))
    with pytest.raises(DatasetError, match=r"a collecting process died; finished attempts are kept in .*set\.partial"):
        collect(plan(), tmp_path / "set", dying, workers=2)


def test_bad_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="episodes is 0; it must be at least 1"):
        plan(0)
    with pytest.raises(UsageError, match="seed is -1; it must be at least 0"):
        plan(seed=-1)
    with pytest.raises(UsageError, match=r"images is 'gif'; allowed: image \(PNG\), video \(H\.264\)"):
        plan(images="gif")
    with pytest.raises(UsageError, match="workers is 0; at least 1 is needed"):
        collect(plan(), tmp_path / "set", toy, workers=0)


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_script_collects_replayable_episodes_with_clean_labels(tmp_path: Path) -> None:
    """Two workers of the script write what one worker here writes, and the recorded commands replay the episode.

    The environment disturbs the commands. Given the recorded ones it must repeat every observation to the bit, which
    it does only if labels are clean and belong to the step that they are recorded at.
    """
    out = tmp_path / "set"
    done = run_script("--env", "confuser_pick", "--episodes", "3", "--out", str(out), "--action-noise", "0.03")
    assert done.returncode == 0, done.stderr
    assert "3 verified episodes" in done.stdout
    assert done.stderr == ""
    data = Demonstrations(out)
    history = data.collection()
    assert history is not None
    here = CollectPlan(**history["plan"])
    collect(here, tmp_path / "here", demonstrator_of(here), workers=1)
    assert contents(tmp_path / "here") == contents(out)
    env = gym.make(here.env, disable_env_checker=True, **here.options)
    assert data.episodes.seeds is not None
    seed, rows = int(data.episodes.seeds[1]), data.vectors(1, ["observation.state", "action", "next.success"])
    frames = {camera: data.frames(1, camera) for camera in data.cameras}
    observation, info = env.reset(seed=seed)
    for t, command in enumerate(rows["action"]):
        np.testing.assert_array_equal(observation["agent_pos"], rows["observation.state"][t])
        for camera in data.cameras:
            np.testing.assert_array_equal(observation["pixels"][camera], frames[camera][t])
        observation, _, terminated, _, info = env.step(command)
        assert info["is_success"] == rows["next.success"][t]
    assert terminated
    assert env.unwrapped.verdict().outcome == "success"
    env.close()


def test_script_continues_after_it_was_killed(tmp_path: Path) -> None:
    out, partial = tmp_path / "set", tmp_path / "set.partial"
    arguments = ["--episodes", "4", "--out", str(out), "--image-size", "32"]
    running = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while len(list(partial.glob("attempt-*.parquet"))) < 2 and time.monotonic() < deadline:
        assert running.poll() is None
        time.sleep(0.02)
    running.kill()
    running.wait()
    kept = len(list(partial.glob("attempt-*.parquet")))
    assert kept >= 2
    assert not out.exists()
    time.sleep(1.5)  # workers end with their parent: nothing is added after the attempts that were running
    assert len(list(partial.glob("attempt-*.parquet"))) <= kept + 2
    done = run_script(*arguments)
    assert done.returncode == 0, done.stderr
    again = run_script(*arguments)
    assert "already holds these 4 episodes" in again.stdout
    here = CollectPlan(**json.loads((out / "meta/collection.json").read_text())["plan"])
    collect(here, tmp_path / "whole", demonstrator_of(here), workers=1)
    assert contents(tmp_path / "whole") == contents(out)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--env", "confuser_pik"], "unknown environment 'confuser_pik'; there are: confuser_pick"),
        (["--image-size", "4"], "image_size is 4; 8 to 1280 pixels are allowed"),
        (["--episodes", "0"], "episodes is 0; it must be at least 1"),
    ],
)
def test_script_says_what_is_allowed(tmp_path: Path, arguments: list[str], text: str) -> None:
    done = run_script(*arguments, "--out", str(tmp_path / "set"))
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_comes_before_the_demonstration_is_not_recorded() -> None:
    env = ToyEnv(success=True)
    outcome, episode = Demonstrator(env, ToyExpert(env).act, ("a", "b"), begin=lambda seed: 2).attempt(6)
    whole = Demonstrator(env, ToyExpert(env).act, ("a", "b")).attempt(6)[1]
    assert outcome == "success"
    assert episode is not None
    assert whole is not None
    for key, values in whole.vectors.items():
        np.testing.assert_array_equal(episode.vectors[key], values[2:])
    for key, frames in whole.frames.items():
        np.testing.assert_array_equal(episode.frames[key], frames[2:])
    too_late = Demonstrator(env, ToyExpert(env).act, ("a", "b"), begin=lambda seed: 5)
    assert too_late.attempt(6) == ("too_short", None)


def test_recovery_is_a_share() -> None:
    with pytest.raises(UsageError, match=r"recovery is 1\.5; it is a share of the episodes, 0 to 1"):
        CollectPlan(env="act_eval/Pick-v0", recovery=1.5)
