"""`render`: render videos of episodes from their logged simulator states."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from act_eval.cli import FAILED, OK
from act_eval.cli.parsing import parse
from act_eval.errors import UsageError


@dataclass(frozen=True)
class Flags:
    """Render videos of a run from its logged simulator states, which reproduce the motion bit for bit."""

    run: tyro.conf.Positional[Path]
    """Run folder, finished or not."""
    episodes: str = "failures"
    """Episodes to render: failures, all, an outcome such as wrong_block, or episode numbers as in 3,17."""
    seeds: str | None = None
    """Episode seeds as in 4348884358902,17; instead of --episodes."""
    condition: tuple[str, ...] = ()
    """Conditions to render; all by default."""
    size: int = 720
    """Height of the videos, an even number from 256 to 1280 [px]."""
    out: Path | None = None
    """Output folder; by default videos_SIZE in each condition's folder. Videos of size 256, the size that `evaluate`
    records, go to CONDITION/videos, where the review page finds them."""
    workers: int | None = None
    """Worker processes; one per processor core by default."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and render; return the exit code, FAILED if an episode could not be rendered.

    Raises:
        UsageError: naming the flag and the allowed values.
        RunFolderError: if there is no run, or it cannot be rendered.
    """
    flags = parse(Flags, argv, prog)
    from act_eval.launch import Local  # help does not need the simulator
    from act_eval.results.run import read_run
    from act_eval.sources.replay_env import replaying_env, title_of
    from act_eval.video.again import film_again, shots

    if flags.workers is not None and flags.workers < 1:
        raise UsageError(f"--workers is {flags.workers}; it must be at least 1")
    found = read_run(flags.run)
    selected = shots(
        found,
        replaying_env,
        title_of(found.manifest),
        conditions=flags.condition,
        episodes=flags.episodes,
        seeds=flags.seeds,
        size=flags.size,
        out=flags.out,
    )
    workers = min(flags.workers or Local().cores(), len(selected))
    print(f"{len(selected)} episodes at {flags.size} px, {workers} at a time", flush=True)
    failed = 0
    for shot, problem in film_again(selected, workers):
        if problem is None:
            print(shot.path, flush=True)
        else:
            failed += 1
            print(f"not rendered: {problem}", file=sys.stderr, flush=True)
    return FAILED if failed else OK
