from pathlib import Path

import av
import pytest
from made_episodes import RECORD, Bare, Hooked, T, made_film

from act_eval.video import Layout, file_name, film, wanted


def test_the_file_plays_everywhere_and_shows_what_was_drawn(tmp_path: Path):
    path = tmp_path / file_name(RECORD)
    assert film(path, Bare(), made_film(), Layout())
    assert [entry.name for entry in tmp_path.iterdir()] == ["0003_seed4348884358902_wrong_block.mp4"]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 20
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    levels = [float(frame[50:150, 50:250].mean()) for frame in shown]
    assert levels == pytest.approx([20 * t for t in range(T + 1)] + [20 * T] * 10, abs=4)
    # The index lies before the pictures, so that a browser can start before it has everything.
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_equal_episodes_give_equal_files(tmp_path: Path):
    for name in ("a.mp4", "b.mp4"):
        film(tmp_path / name, Hooked(), made_film(), Layout())
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_which_episodes_are_recorded():
    recorded = {
        mode: [o for o in ("success", "timeout", "invalid") if wanted(mode, o)] for mode in ("all", "failures", "none")
    }
    assert recorded == {"all": ["success", "timeout", "invalid"], "failures": ["timeout", "invalid"], "none": []}
