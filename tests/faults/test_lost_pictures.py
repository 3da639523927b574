"""OpenGL lost in the middle of a run, and videos that cannot be written: a named cause, and a run that can go on."""

import random
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import av.error as av_error
import mujoco
import numpy as np
import pytest
from disturbed import content, toy_run, undisturbed_content, wait_for
from toy_bench import Bench, Drawn, job, manifest
from toy_run import FIRST_SEED, run

from act_eval.errors import RenderError, RunFolderError
from act_eval.evaluation.worker import cut_blocks
from act_eval.launch import Build, worker_pool
from act_eval.results import open_run
from act_eval.results.records import ShardLine, ShardWriter
from act_eval.scenes import rendering
from act_eval.scenes.scene import SceneConfig, compile_scene

EPISODES = 8
SEEDS = tuple(range(FIRST_SEED, FIRST_SEED + EPISODES))
LOST = r"^the OpenGL context for off-screen rendering was lost"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return undisturbed_content(tmp_path_factory.mktemp("faults") / "undisturbed", EPISODES, video="all")


def resumed(out: Path) -> dict[str, bytes]:
    """Resume a run of toys; return its content after looking whether its videos play."""
    run(out, workers=1, episodes=EPISODES, pause_s=0, video="all")
    for path in out.glob("*/videos/*"):
        with av.open(str(path)) as video:
            assert sum(1 for _ in video.decode(video=0)) > 10  # the last one is held for ten
    return content(out)


def run_with(build: Build, out: Path, workers: int) -> None:
    """Run the toys on benches of another kind."""
    work = replace(job(out), seeds=SEEDS, video="all")
    with worker_pool(build, workers) as team, open_run(out, manifest(SEEDS)) as folder:
        team.run(
            work, cut_blocks(work, folder.done(), workers), folder.new_shards(workers), lambda condition, record: None
        )


def kept_lines(out: Path) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in (out / "shards").glob("*.jsonl"))


def test_a_renderer_that_lost_its_context_says_so_and_shows_nothing_old(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, opened = compile_scene(SceneConfig()), []
    open_context = rendering._open_context  # pyright: ignore[reportPrivateUsage]

    def remembered() -> Any:
        opened.append(open_context())
        return opened[-1]

    monkeypatch.setattr(rendering, "_open_context", remembered)
    renderer, other = rendering.OffscreenRenderer(scene.model), rendering.OffscreenRenderer(scene.model)
    data = mujoco.MjData(scene.model)
    mujoco.mj_forward(scene.model, data)
    before = renderer.render(data, "overhead", 32, 32)
    opened[0].free()
    with pytest.raises(RenderError, match=LOST):
        renderer.render(data, "overhead", 32, 32)
    np.testing.assert_array_equal(other.render(data, "overhead", 32, 32), before)


class Dim(Drawn):
    """Loses OpenGL where `where` says, in the sixth episode."""

    where = ""

    def _lose(self, where: str) -> None:
        if where == self.where and self.np_random_seed == SEEDS[5]:
            raise RenderError("no more OpenGL here")

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict]:
        found = super().reset(seed=seed)
        self._lose("reset")
        return found

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        self._lose("step")
        return super().step(action)

    def render_state(self, state: np.ndarray, camera: str, height: int, width: int) -> np.ndarray:
        self._lose("video")
        return super().render_state(state, camera, height, width)


@dataclass(frozen=True)
class DimBench:
    where: str

    def __call__(self) -> Bench:
        bench = Bench(1)
        bench.envs = [Dim(horizon=9)]
        bench.envs[0].where = self.where  # pyright: ignore[reportAttributeAccessIssue]
        return bench


