"""`--robot-meshes` through the commands: another look, the same records, and no path in what is kept."""

import json
from functools import partial
from pathlib import Path

import pytest
from made_menagerie import write_menagerie

from act_eval.cli import main
from act_eval.collect import CollectPlan, collect, expert_demonstrator
from act_eval.datasets import Demonstrations
from act_eval.sources.environments import EnvSource
from act_eval.training.data import observed_as


@pytest.fixture(scope="module")
def menagerie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_menagerie(tmp_path_factory.mktemp("menagerie"))


@pytest.fixture(scope="module")
def runs(menagerie: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same episode, with primitives and with meshes."""
    folder = tmp_path_factory.mktemp("runs")
    bare, dressed = folder / "bare", folder / "dressed"
    flags = ["evaluate", "--policy", "expert", "--env", "pick", "--seeds", "3", "--image-size", "32", "--workers", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MENAGERIE_ROOT", str(menagerie))
        assert main([*flags, "--out", str(bare)]) == 0
        assert main([*flags, "--out", str(dressed), "--robot-meshes"]) == 0
    return bare, dressed


def test_records_are_the_same_and_the_manifest_says_what_was_drawn(runs, menagerie: Path) -> None:
    records, manifests = [], []
    for run in runs:
        records.append((run / "expert" / "episodes.jsonl").read_bytes())
        manifests.append((run / "manifest.json").read_text())
    assert records[0] == records[1]
    assert b'"success"' in records[0]
    suites = [json.loads(text)["suite"] for text in manifests]
    assert suites[1]["kwargs"]["robot_meshes"] is True
    assert "robot_meshes" not in suites[0]["kwargs"]
    assert suites[0]["hash"] != suites[1]["hash"]
    assert str(menagerie) not in manifests[1]


def test_filming_again_shows_the_meshes_and_says_what_it_lacks(runs, menagerie: Path, tmp_path, monkeypatch, capsys):
    _, dressed = runs
    (video,) = (dressed / "expert" / "videos").glob("*.mp4")
    recorded = video.read_bytes()
    again = ["render", str(dressed), "--episodes", "all", "--size", "256", "--workers", "1"]
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path))  # first, because a process keeps the environment that it made
    capsys.readouterr()
    assert main([*again, "--out", str(tmp_path / "without")]) == 2
    assert "robot_meshes: there is no" in capsys.readouterr().err
    monkeypatch.setenv("MENAGERIE_ROOT", str(menagerie))
    assert main([*again, "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / video.name).read_bytes() == recorded


def test_runs_with_and_without_meshes_are_not_paired(runs, capsys) -> None:
    capsys.readouterr()
    assert main(["compare", *map(str, runs)]) != 0
    error = capsys.readouterr().err
    assert "used different suites" in error
    assert "suite.kwargs.robot_meshes: (absent) against true" in error


def test_training_looks_at_what_its_demonstrations_show(menagerie: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MENAGERIE_ROOT", str(menagerie))
    data = {}
    for meshes in (False, True):
        options = {"image_size": 16} | ({"robot_meshes": True} if meshes else {})
        plan = CollectPlan(env="act_eval/Pick-v0", options=options, episodes=1)
        make = partial(expert_demonstrator, EnvSource(env_id=plan.env, options=options))
        data[meshes] = Demonstrations(collect(plan, tmp_path / str(meshes), make, workers=1).root)
    assert observed_as([data[True]]) == {"robot_meshes": True}
    assert observed_as([data[True], data[False]]) == {}
