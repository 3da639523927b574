from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_episodes import RECORD, STAGE, Bare, Hooked, T, episode_steps, made_film

from act_eval.errors import UsageError
from act_eval.types.env_hooks import hooks_of
from act_eval.types.steps import EpisodeSteps
from act_eval.video import SMALL, Encoder, FrameLog, Layout, VideoJob, episode_frames, film, panel
from act_eval.video.drawing import CHUNK, COMMITTED, CONFUSER, TARGET, Board, put
from act_eval.video.overlay import Overlay, paths_of

SIZE = Layout()
HOLD = 10  # frames: half a second


def frames_of(env: object, what: VideoJob, layout: Layout = SIZE) -> list[np.ndarray]:
    return [frame.copy() for frame in episode_frames(what.steps.state, env, what, layout)]


def view(frame: np.ndarray, layout: Layout = SIZE) -> np.ndarray:
    return frame[layout.large_view]


def near(image: np.ndarray, ink: tuple[int, int, int], within: int = 40) -> int:
    """Count the pixels of about a colour."""
    return int((np.abs(image.astype(int) - ink).max(axis=-1) < within).sum())


def bare_steps() -> EpisodeSteps:
    full = episode_steps()
    required = (
        "command",
        "ran",
        "chunk",
        "index",
        "observed",
        "requested",
        "estimated_delay",
        "actual_delay",
        "in_flight",
    )
    return EpisodeSteps(
        **{name: getattr(full, name) for name in (*required, "chunk_switch", "replaced", "overlap_rmse", "state")}
    )


