"""Renders episodes of a finished or unfinished run again from their logged states, in several processes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from act_eval.errors import LaunchError, RunFolderError, UsageError
from act_eval.perturbations import PerturbedEnv, showing
from act_eval.results.choosing import chosen
from act_eval.results.records import writing
from act_eval.results.run import StoredCondition, StoredRun, video_name
from act_eval.results.suites import Suite
from act_eval.types import EpisodeRecord
from act_eval.video.files import Encoder
from act_eval.video.layout import SMALL, Layout
from act_eval.video.render import VideoJob, film

MakeEnv = Callable[[Suite, Mapping[str, Any]], Any]
"""(Suite, entry of a condition in the manifest) → environment."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One episode to render; picklable."""

    make_env: MakeEnv
    """Returns an environment for the logged states of a suite's condition; a module-level function."""
    condition: StoredCondition
    record: EpisodeRecord
    title: str
    path: Path
    """The video."""
    layout: Layout


def shots(
    run: StoredRun,
    make_env: MakeEnv,
    title: str,
    *,
    conditions: Sequence[str] = (),
    episodes: str = "failures",
    seeds: str | None = None,
    size: int = 720,
    out: Path | None = None,
) -> list[Shot]:
    """Return the episodes to render.

    Args:
        run: The run, finished or not.
        make_env: As in `Shot`.
        title: Title of the videos without the condition.
        conditions: Names; all by default.
        episodes: `failures`, `all`, an outcome, or episode numbers separated by commas.
        seeds: Episode seeds separated by commas, instead of `episodes`.
        size: Height of the videos, an even number from 256 to 1280 [px].
        out: Folder of the videos; by default one in each condition's folder.

    Raises:
        UsageError: or a subclass, naming the missing item and the available ones.
        RunFolderError: if records of the run are damaged.
    """
    layout = Layout(size)
    ended = run.ended()
    names = list(conditions) or list(run.conditions)
    if out is not None and len(names) > 1:
        raise UsageError(
            f"--out is one folder and there are {len(names)} conditions: name one by --condition ({', '.join(names)})"
        )
    found: list[Shot] = []
    for condition in [run.conditions[name] for name in names]:
        target = out or condition.folder / ("videos" if size == SMALL else f"videos_{size}")
        found += [
            Shot(
                make_env=make_env,
                condition=condition,
                record=record,
                title=f"{title} · {condition.name}",
                path=target / video_name(record),
                layout=layout,
            )
            for record in chosen(run.suite, ended[condition.name], episodes, seeds)
        ]
    if not found:
        raise UsageError(_nothing(run, ended, names, f"--episodes {episodes}" if seeds is None else f"--seeds {seeds}"))
    return found


def film_again(asked: Sequence[Shot], workers: int) -> Iterator[tuple[Shot, str | None]]:
    """Render episodes; yield each in order with its error, or None.

    Raises:
        LaunchError: if a process died.
        RenderError: if videos cannot be encoded.
    """
    if workers == 1:
        yield from zip(asked, map(_take, asked), strict=True)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            yield from zip(asked, pool.map(_take, asked), strict=True)
        except BrokenProcessPool as error:
            raise LaunchError("a rendering process died; repeat the command with --workers 1") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _nothing(run: StoredRun, ended: Mapping[str, Sequence[EpisodeRecord]], names: Sequence[str], asked: str) -> str:
    count = sum(len(ended[name]) for name in names)
    if not count:
        return f"{run.folder} has no finished episode in {', '.join(names)}"
    return f"none of the {count} finished episodes in {', '.join(names)} matches {asked}; --episodes all renders them"


def _take(shot: Shot) -> str | None:
    """Render one episode; return the error of its log, or None."""
    env = shot.make_env(shot.condition.suite, shot.condition.settings)
    try:
        with showing(env, shot.record.seed):
            return _rendered(shot, env)
    finally:
        if isinstance(env, PerturbedEnv):
            env.restore()


def _rendered(shot: Shot, env: Any) -> str | None:
    try:
        steps = shot.condition.steps(shot.record.episode)
        _check(shot, steps.state.shape, env)
    except RunFolderError as error:
        return str(error)
    what = VideoJob(title=shot.title, record=shot.record, steps=steps, control_s=1 / env.metadata["render_fps"])
    folder = shot.path.parent
    with writing(folder), Encoder() as encoder:
        folder.mkdir(parents=True, exist_ok=True)
        video = film(shot.path, env, what, shot.layout, encoder)
        if video is not None:
            video.result()
    if video is not None:
        return None
    return f"{shot.condition.name}, episode {shot.record.episode}: it has no state to render"


def _check(shot: Shot, shape: tuple[int, ...], env: Any) -> None:
    """Refuse states of another scene, which this environment cannot render."""
    expected = env.simulator_state().shape
    if shape[1:] != expected:
        raise RunFolderError(
            f"{shot.condition.folder / 'steps'}, episode {shot.record.episode}: its states hold {shape[1:]} numbers, "
            f"those of {shot.condition.suite.env} hold {expected}: another version recorded it"
        )
