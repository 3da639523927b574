"""Find the episodes that are to be filmed again, and film them in a few processes."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from act_eval.cli import FAILED, OK
from act_eval.cli.finished.choosing import chosen
from act_eval.errors import LaunchError, RunFolderError, UnknownName, UsageError
from act_eval.launch import Local
from act_eval.results import Manifest, RunFolder
from act_eval.results.records import writing
from act_eval.results.steps import load, path_of
from act_eval.results.suites import Suite
from act_eval.sources.replay_env import replaying_env, title_of
from act_eval.types import EpisodeRecord
from act_eval.video import SMALL, Encoder, Film, Layout, file_name, film

if TYPE_CHECKING:
    from act_eval.cli.render import Flags


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One episode to film; picklable."""

    suite: Suite
    arm: Path
    """The arm's folder."""
    record: EpisodeRecord
    title: str
    out: Path
    layout: Layout


def render(flags: "Flags", out: TextIO, err: TextIO) -> int:
    """Film what the flags name; return the exit code, FAILED where an episode could not be filmed.

    Raises:
        UsageError: or a child of it, naming the flag and what is allowed.
        RunFolderError: if there is no run, or it cannot be shown.
    """
    shots = _shots(flags)
    workers = min(flags.workers or Local().cores(), len(shots))
    print(f"{len(shots)} episodes at {flags.size} px, {workers} at a time", file=out, flush=True)
    failed = 0
    for shot, problem in _carried_out(shots, workers):
        if problem is None:
            print(shot.out / file_name(shot.record), file=out, flush=True)
        else:
            failed += 1
            print(f"not filmed: {problem}", file=err, flush=True)
    return FAILED if failed else OK


def _shots(flags: "Flags") -> list[Shot]:
    layout = Layout(flags.size)
    if flags.workers is not None and flags.workers < 1:
        raise UsageError(f"--workers is {flags.workers}; it must be at least 1")
    manifest = _manifest(flags.run)
    finished = RunFolder(flags.run, manifest).finished()
    arms = flags.arm or manifest.arms
    if flags.out is not None and len(arms) > 1:
        raise UsageError(f"--out is one folder and there are {len(arms)} arms: name one by --arm ({', '.join(arms)})")
    shots: list[Shot] = []
    for name in arms:
        if name not in finished:
            raise UnknownName(f"arm of {flags.run}", name, manifest.arms)
        folder = flags.run / name
        target = flags.out or folder / ("videos" if flags.size == SMALL else f"videos_{flags.size}")
        shots += [
            Shot(
                suite=manifest.suite, arm=folder, record=record, title=f"{title_of(manifest)} · {name}", out=target,
                layout=layout,
            )
            for record in chosen(manifest.suite, finished[name], flags.episodes, flags.seeds)
        ]  # fmt: skip
    if not shots:
        raise UsageError(_nothing(flags, finished, arms))
    return shots


def _manifest(run: Path) -> Manifest:
    """Read a run's manifest; of a sweep folder, say which runs it holds."""
    if not (run / "manifest.json").exists() and run.is_dir():
        inner = sorted(path.parent.name for path in run.glob("*/manifest.json"))
        if inner:
            named = ", ".join(str(run / name) for name in inner[:6])
            more = f", … ({len(inner)} in all)" if len(inner) > 6 else ""
            raise UsageError(f"{run} is no run but holds some; name one of them: {named}{more}")
    return Manifest.read(run)


def _nothing(flags: "Flags", finished: Mapping[str, Sequence[EpisodeRecord]], arms: Sequence[str]) -> str:
    count = sum(len(finished[name]) for name in arms)
    if not count:
        return f"{flags.run} has no finished episode in {', '.join(arms)}"
    named = f"--seeds {flags.seeds}" if flags.seeds is not None else f"--episodes {flags.episodes}"
    return f"none of the {count} finished episodes in {', '.join(arms)} is meant by {named}; --episodes all films them"


def _carried_out(shots: Sequence[Shot], workers: int) -> Iterator[tuple[Shot, str | None]]:
    """Yield each shot with what went wrong, in their order."""
    if workers == 1:
        yield from zip(shots, map(_take, shots), strict=True)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            yield from zip(shots, pool.map(_take, shots), strict=True)
        except BrokenProcessPool as error:
            raise LaunchError("a process that filmed has died; repeat the command with --workers 1") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _take(shot: Shot) -> str | None:
    """Film one episode; return what went wrong with its log."""
    env = replaying_env(shot.suite)
    try:
        steps = load(path_of(shot.arm / "steps", shot.record.episode))
        _check(shot, steps.state.shape, env)
    except RunFolderError as error:
        return str(error)
    what = Film(title=shot.title, record=shot.record, steps=steps, control_s=1 / env.metadata["render_fps"])
    with writing(shot.out), Encoder() as encoder:
        shot.out.mkdir(parents=True, exist_ok=True)
        video = film(shot.out / file_name(shot.record), env, what, shot.layout, encoder)
        if video is not None:
            video.result()
    if video is not None:
        return None
    return f"{shot.arm.name}, episode {shot.record.episode}: it has no state that could be shown"


def _check(shot: Shot, shape: tuple[int, ...], env: Any) -> None:
    """Refuse states of another scene, which the environment of today would show wrongly or not at all."""
    expected = env.simulator_state().shape
    if shape[1:] != expected:
        raise RunFolderError(
            f"{shot.arm / 'steps'}, episode {shot.record.episode}: its states hold {shape[1:]} numbers, those of "
            f"{shot.suite.env} here hold {expected}: it was recorded by another version"
        )
