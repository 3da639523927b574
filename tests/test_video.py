from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from act_eval.types import EpisodeRecord
from act_eval.video import HOLD_FRAMES, Caption, episode_frames, file_name, wanted, write_video

RECORD = EpisodeRecord(episode=3, seed=4348884358902, outcome="wrong_block", steps=4)
CAPTION = Caption(title="confuser_pick", steps=[f"step {t}" for t in range(5)], record=RECORD)
STATES = np.arange(5, dtype=np.float64)[:, None]
LEVEL = {"review": 0, "overhead": 10, "wrist": 20}


def render(state: np.ndarray, camera: str, height: int, width: int) -> np.ndarray:
    """A flat image whose brightness tells the state and the camera."""
    return np.full((height, width, 3), 40 * state[0] + LEVEL[camera], np.uint8)


def test_every_state_is_shown_by_every_camera_and_the_last_is_held_for_half_a_second():
    frames = [frame.copy() for frame in episode_frames(STATES, render, CAPTION)]
    assert HOLD_FRAMES == 10
    assert [int(frame[150, 100, 0]) for frame in frames] == [0, 40, 80, 120] + [160] * 11
    for frame in frames:
        assert frame.shape == (272, 440, 3)
        assert frame[60, 400, 0] == frame[150, 100, 0] + 10
        assert frame[240, 400, 0] == frame[150, 100, 0] + 20


def test_the_strip_tells_the_step_and_the_outcome():
    def strip(record: EpisodeRecord) -> list[np.ndarray]:
        return [f[:32].copy() for f in episode_frames(STATES, render, replace(CAPTION, record=record))]

    wrong = strip(RECORD)
    assert (wrong[0] != wrong[1]).any()
    assert (wrong[4] == wrong[-1]).all()
    right = strip(replace(RECORD, outcome="success"))
    assert all(
        (a[:16] == b[:16]).all() and (a[16:, 300:] != b[16:, 300:]).any() for a, b in zip(wrong, right, strict=True)
    )


def test_a_caption_for_other_states_is_refused():
    with pytest.raises(ValueError, match="shorter"):
        list(episode_frames(np.zeros((6, 1)), render, CAPTION))


def test_the_file_plays_everywhere_and_shows_what_was_drawn(tmp_path: Path):
    path = tmp_path / file_name(RECORD)
    write_video(path, episode_frames(STATES, render, CAPTION))
    assert [entry.name for entry in tmp_path.iterdir()] == ["0003_seed4348884358902_wrong_block.mp4"]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 20
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    levels = [float(frame[100:200, 50:250].mean()) for frame in shown]
    assert levels == pytest.approx([0, 40, 80, 120] + [160] * 11, abs=4)
    # The index lies before the pictures, so that a browser can start before it has everything.
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_equal_frames_give_equal_files(tmp_path: Path):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, episode_frames(STATES, render, CAPTION))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_which_episodes_are_recorded():
    recorded = {
        mode: [o for o in ("success", "timeout", "invalid") if wanted(mode, o)] for mode in ("all", "failures", "none")
    }
    assert recorded == {"all": ["success", "timeout", "invalid"], "failures": ["timeout", "invalid"], "none": []}
