import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from act_eval.encoding import encode_line
from act_eval.errors import RunFolderError
from act_eval.results.records import ShardLine, ShardWriter, merge, read_episodes, read_shard, write_atomically
from act_eval.types import OUTCOMES, EpisodeRecord, Timing

SEEDS = (11, 12, 13)


def line(episode: int, condition: str = "a", **changes) -> ShardLine:
    record = EpisodeRecord(
        episode=episode, seed=11 + episode, outcome="success", steps=100 + episode, grasp_choice=1 / 3, **changes
    )
    return ShardLine(condition=condition, record=record, timing=Timing(episode=episode, wall_s=0.5, worker=1))


def test_outcomes_are_those_of_the_design_in_their_order():
    assert OUTCOMES == (
        "invalid", "policy_error", "success", "wrong_block", "dropped", "between", "missed", "timeout"
    )  # fmt: skip


def test_a_line_has_its_keys_in_order_and_mappings_sorted():
    record = line(0, detail={"z": np.float64(0.25), "a": {"y": 1, "b": np.int64(2)}}).record
    assert encode_line(record) == (
        '{"episode":0,"seed":11,"outcome":"success","steps":100,"stopped_steps":0,'
        '"grasp_choice":0.3333333333333333,"chunk_switches":0,"underrun_steps":0,"requests":0,'
        '"detail":{"a":{"b":2,"y":1},"z":0.25},"error":null}\n'
    )


def test_a_number_that_json_cannot_hold_is_refused():
    with pytest.raises(RunFolderError, match=r"EpisodeRecord\.detail\.x\[1\] is nan; a record holds finite numbers"):
        encode_line(line(0, detail={"x": [1.0, float("nan")]}).record)
    with pytest.raises(
        RunFolderError, match=r"EpisodeRecord\.detail\.seen is a ndarray; a record holds finite numbers"
    ):
        encode_line(line(0, detail={"seen": np.zeros(3)}).record)


def test_what_is_written_is_read(tmp_path: Path):
    lines = [line(2), line(0, detail={"k": [1.5, None, "ü"]}, error='it said "no"\n')]
    with ShardWriter(tmp_path / "0.jsonl") as shard:
        for one in lines:
            shard.write(one)
    assert list(read_shard(tmp_path / "0.jsonl")) == lines


def test_a_line_whose_writing_was_interrupted_is_there_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lines = [line(0), line(1), line(0)]

    synced: list[int] = []

    def interrupted(_: int) -> None:
        synced.append(1)
        if len(synced) % 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("act_eval.results.records.os.fsync", interrupted)
    with ShardWriter(tmp_path / "0.jsonl") as shard:
        for one in lines:
            with pytest.raises(KeyboardInterrupt):
                shard.write(one)
            shard.write(one)
    assert list(read_shard(tmp_path / "0.jsonl")) == lines


def test_a_shard_is_never_written_over(tmp_path: Path):
    (tmp_path / "0.jsonl").touch()
    with pytest.raises(FileExistsError):
        ShardWriter(tmp_path / "0.jsonl")


def test_a_truncated_last_line_is_dropped_wherever_it_breaks(tmp_path: Path):
    first, second = encode_line(line(0)).encode(), encode_line(line(1)).encode()
    path = tmp_path / "0.jsonl"
    for length in range(len(second)):
        path.write_bytes(first + second[:length])
        assert list(read_shard(path)) == [line(0)]
    path.write_bytes(first + second)
    assert list(read_shard(path)) == [line(0), line(1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{oops\n", "line 2 is damaged: not JSON"),
        ("[1]\n", "line 2 is damaged: it is a list with 1 entries; it must be an object"),
        ('{"condition":"a"}\n', "line 2 is damaged: record is missing; .* If another version started this run"),
        (encode_line(line(1)).replace("success", "ok"), "line 2: outcome is 'ok'; there are: invalid, policy_error"),
        (
            encode_line(line(1)).replace('"steps":101,', ""),
            "line 2 is damaged: record.steps is missing; the fields are episode, seed, outcome, steps",
        ),
    ],
)
def test_damage_before_the_last_line_is_named(tmp_path: Path, text: str, message: str):
    path = tmp_path / "0.jsonl"
    path.write_text(encode_line(line(0)) + text)
    with pytest.raises(RunFolderError, match=message):
        list(read_shard(path))


def test_merging_gives_suite_order_whatever_the_order_of_the_shards():
    lines = [line(2), line(0), line(0, condition="b"), line(1)]
    for order in (lines, lines[::-1]):
        assert merge(order, "a", SEEDS) == [line(0), line(1), line(2)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([line(0), line(2)], "condition a: 1 of 3 episodes are missing: 1"),
        ([], "condition a: 3 of 3 episodes are missing: 0, 1, 2"),
        ([line(0), line(1), line(1), line(2)], "condition a: duplicated episodes: 1"),
        ([line(i) for i in range(4)], "condition a: episode 3 is not in the suite of 3 episodes"),
        (
            [replace(line(0), record=replace(line(0).record, seed=7))],
            "condition a: episode 0 ran with seed 7; the suite has 11",
        ),
    ],
)
def test_merging_refuses_whatever_does_not_cover_the_suite_once(lines: list[ShardLine], message: str):
    with pytest.raises(RunFolderError) as refusal:
        merge(lines, "a", SEEDS)
    assert str(refusal.value) == message


def test_a_finished_file_is_read_or_its_damage_named(tmp_path: Path):
    path = tmp_path / "episodes.jsonl"
    records = [line(0).record, line(1).record]
    text = "".join(encode_line(record) for record in records)
    write_atomically(path, text.encode())
    assert read_episodes(path) == records
    assert list(tmp_path.iterdir()) == [path]

    path.write_text(text[:-1])
    with pytest.raises(RunFolderError, match=r"episodes.jsonl is truncated; delete it and repeat"):
        read_episodes(path)
    path.write_text("".join(encode_line(record) for record in reversed(records)))
    with pytest.raises(RunFolderError, match="line 1: episode is 1; it must be 0"):
        read_episodes(path)
    with pytest.raises(RunFolderError, match="is missing: the run has not finished"):
        read_episodes(tmp_path / "none.jsonl")


def test_lines_are_json_for_other_readers():
    assert json.loads(encode_line(line(1)))["record"]["grasp_choice"] == 1 / 3
