import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from act_eval.errors import RunFolderError
from act_eval.results import Manifest, fingerprint, notes, open_run
from act_eval.results.records import ShardLine, ShardWriter
from act_eval.results.suites import Suite
from act_eval.types import EpisodeRecord, Timing

SUITE = Suite(env="act_eval/Pick-v0", kwargs={}, horizon=200, facts={}, seeds=(5, 6))
MANIFEST = Manifest(
    suite=SUITE,
    configuration={"policy": {"name": "p"}, "conditions": {"d0": {"delay": 0}, "d4": {"delay": 4}}},
    fingerprint=fingerprint(threads=1, renderer="llvmpipe"),
    notes=notes(workers=2),
)


def shard_line(condition: str, episode: int) -> ShardLine:
    record = EpisodeRecord(episode=episode, seed=SUITE.seeds[episode], outcome="success", steps=9)
    return ShardLine(condition=condition, record=record, timing=Timing(episode=episode, wall_s=1.0))


def write_shard(path: Path, *lines: ShardLine) -> None:
    with ShardWriter(path) as shard:
        for line in lines:
            shard.write(line)


def test_a_run_is_interrupted_resumed_and_merged(tmp_path: Path):
    out = tmp_path / "run"
    with open_run(out, MANIFEST) as run:
        assert run.done() == {"d0": set(), "d4": set()}
        write_shard(run.new_shards(1)[0], shard_line("d4", 1), shard_line("d0", 0))
        with pytest.raises(RunFolderError, match="condition d0: 1 of 2 episodes are missing: 1"):
            run.finish()
    later = replace(MANIFEST, notes=notes(workers=1))
    with open_run(out, later) as run:
        assert run.done() == {"d0": {0}, "d4": {1}}
        write_shard(run.new_shards(1)[0], shard_line("d4", 0), shard_line("d0", 1))
        records = run.finish()
    assert {condition: [r.episode for r in rs] for condition, rs in records.items()} == {"d0": [0, 1], "d4": [0, 1]}
    assert list((out / "shards").iterdir()) == []
    assert Manifest.read(out) == MANIFEST
    with open_run(out, MANIFEST) as run:
        assert run.done() == {"d0": {0, 1}, "d4": {0, 1}}
        assert run.finish() == records


def test_a_merge_that_was_interrupted_between_two_conditions_is_taken_up(tmp_path: Path):
    with open_run(tmp_path, MANIFEST) as run:
        write_shard(run.new_shards(1)[0], *(shard_line(condition, i) for condition in ("d0", "d4") for i in range(2)))
        shard = next((tmp_path / "shards").iterdir())
        kept = shard.read_bytes()
        records = run.finish()
        (tmp_path / "d4" / "episodes.jsonl").unlink()
        shard.write_bytes(kept)
        assert run.done() == {"d0": {0, 1}, "d4": {0, 1}}
        assert run.finish() == records


def test_shards_get_new_names(tmp_path: Path):
    with open_run(tmp_path, MANIFEST) as run:
        first, second = run.new_shards(2)
        second.touch()
        (third,) = run.new_shards(1)
        assert first.name < second.name < third.name


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"suite": replace(SUITE, seeds=(5, 7))}, "  suite.seeds: entry 1 is 6 against 7"),
        (
            {"configuration": {"policy": {"name": "q"}, "conditions": MANIFEST.configuration["conditions"]}},
            "  configuration.policy.name: p against q",
        ),
        (
            {"configuration": {"policy": {"name": "p"}, "conditions": {"d0": {"delay": 0}}}},
            '  configuration.conditions.d4: {"delay": 4} against (absent)',
        ),
        ({"fingerprint": {**MANIFEST.fingerprint, "mujoco": "9.9"}}, "against 9.9"),
    ],
)
def test_another_run_is_refused_by_what_differs_and_left_alone(tmp_path: Path, change: dict, line: str):
    with open_run(tmp_path, MANIFEST):
        pass
    before = (tmp_path / "manifest.json").read_bytes()
    with (
        pytest.raises(RunFolderError, match="holds another run") as refusal,
        open_run(tmp_path, replace(MANIFEST, **change)),
    ):
        pass
    differing = str(refusal.value).splitlines()[1:-1]
    assert len(differing) == 1
    assert differing[0].endswith(line)
    assert (tmp_path / "manifest.json").read_bytes() == before


