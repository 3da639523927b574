"""Checkpoints of the hub: from its cache without a network, and in words where they cannot be had."""

import subprocess
import sys
from pathlib import Path

import pytest
from untrained import write_checkpoint

from act_eval.errors import CheckpointError, UnknownName
from act_eval.sources.hub import is_hub_id
from act_eval.sources.network_sources import label
from act_eval.sources.policies import checkpoint_folder

LOOK = "import sys; from act_eval.sources.policies import checkpoint_folder; print(checkpoint_folder(sys.argv[1]))"


def look(name: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """Look a policy up in a process without a network: what the hub's package reads at its import is set there."""
    environment = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "HF_HOME": str(cache), "PATH": ""}
    return subprocess.run(
        [sys.executable, "-c", LOOK, name], capture_output=True, text=True, env=environment, check=False
    )


def cached(cache: Path) -> Path:
    """Write a checkpoint as the hub's package keeps one that it fetched."""
    repo = cache / "models--robots--act-tiny"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0" * 40)
    return write_checkpoint(repo / "snapshots" / ("0" * 40), "act")


def test_what_was_fetched_before_is_found_without_a_network(tmp_path: Path):
    folder = cached(tmp_path)
    assert look("robots/act-tiny", tmp_path).stdout.strip() == str(folder)
    assert look("robots/act-tiny@main", tmp_path).stdout.strip() == str(folder)


def test_what_cannot_be_fetched_is_named_with_the_way_out(tmp_path: Path):
    error = look("robots/unseen", tmp_path).stderr
    assert "CheckpointError: there is no folder robots/unseen here, and as a hub id it could not be fetched" in error
    assert "Without a network, pass the path of a downloaded folder" in error
    (cached(tmp_path) / "config.json").unlink()
    assert (
        "robots/act-tiny of the hub is no checkpoint: it has no config.json" in look("robots/act-tiny", tmp_path).stderr
    )


def test_without_the_hubs_package_that_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CheckpointError, match=r"robots/act-tiny here, .*: huggingface_hub is not installed"):
        checkpoint_folder("robots/act-tiny")


def test_a_folder_comes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "robots" / "act-tiny", "act")
    assert checkpoint_folder("robots/act-tiny") == Path("robots/act-tiny")


def test_what_is_no_hub_id_never_asks_the_hub():
    assert is_hub_id("a/b")
    assert is_hub_id("a-b/c.d@v1.0")
    for name in ("a", "a/b/c", "/a/b", "./a", "../a", "a/", "a/b@", "a b/c"):
        assert not is_hub_id(name)
    with pytest.raises(UnknownName, match=r"unknown policy 'runs/x/y'; there are: .*a hub id \(org/name\)"):
        checkpoint_folder("runs/x/y")
    assert label("robots/act-tiny") == "act-tiny"