@pytest.mark.parametrize("height", [SMALL, 512])
def test_every_state_is_shown_and_the_last_is_held_for_half_a_second(height: int):
    layout = Layout(height)
    frames = frames_of(Bare(), made_film(bare_steps()), layout)
    assert [int(view(frame, layout)[100, 100, 0]) for frame in frames] == [20 * t for t in [*range(T + 1), *[T] * 10]]
    for camera, level in ((0, 10), (1, 20)):
        small = [frame[layout.small_view(camera)] for frame in frames]
        assert all((image == image[0, 0, 0]).all() for image in small)
        shown = [(int(image[0, 0, 0]) - level) // 20 for image in small]
        # At the size of recordings the small views take turns; the first and the last state are shown by all.
        behind = [min(number, T) - state for number, state in enumerate(shown)]
        assert max(behind) == (1 if height == SMALL else 0)
        assert shown[0] == 0
        assert shown[T:] == [T] * 11


def test_a_slower_environment_holds_as_long():
    slow = replace(made_film(), control_s=0.1)
    assert len(frames_of(Hooked(), slow)) == T + 1 + 5


def test_small_views_have_the_size_that_policies_see():
    assert (SIZE.side, SIZE.width, SIZE.height) == (96, 352, 256)


@pytest.mark.parametrize("height", [256, 312, 360, 480, 718, 720, 1080, 1280])
def test_frames_have_the_height_that_is_asked_for_and_even_sides(height: int):
    layout = Layout(height)
    frame = next(iter(episode_frames(np.zeros((1, 1)), Hooked(), made_film(), layout)))
    assert frame.shape == (height, layout.width, 3)
    assert layout.width % 2 == 0
    assert layout.width / height == pytest.approx(4 / 3, rel=0.04)


@pytest.mark.parametrize("height", [0, 254, 257, 1282, -720])
def test_a_height_that_cannot_be_encoded_is_refused(height: int):
    with pytest.raises(UsageError, match=rf"video height is {height}; even numbers from 256 to 1280 are allowed"):
        Layout(height)


def test_the_predicted_chunk_lies_where_the_environment_says():
    frames = frames_of(Hooked(), made_film())
    height, width = SIZE.view
    row = height // 2
    # Chunk 0 leads through x = 0.1 … 0.4 and chunk 1, from step 5 on, through 0.5 … 0.8.
    for number, (first, last) in {1: (0.1, 0.4), 6: (0.5, 0.8)}.items():
        drawn = view(frames[number])[row - 1 : row + 2]
        columns = np.flatnonzero((np.abs(drawn.astype(int) - CHUNK).max(axis=-1) < 60).any(axis=0))
        assert columns.min() == pytest.approx(first * width, abs=4)
        assert columns.max() == pytest.approx(last * width, abs=4)
    # While the arm holds there is no chunk to show.
    assert near(view(frames[4]), CHUNK) == 0


def test_the_committed_prefix_is_drawn_from_its_request_on_in_its_own_colour():
    frames = frames_of(Hooked(), made_film())
    above_the_legend = [view(frame)[:-12] for frame in frames[:T]]
    assert [near(part, COMMITTED) > 0 for part in above_the_legend] == [t in (3, 5, 6, 7) for t in range(T)]
    height, width = SIZE.view
    drawn = view(frames[6])[height // 2 - 1 : height // 2 + 2]
    columns = np.flatnonzero((np.abs(drawn.astype(int) - COMMITTED).max(axis=-1) < 60).any(axis=0))
    # Commands of steps 3 and 4.
    assert columns.min() == pytest.approx(0.4 * width, abs=4)
    assert columns.max() == pytest.approx(0.5 * width, abs=4)


def test_rings_follow_the_roles_of_the_blocks():
    steps = episode_steps()
    swapped = replace(steps, target=np.array([0, 0, 0, 0, 1, 1, 1, 1, 1]))
    frames = frames_of(Hooked(), made_film(swapped))
    height, width = SIZE.view
    place = (slice(0, height // 2), slice(0, width // 2))  # the quarter of block 0
    for number, frame in enumerate(frames):
        counts = near(view(frame)[place], TARGET, 60), near(view(frame)[place], CONFUSER, 60)
        assert (counts[0] > counts[1]) == (number < 4)


def test_switch_delays_and_flight_are_estimated():
    frames = frames_of(Hooked(), made_film())
    numbers = [frame[SIZE.numbers_top : SIZE.lanes_top] for frame in frames]
    assert [near(block, COMMITTED) > 20 for block in numbers[:T]] == [t in (3, 4) for t in range(T)]
    late = replace(episode_steps(), actual_delay=np.array([0, 0, 0, 0, -1, 3, 3, 3]))
    estimated = [frame[SIZE.numbers_top : SIZE.lanes_top] for frame in frames_of(Hooked(), made_film(late))]
    assert [bool((a != b).any()) for a, b in zip(numbers[:T], estimated[:T], strict=True)] == [t >= 5 for t in range(T)]
    smooth = replace(episode_steps(), chunk_switch=np.zeros(T, np.bool_))
    calm = [frame[SIZE.numbers_top : SIZE.lanes_top] for frame in frames_of(Hooked(), made_film(smooth))]
    assert [bool((a != b).any()) for a, b in zip(numbers[:T], calm[:T], strict=True)] == [t >= 5 for t in range(T)]


def test_the_gripper_and_the_estimated_coordinates_are_shown():
    base = frames_of(Hooked(), made_film())[2]
    closing = replace(episode_steps(), command=episode_steps().command * [1, 1, 0])
    closed = replace(episode_steps(), joints=np.zeros((T + 1, 3), np.float32))
    elsewhere = replace(episode_steps(), goal_input=np.full((2, 2), 0.6, np.float32))
    for steps in (closing, closed, elsewhere):
        frame = frames_of(Hooked(), made_film(steps))[2]
        assert (frame[SIZE.numbers_top : SIZE.lanes_top] != base[SIZE.numbers_top : SIZE.lanes_top]).any()
    height, width = SIZE.view
    y, x = int(0.6 * height), int(0.6 * width)
    assert view(frame)[y, x].min() > 200


def test_the_outcome_stands_in_the_last_frames_alone():
    wrong = frames_of(Hooked(), made_film())
    right = frames_of(Hooked(), made_film(record=replace(RECORD, outcome="success")))
    differs = [bool((a != b).any()) for a, b in zip(wrong, right, strict=True)]
    assert differs == [False] * T + [True] * 11


def test_an_environment_that_only_renders_has_no_marks():
    frames = frames_of(Bare(), made_film())
    for frame in frames[:T]:
        large = view(frame)
        assert (large == large[0, 0]).all()


def test_steps_of_an_earlier_version_are_filmed_without_marks():
    frames = frames_of(Hooked(), made_film(bare_steps()))
    assert len(frames) == T + 1 + HOLD
    assert all(near(view(frame), CHUNK) == 0 for frame in frames)


def test_an_episode_that_broke_shows_what_came_before(tmp_path: Path):
    steps = episode_steps()
    state = steps.state.copy()
    state[-1] = np.nan
    with Encoder() as encoder:
        assert film(tmp_path / "videos" / "a.mp4", Hooked(), made_film(replace(steps, state=state)), SIZE, encoder)
        broken = made_film(replace(steps, state=state[-1:]))
        assert film(tmp_path / "videos" / "b.mp4", Hooked(), broken, SIZE, encoder) is None
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["a.mp4"]


def test_an_episode_without_a_step_is_filmed():
    none = {
        name: getattr(episode_steps(), name)[:0]
        for name in ("command", "ran", "chunk", "index", "observed", "requested", "estimated_delay", "actual_delay",
                     "in_flight", "chunk_switch", "replaced", "overlap_rmse")
    }  # fmt: skip
    steps = EpisodeSteps(**none, state=np.zeros((1, 1)))
    assert len(frames_of(Hooked(), made_film(steps, replace(RECORD, steps=0)))) == 1 + HOLD


def test_predictions_far_outside_the_picture_are_left_out():
    steps = episode_steps()
    wild = replace(steps, predicted=np.full_like(steps.predicted, 1e6), goal_input=np.full((2, 2), 1e9, np.float32))
    assert len(frames_of(Hooked(), made_film(wild))) == T + 1 + HOLD
    assert STAGE.block_side > 0


@pytest.mark.parametrize("small_views", [True, False])
@pytest.mark.parametrize("height", [256, 312, 480, 720, 1080, 1280])
def test_no_text_runs_off_its_place(height: int, small_views: bool, monkeypatch: pytest.MonkeyPatch):
    """The longest texts of long episodes end before the next column, and before the edge of the frame."""
    count, layout = 1500, Layout(height, small_views)
    steps = long_steps(count)
    title = "a_very_long_environment_of_my_own/WithALongName-v12 · some_policy · rtc_uniform-1-6_s25_est-p95_light3"
    record = replace(RECORD, episode=9999, seed=2**53 - 1, outcome="policy_error", steps=count)
    job = VideoJob(title=title, record=record, steps=steps, control_s=0.05)
    places: list[tuple[int, int, int]] = []

    def checked(image: np.ndarray, block: np.ndarray, top: int, left: int) -> int:
        assert left + block.shape[1] <= image.shape[1], "cut off at the right edge"
        if layout.numbers_top <= top < layout.lanes_top and image.shape[0] == height:
            places.append((top, left, left + block.shape[1]))
        return put(image, block, top, left)

    monkeypatch.setattr(panel, "put", checked)
    columns = [round(layout.width * share) for share in (0.345, 0.66)]
    for number, _ in enumerate(episode_frames(steps.state[[0, 700, 1400, -1]], Hooked(), job, layout)):
        for row in {top for top, *_ in places}:
            for _, left, right in (place for place in places if place[0] == row):
                assert not any(left < column < right for column in columns), f"state {number}: over the next column"
        places.clear()


def long_steps(count: int) -> EpisodeSteps:
    """Return steps whose numbers are as long as they become."""
    base, index = episode_steps(), np.arange(count) % T
    repeated = {
        name: getattr(base, name)[index]
        for name in ("command", "ran", "requested", "in_flight", "chunk_switch", "replaced", "overlap_rmse")
    }
    long = {"chunk": 123, "index": 199, "observed": 3, "estimated_delay": 188, "actual_delay": 199}
    return replace(
        base,
        **repeated,
        **{name: np.full(count, value) for name, value in long.items()},
        state=np.arange(count + 1, dtype=np.float64)[:, None] / count,
        ready=np.array([0, 1200]),
        goal_input=np.full((2, 3), -0.123456, np.float32),
        joints=np.ones((count + 1, 3), np.float32),
        blocks_xyz=np.zeros((count + 1, 2, 3), np.float32),
        target=np.zeros(count + 1, np.int64),
    )


@pytest.mark.parametrize("shape", [(64, 64), (256, 256), (480, 640), (1080, 1920), (1, 1), (1000, 30), (120, 3000)])
def test_recorded_frames_of_any_size_are_shown_whole(shape: tuple[int, int]):
    """A frame is as large as fits, in its own proportions, on black."""
    log, layout = FrameLog(), Layout(small_views=False)
    for step in range(T + 1):
        log.on_frame(3, step, np.full((*shape, 3), 200, np.uint8))
    kept = log.take(3)
    frames = frames_of(kept, made_film(kept.numbered(bare_steps())), layout)
    height, width = layout.view
    lit = view(frames[0], layout)[..., 0] > 100
    scale = min(height / shape[0], width / shape[1])
    assert lit.sum() == pytest.approx(max(1, round(scale * shape[0])) * max(1, round(scale * shape[1])), rel=0.1)


def test_a_legend_names_only_what_is_drawn():
    """Nobody reads of grippers and blocks where there are none."""
    no_blocks = replace(episode_steps(), blocks_xyz=np.zeros((0, 0, 3), np.float32), target=np.zeros(0, np.int64))
    one_block = replace(episode_steps(), blocks_xyz=episode_steps().blocks_xyz[:, :1])
    no_goal = replace(no_blocks, goal_input=np.zeros((2, 0), np.float32))
    named = {}
    for name, steps in {"all": episode_steps(), "no_blocks": no_blocks, "one": one_block, "no_goal": no_goal}.items():
        board = Board(0, 0, 100, 100, 100)
        hooks = hooks_of(Hooked())
        named[name] = Overlay(hooks, steps, "review", board, paths_of(hooks, steps)).legend
    assert named == {
        "all": ("chunk", "committed", "target", "confuser", "+ goal input"),
        "no_blocks": ("chunk", "committed", "+ goal input"),
        "one": ("chunk", "committed", "target", "+ goal input"),
        "no_goal": ("chunk", "committed"),
    }
