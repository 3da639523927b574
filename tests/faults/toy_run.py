"""A whole run of toys as a command, to be disturbed: toy_run.py OUT WORKERS EPISODES PAUSE_S VIDEO."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from act_eval.video import VideoMode

TESTS = Path(__file__).parent.parent
FIRST_SEED = 700


def run(out: Path, workers: int, episodes: int, pause_s: float, video: "VideoMode" = "none") -> int:
    from toy_bench import Walkers, job, manifest

    from act_eval.evaluation.worker import cut_blocks
    from act_eval.launch import worker_pool
    from act_eval.results import open_run

    seeds = tuple(range(FIRST_SEED, FIRST_SEED + episodes))
    work = replace(job(out), seeds=seeds, video=video)
    with worker_pool(Walkers(work.batch, pause_s), workers) as team, open_run(out, manifest(seeds)) as folder:
        if blocks := cut_blocks(work, folder.done(), workers):
            team.run(work, blocks, folder.new_shards(workers), lambda condition, record: None)
        folder.finish()
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))
    from act_eval.cli import guarded

    out, workers, episodes, pause_s, video = sys.argv[1:]
    sys.exit(guarded(lambda: run(Path(out), int(workers), int(episodes), float(pause_s), video)))  # pyright: ignore[reportArgumentType]
