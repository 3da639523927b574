"""Collecting and training in environments that are not built in: their own expert demonstrates and corrects."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_envs import GuidedWalk

from act_eval.cli import main
from act_eval.collect import CollectPlan, collect, expert_demonstrator, plan_of
from act_eval.collect.corrections import corrector
from act_eval.config import EnvDeclaration
from act_eval.datasets import Demonstrations
from act_eval.errors import DatasetError, UsageError
from act_eval.sources.environments import env_source
from act_eval.timing import parse_delay

ENV = "toy_envs:GuidedWalk"
TINY = (
    *("--model.dim-model", "16", "--model.n-heads", "2", "--model.dim-feedforward", "16", "--model.no-use-vae"),
    *(
        "--model.chunk-size",
        "6",
        "--model.n-action-steps",
        "3",
        "--model.n-encoder-layers",
        "1",
        "--model.backbone-widths",
        "8",
    ),
    *("--model.rtc-max-delay", "2", "--threads", "1", "--batch-size", "4", "--cameras", "top"),
)


def collected(out: Path, *options: str, env: str = ENV, policy: str | None = None, **plan) -> Demonstrations:
    declared = EnvDeclaration(env_options=options, horizon=30)
    source = env_source(env, {}, declared, film=False)
    make, whom = partial(expert_demonstrator, source), None
    if policy is not None:
        whom, make = corrector(policy, source, "naive", 3, parse_delay("uniform:0,2"), 0.3)
    plan = {"episodes": 4, **plan_of(source, declared), **plan}
    collect(CollectPlan(corrections=whom, **plan), out, make, workers=1)
    return Demonstrations(out)


def test_a_demonstration_is_what_the_hook_commands(tmp_path: Path) -> None:
    data = collected(tmp_path / "set", "reach=0.9")
    history = data.collection()
    assert history is not None
    assert history["plan"]["env"] == ENV
    assert history["plan"]["options"] == {"reach": 0.9}
    assert data.fps == 20
    assert data.features["action"].names == ("action_0", "action_1")
    assert data.features["observation.environment_state"].names == ("environment_state_0", "environment_state_1")
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert info["robot_type"] == ENV
    assert data.episodes.seeds is not None
    for episode, seed in enumerate(data.episodes.seeds.tolist()):
        rows = data.vectors(episode, ["observation.state", "action"])
        env = GuidedWalk(30, 0.9)
        env.reset(seed=seed % 2**32)
        for state, action in zip(rows["observation.state"], rows["action"], strict=True):
            assert state.tolist() == env.position.astype(np.float32).tolist()
            assert action.tolist() == env.expert_action().tolist()
            *_, ended, _, info = env.step(action)
        assert ended
        assert info["is_success"]


def test_a_correction_is_what_the_expert_does_in_a_fork(tmp_path: Path) -> None:
    data = collected(tmp_path / "set", policy="toy_envs:Wanderer")
    rows = data.vectors(0, ["correction", "correction_length", "correction_delay", "last_action", "episode_step"])
    assert rows["correction"].shape[1] == 2 * (6 + 2)
    assert set(rows["correction_delay"].ravel().tolist()) == {0, 1, 2}
    goal = data.vectors(0, ["observation.environment_state"])["observation.environment_state"]
    for number, length in enumerate(rows["correction_length"].ravel().tolist()):
        window = rows["correction"][number].reshape(-1, 2)
        delay = int(rows["correction_delay"].ravel()[number])
        shown = window[delay:length]
        assert len(shown)
        assert shown == pytest.approx(np.clip(goal[number], -1, 1)[None].repeat(len(shown), 0))
        if delay and rows["episode_step"].ravel()[number]:
            assert not np.allclose(window[:delay], np.clip(goal[number], -1, 1))


def test_workers_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    for workers in (1, 2):
        assert (
            main(
                [
                    "collect",
                    "--env",
                    ENV,
                    "--horizon",
                    "30",
                    "--episodes",
                    "5",
                    "--out",
                    f"{tmp_path}/{workers}",
                    "--workers",
                    str(workers),
                ]
            )
            == 0
        )
    here, there = (
        {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        for name in "12"
    )
    assert here == there


def test_corrections_at_the_end_of_an_episode_stop_there_and_an_expert_that_raises_is_named(tmp_path: Path) -> None:
    data = collected(tmp_path / "set", "reach=0.0", "strict=true", policy="toy_envs:Wanderer")
    rows = data.vectors(0, ["correction_length", "correction_delay", "episode_step"])
    left = 30 - rows["episode_step"].ravel()
    assert rows["correction_length"].ravel().tolist() == np.minimum(rows["correction_delay"].ravel() + 6, left).tolist()
    with pytest.raises(UsageError, match=r"expert_action raised ValueError: lost \(.*toy_envs\.py"):
        collected(tmp_path / "other", "reach=-1.0", policy="toy_envs:Wanderer")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_with_a_killed_parent_while_users_code_runs(tmp_path: Path) -> None:
    command = [
        "collect",
        "--env",
        ENV,
        "--horizon",
        "30",
        "--env-options",
        "pause_s=0.2",
        "--out",
        str(tmp_path / "set"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    parent = subprocess.Popen([sys.executable, "-m", "act_eval", *command], env=environment, stdout=subprocess.DEVNULL)
    try:
        children = awaited(lambda: workers_of(parent.pid) if list(tmp_path.glob("set.partial/attempt*")) else [])
    finally:
        parent.kill()
        parent.wait()
    assert len(children) == 2
    awaited(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), patience_s=10)


def workers_of(pid: int) -> list[str]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def awaited(found: Callable[[], Any], patience_s: float = 60) -> Any:
    until = time.monotonic() + patience_s
    while not (result := found()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return result


def test_an_expert_that_does_not_get_there_is_no_expert(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"the expert failed in \d+ of \d+ attempts at toy_envs:GuidedWalk"):
        collected(tmp_path / "set", "reach=0.0")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--env", "toy_envs:HookedWalk", "--horizon", "9"], "has no scripted expert: it lacks the hook expert_action"),
        (["--env", ENV, "--confusers", "1", "--image-size", "64"], "--image-size, --confusers: for the built-in"),
        (["--env", ENV, "--max-yaw", "0"], "--max-yaw: for the built-in environments"),
        (["--env", ENV, "--recovery", "0.5"], "--recovery: for the built-in environments"),
        (["--env", ENV, "--env-options", "reech=1", "--horizon", "9"], r"does not take the options \{'reech': 1\}"),
        (["--env", "pick", "--env-python", sys.executable], "pick is built in, and collected in this Python"),
        (["--env", "metaworld:push"], "did you mean push-v3|needs the package of 'metaworld'"),
    ],
)
def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert main(["collect", *words, "--out", str(tmp_path / "set"), "--workers", "1"]) == 2
    assert re.search(message, capsys.readouterr().err.replace("\n", " "))


def test_training_collects_evaluates_and_corrects_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    words = [
        "--env",
        ENV,
        "--env-options",
        "reach=0.9",
        "--horizon",
        "20",
        "--episodes",
        "6",
        "--correction-rounds",
        "1",
    ]
    rounds = ["--correction-episodes", "2", "--correction-steps", "2", "--correction-delay", "uniform:0,2"]
    loop = ["--steps", "2", "--evaluate-every", "2", "--evaluate-episodes", "2", "--evaluate-delays", "0", "2"]
    assert main(["train", "--policy", "act_rtc", *words, *rounds, *loop, *TINY, "--out", "out"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("closed loop success_d0") == 2
    assert f"--env {ENV} --env-options reach=0.9 --horizon 20" in shown
    assert Demonstrations(Path("data/GuidedWalk")).total_frames
    assert Demonstrations(Path("out/round_1/GuidedWalk")).holds_corrections
