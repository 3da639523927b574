"""Shipping a policy: half precision, a page with the training command and measured rates, no silent replacement."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from act_eval.cli import publish
from act_eval.encoding import encode_line
from act_eval.errors import CheckpointError, RunFolderError, UsageError
from act_eval.policies.act.presets import features, small_act
from act_eval.policies.checkpoint import fresh_policy, load_pretrained, save_pretrained
from act_eval.policies.normalize import Processor
from act_eval.results import SCHEMA
from act_eval.results.suites import Suite
from act_eval.sources.network_sources import digest
from act_eval.types import EpisodeRecord

TRAINING = {
    "command": "python scripts/train.py --policy act",
    "steps": 70,
    "seconds": 90.0,
    "threads": 2,
    "versions": {"torch": "2.0"},
    "data": {
        "folder": "data/pick",
        "episodes": 19,
        "held_out": 1,
        "collection": {"env": "act_eval/Pick-v0", "options": {"image_size": 96}, "seed": 3},
    },
}


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(publish, "SHIPPED", tmp_path / "pretrained")
    return tmp_path / "pretrained"


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    config = small_act(features({"top": (16, 16)}), dim_model=16, n_heads=2, dim_feedforward=16, backbone_widths=(8,))
    numbers = {"mean": [0.0] * 6, "std": [1.0] * 6}
    image = {"mean": [[[0.5]]] * 3, "std": [[[0.2]]] * 3}
    place = {"mean": [0.0] * 2, "std": [1.0] * 2}
    stats = dict(zip([*config.input_features, "action"], (numbers, place, image, numbers), strict=True))
    folder = tmp_path / "run" / "checkpoints" / "last" / "pretrained_model"
    save_pretrained(folder, fresh_policy(config), Processor(config, stats), extra={"training": TRAINING})
    return tmp_path / "run"


def evaluated(folder: Path, policy_digest: str, outcomes: list[str]) -> Path:
    suite = Suite(env="act_eval/Pick-v0", kwargs={}, horizon=200, facts={}, seeds=tuple(range(len(outcomes))))
    manifest = {
        "schema": SCHEMA,
        "suite": suite.to_json(),
        "configuration": {"policy": {"digest": policy_digest}, "conditions": {"naive_d0": {}}},
        "fingerprint": {},
        "notes": {},
    }
    (folder / "naive_d0").mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    records = [EpisodeRecord(episode=n, seed=n, outcome=o, steps=9) for n, o in enumerate(outcomes)]
    (folder / "naive_d0" / "episodes.jsonl").write_text("".join(encode_line(record) for record in records))
    return folder


def test_a_run_becomes_a_shipped_policy_of_half_the_size(
    trained: Path, shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish.run(["tiny", "--checkpoint", str(trained)], prog="act-eval publish") == 0
    source = trained / "checkpoints/last/pretrained_model"
    weights = "model.safetensors"
    assert (shipped / "tiny" / weights).stat().st_size < 0.6 * (source / weights).stat().st_size
    before, after = load_pretrained(source)[0].state_dict(), load_pretrained(shipped / "tiny")[0].state_dict()
    for name, value in before.items():
        assert torch.allclose(after[name], value, rtol=1e-3, atol=1e-6), name
    page = (shipped / "tiny" / "README.md").read_text()
    assert "python scripts/train.py --policy act\n" in page
    assert "19 demonstrations of `data/pick` (act_eval/Pick-v0; image_size 96; seed 3), 1 more held out" in page
    assert "70 steps in 2 min on 2 threads" in page
    assert "Nothing yet." in page
    assert "act-eval evaluate --policy tiny --episodes 200" in capsys.readouterr().out


def test_the_page_tells_the_rounds_of_a_training_one_after_the_other(
    trained: Path, shipped: Path, tmp_path: Path
) -> None:
    extra = trained / "checkpoints/last/pretrained_model/act_eval.json"
    rounds, before = [], str(extra.parent)
    for number in (1, 2):
        plan = {"env": "act_eval/Pick-v1", "options": {}, "seed": number, "corrections": {"policy": before}}
        part = {"folder": f"round_{number}/pick", "episodes": 9, "held_out": 1, "collection": plan}
        rounds.append(part)
        training = TRAINING | {"command": "train --correction-rounds 2", "data": list(rounds)}
        place = tmp_path / f"round_{number}" / "pretrained_model"
        shutil.copytree(extra.parent, place)
        settings = {"settings": {"init_from": before}}
        (place / "act_eval.json").write_text(json.dumps({"training": training | settings}))
        before = str(place)
    assert publish.run(["tiny", "--checkpoint", before], prog="act-eval publish") == 0
    page = (shipped / "tiny" / "README.md").read_text()
    assert page.count("train --correction-rounds 2\n") == 1
    assert f"- data: corrections of 9 rollouts of {extra.parent} in `round_1/pick` (act_eval/Pick-v1; seed 1)" in page
    assert "The next round of the same command:\n- data: corrections of 9 rollouts of" in page
    assert page.count("`round_1/pick`") == 1
    assert "- data: and 1 of those above" in page


def test_measured_rates_stand_on_the_page_with_their_interval(trained: Path, shipped: Path, tmp_path: Path) -> None:
    publish.run(["tiny", "--checkpoint", str(trained)], prog="act-eval publish")
    outcomes = ["success"] * 8 + ["missed", "timeout", "invalid"]
    place = evaluated(tmp_path / "evaluation", digest(shipped / "tiny"), outcomes)
    publish.run(["tiny", "--runs", str(place)], prog="act-eval publish")
    page = (shipped / "tiny" / "README.md").read_text()
    # Wilson's interval of 8 of 10: 0.490 to 0.943 (Brown, Cai, DasGupta 2001)
    assert "| naive_d0 | 8/10 = 80.0% | 49.0% – 94.3% | 1 invalid, 1 missed, 1 timeout |" in page


def test_rates_of_another_policy_are_refused(trained: Path, shipped: Path, tmp_path: Path) -> None:
    publish.run(["tiny", "--checkpoint", str(trained)], prog="act-eval publish")
    place = evaluated(tmp_path / "evaluation", "0" * 16, ["success"])
    with pytest.raises(RunFolderError, match="evaluated another policy: digest 0000000000000000, this one has"):
        publish.run(["tiny", "--runs", str(place)], prog="act-eval publish")


def test_a_shipped_policy_is_replaced_only_on_request(trained: Path, shipped: Path) -> None:
    publish.run(["tiny", "--checkpoint", str(trained)], prog="act-eval publish")
    with pytest.raises(UsageError, match="exists; --replace overwrites it"):
        publish.run(["tiny", "--checkpoint", str(trained)], prog="act-eval publish")
    assert publish.run(["tiny", "--checkpoint", str(trained), "--replace"], prog="act-eval publish") == 0


def test_what_is_no_checkpoint_is_refused(trained: Path, shipped: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is neither a pretrained_model folder nor the folder of a training run"):
        publish.run(["tiny", "--checkpoint", str(tmp_path)], prog="act-eval publish")
    with pytest.raises(CheckpointError, match=r"config\.json does not exist"):
        publish.run(["tiny"], prog="act-eval publish")
    (trained / "checkpoints/last/pretrained_model/act_eval.json").unlink()
    with pytest.raises(CheckpointError, match="has no training record"):
        publish.run(["tiny", "--checkpoint", str(trained)], prog="act-eval publish")