@pytest.mark.parametrize(
    ("where", "workers"),
    [("step", 1), ("reset", 1), ("video", 1), pytest.param("step", 2, marks=pytest.mark.slow)],
)
def test_a_run_without_opengl_stops_instead_of_counting_invalid_episodes(
    tmp_path: Path, undisturbed: dict[str, bytes], where: str, workers: int
) -> None:
    out = tmp_path / "run"
    with pytest.raises(RenderError, match=r"^no more OpenGL here$"):
        run_with(DimBench(where), out, workers)
    # Of two workers the slower one may be stopped before its first line.
    assert (2 if workers == 1 else 1) <= kept_lines(out) < 2 * EPISODES
    assert b'"invalid"' not in b"".join(path.read_bytes() for path in (out / "shards").glob("*.jsonl"))
    assert resumed(out) == undisturbed


def test_an_encoder_that_fails_in_the_middle_of_a_run_stops_it_and_keeps_what_was_there(
    tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, drawn = av.VideoFrame.from_numpy_buffer, []

    def fail(*args: Any, **options: Any) -> Any:
        drawn.append(1)
        if len(drawn) == 60:
            raise av_error.OSError(28, "No space left on device", "somewhere.mp4.part")
        return encode(*args, **options)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        frames = SimpleNamespace(from_numpy_buffer=fail)  # older versions of PyAV do not let their class be changed
        patch.setattr("act_eval.media.av", SimpleNamespace(open=av.open, VideoFrame=frames))
        with pytest.raises(
            RunFolderError, match=r"cannot write to .*run: No space left on device \(somewhere.mp4.part\)"
        ):
            run(out, workers=1, episodes=EPISODES, pause_s=0, video="all")
    done = kept_lines(out)
    assert 1 <= done < 2 * EPISODES
    videos = [path.name for path in out.glob("*/videos/*")]
    assert len(videos) >= done
    assert all(name.endswith(".mp4") for name in videos)
    assert resumed(out) == undisturbed


def test_an_interrupt_just_behind_a_line_does_not_double_it(
    tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = ShardWriter.write, []

    def interrupted(shard: ShardWriter, line: ShardLine) -> None:
        write(shard, line)
        written.append(line)
        if len(written) == 5:
            raise KeyboardInterrupt

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(out, workers=1, episodes=EPISODES, pause_s=0, video="all")
    assert kept_lines(out) >= 5
    assert resumed(out) == undisturbed


@pytest.mark.skipif(sys.platform != "linux", reason="limits file sizes")
@pytest.mark.parametrize(
    "largest_file", [9000, *(pytest.param(n, marks=pytest.mark.slow) for n in (12000, 15500, 17000))]
)
def test_a_disk_that_is_full_while_a_video_is_written_is_named(
    tmp_path: Path, undisturbed: dict[str, bytes], largest_file: int
) -> None:
    largest = max(len(found) for place, found in undisturbed.items() if place.endswith(".mp4"))
    assert largest > largest_file
    out = tmp_path / "run"
    code, said = toy_run(out, 1, EPISODES, pause_s=0, largest_file=largest_file, video="all").end()
    assert code == 1
    assert "Traceback" not in said
    assert f"error: cannot write to {out}: File too large" in said
    assert "Finished episodes are kept: repeat the command once writing is possible." in said
    assert not list(out.glob("*/videos/*.part"))
    assert resumed(out) == undisturbed


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    ("seed", "times"),
    [(0, 1), *(pytest.param(seed, times, marks=pytest.mark.slow) for seed in range(1, 11) for times in (1, 2))],
)
def test_interrupts_while_videos_are_encoded_end_the_run(
    tmp_path: Path, undisturbed: dict[str, bytes], seed: int, times: int
) -> None:
    moment = random.Random(seed)
    out = tmp_path / "run"
    process = toy_run(out, moment.choice([1, 2]), EPISODES, pause_s=0.005, video="all")
    wait_for(out / "manifest.json", process)
    time.sleep(moment.uniform(0, 1))
    for _ in range(times):
        process.signal_all(signal.SIGINT)
        time.sleep(moment.uniform(0, 0.2))
    code, said = process.end()
    assert code in (0, 130, -signal.SIGINT)  # 0 where it had ended already
    assert "Traceback" not in said
    assert resumed(out) == undisturbed
