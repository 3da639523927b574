import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import av.error as av_error
import numpy as np
import pytest
from av.codec.codec import UnknownCodecError
from made_episodes import RECORD, Bare, Hooked, T, made_film

from act_eval.errors import RenderError
from act_eval.results.run import video_name
from act_eval.video import Encoder, Layout, film, should_record
from act_eval.video.files import _Batches  # pyright: ignore[reportPrivateUsage]


def test_the_file_plays_everywhere_and_shows_what_was_drawn(tmp_path: Path):
    path = tmp_path / video_name(RECORD)
    with Encoder() as encoder:
        assert film(path, Bare(), made_film(), Layout(), encoder)
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
    with Encoder() as encoder:
        for name in ("a.mp4", "b.mp4"):
            film(tmp_path / name, Hooked(), made_film(), Layout(), encoder)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_which_episodes_are_recorded():
    recorded = {
        mode: [o for o in ("success", "timeout", "invalid") if should_record(mode, o)]
        for mode in ("all", "failures", "none")
    }
    assert recorded == {"all": ["success", "timeout", "invalid"], "failures": ["timeout", "invalid"], "none": []}


def grey(count: int) -> Iterator[np.ndarray]:
    for level in range(count):
        yield np.full((32, 48, 3), level, np.uint8)


def writer_with(from_numpy_buffer: Callable[..., Any]) -> SimpleNamespace:
    """What writing videos uses of PyAV, whose older versions do not let their class be changed."""
    return SimpleNamespace(open=av.open, VideoFrame=SimpleNamespace(from_numpy_buffer=from_numpy_buffer))


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Until this is set nothing is encoded."""
    event, encode = threading.Event(), av.VideoFrame.from_numpy_buffer

    def late(*args: Any, **options: Any) -> Any:
        event.wait(60)
        return encode(*args, **options)

    monkeypatch.setattr("act_eval.media.av", writer_with(late))
    return event


def test_encoding_goes_on_beside_whoever_drew(tmp_path: Path, held: threading.Event):
    with Encoder() as encoder:
        videos = [encoder.write(tmp_path / name, grey(10), 20) for name in ("a.mp4", "b.mp4")]
        assert not any(video.done() for video in videos)  # drawn both, and none of them is encoded
        assert not (tmp_path / "a.mp4").exists()
        held.set()
    for video, name in zip(videos, ("a.mp4", "b.mp4"), strict=True):
        assert video.done()
        with av.open(str(tmp_path / name)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 10


def test_whoever_draws_is_not_held_up_by_a_video_that_cannot_be_written(tmp_path: Path):
    with Encoder() as encoder:
        lost = encoder.write(tmp_path / "absent" / "a.mp4", grey(200), 20)
        kept = encoder.write(tmp_path / "b.mp4", grey(3), 20)
        with pytest.raises(OSError, match="No such file"):
            lost.result(30)
        kept.result(30)
    assert [path.name for path in tmp_path.iterdir()] == ["b.mp4"]


def test_the_end_of_a_video_does_not_wait_for_room(tmp_path: Path, held: threading.Event):
    with Encoder() as encoder:
        video = encoder.write(tmp_path / "a.mp4", grey(48), 20)  # as much as is taken while nothing is encoded
        assert not video.done()
        held.set()
    video.result()


def test_an_interrupt_in_the_place_of_a_videos_end_ends_the_encoder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    end, interrupts = _Batches.end, [KeyboardInterrupt]

    def interrupted(batches: _Batches, error: BaseException | None) -> None:
        if interrupts:
            raise interrupts.pop()
        end(batches, error)

    monkeypatch.setattr(_Batches, "end", interrupted)
    with pytest.raises(KeyboardInterrupt), Encoder() as encoder:
        encoder.write(tmp_path / "a.mp4", grey(40), 20)
    assert not interrupts
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "named", "text"),
    [
        (
            av_error.ExternalError(1, "Generic error in an external library"),
            RenderError,
            "cannot encode .*a.mp4: .*ext",
        ),
        (UnknownCodecError("libx264"), RenderError, "cannot encode .*a.mp4: libx264; --video none evaluates without"),
        (av_error.OSError(28, "No space left on device", "a.mp4"), OSError, "No space left on device"),
        (MemoryError("no more"), MemoryError, "no more"),
    ],
)
def test_an_encoder_that_fails_in_the_middle_leaves_nothing_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, named: type[Exception], text: str
):
    encode, drawn = av.VideoFrame.from_numpy_buffer, []

    def fail(*args: Any, **options: Any) -> Any:
        drawn.append(1)
        if len(drawn) == 20:
            raise error
        return encode(*args, **options)

    monkeypatch.setattr("act_eval.media.av", writer_with(fail))
    with Encoder() as encoder:
        lost = encoder.write(tmp_path / "a.mp4", grey(200), 20)
        kept = encoder.write(tmp_path / "b.mp4", grey(3), 20)
    with pytest.raises(named, match=text):
        lost.result()
    kept.result()
    assert [path.name for path in tmp_path.iterdir()] == ["b.mp4"]


def test_frames_that_cannot_be_drawn_leave_no_video(tmp_path: Path):
    def broken() -> Iterator[np.ndarray]:
        yield from grey(40)
        raise ZeroDivisionError

    with Encoder() as encoder, pytest.raises(ZeroDivisionError):
        encoder.write(tmp_path / "a.mp4", broken(), 20)
    assert list(tmp_path.iterdir()) == []
