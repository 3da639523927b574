"""What an actor hands over of its episodes, without a cluster."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
from toy_bench import SEEDS, Bench, job

from act_eval.launch import Block

pytest.importorskip("ray")


@pytest.mark.filterwarnings("ignore")  # Ray's own warnings are not ours to mend
def test_videos_that_are_still_encoded_are_left_to_a_later_episode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from act_eval.launch.ray import _run  # pyright: ignore[reportPrivateUsage]

    encode = av.VideoFrame.from_numpy_buffer

    def late(*args: Any, **options: Any) -> Any:
        time.sleep(0.005)
        return encode(*args, **options)

    monkeypatch.setattr("act_eval.media.av.VideoFrame.from_numpy_buffer", late)
    episodes = tuple(range(len(SEEDS)))
    handed = list(_run(replace(job(tmp_path), video="all"), Bench(3), Block("d0", episodes)))
    assert sorted(one.line.record.episode for one in handed) == list(episodes)
    seen: set[str] = set()
    for one in handed:
        seen.update(one.files)
        number = f"{one.line.record.episode:04d}"
        assert f"d0/steps/{number}.npz" in seen
        assert any(place.startswith(f"d0/videos/{number}_") for place in seen), "a line without its video"
    assert len(seen) == 2 * len(episodes)
    assert all(place.endswith((".npz", ".mp4")) for place in seen)