def test_a_folder_with_other_things_is_refused(tmp_path: Path):
    (tmp_path / "thesis.tex").touch()
    with (
        pytest.raises(RunFolderError, match=r"is not a run folder and holds thesis.tex; choose another --out"),
        open_run(tmp_path, MANIFEST),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"schema": 2}', "is damaged"),
        ('{"schema": 99}', "has schema 99; this version reads schema 2"),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str, message: str):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(RunFolderError, match=message):
        Manifest.read(tmp_path)


def test_a_manifest_whose_suite_was_edited_is_refused(tmp_path: Path):
    values = MANIFEST.to_json()
    values["suite"]["horizon"] = 100
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(RunFolderError, match=r"suite is damaged: its fields hash to"):
        Manifest.read(tmp_path)


def test_a_folder_without_a_manifest_is_no_run_folder(tmp_path: Path):
    with pytest.raises(RunFolderError, match=r"is not a run folder: it has no manifest.json"):
        Manifest.read(tmp_path)


def test_two_processes_cannot_own_one_folder(tmp_path: Path):
    hold = (
        "import sys, pathlib; sys.path[:0] = sys.argv[2:]\n"
        "from test_runs import MANIFEST, open_run\n"
        "with open_run(pathlib.Path(sys.argv[1]), MANIFEST):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", hold, str(tmp_path), str(Path(__file__).parent), str(Path(__file__).parents[1])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunFolderError, match="is in use by another process"), open_run(tmp_path, MANIFEST):
            pass
        other.kill()
    with open_run(tmp_path, MANIFEST) as run:
        assert run.done() == {"d0": set(), "d4": set()}


def with_conditions(*delays: int) -> Manifest:
    conditions = {f"d{delay}": {"delay": delay} for delay in delays}
    return replace(MANIFEST, configuration={**MANIFEST.configuration, "conditions": conditions}, notes=notes(workers=3))


def test_conditions_may_be_added_and_keep_what_is_there(tmp_path: Path):
    with open_run(tmp_path, MANIFEST) as run:
        write_shard(run.new_shards(1)[0], *(shard_line(condition, i) for condition in ("d0", "d4") for i in range(2)))
        before = run.finish()
    with open_run(tmp_path, with_conditions(0, 2, 4), may_grow=True) as run:
        assert run.done() == {"d0": {0, 1}, "d2": set(), "d4": {0, 1}}
        write_shard(run.new_shards(1)[0], shard_line("d2", 0), shard_line("d2", 1))
        after = run.finish()
    assert {condition: after[condition] for condition in before} == before
    manifest = Manifest.read(tmp_path)
    assert manifest.conditions == ("d0", "d2", "d4")
    assert manifest.notes["workers"] == 2
    assert [grown["workers"] for grown in manifest.notes["grown"]] == [3]
    with open_run(tmp_path, with_conditions(0, 2, 4), may_grow=True):
        assert Manifest.read(tmp_path) == manifest


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        (with_conditions(0, 2), '  configuration.conditions.d4: {"delay": 4} against (absent)'),
        (replace(with_conditions(0, 2, 4), suite=replace(SUITE, seeds=(5,))), "  suite.seeds: 2 entries against 1"),
    ],
)
def test_a_growing_run_keeps_its_conditions_and_its_suite(tmp_path: Path, wanted: Manifest, line: str):
    with open_run(tmp_path, MANIFEST):
        pass
    with pytest.raises(RunFolderError, match="holds another run") as refusal, open_run(tmp_path, wanted, may_grow=True):
        pass
    assert str(refusal.value).splitlines()[1:-1] == [line]
    assert Manifest.read(tmp_path) == MANIFEST
