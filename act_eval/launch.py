"""Run an evaluation's blocks in this process or in spawned workers, and tell how it goes.

The parent hands out one block at a time over a pipe of each worker's own, so no lock is shared: a worker that is
killed takes only its block with it, and a parent that is killed leaves workers that find their pipe closed and end.
Which worker runs a block changes nothing in its records.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from act_eval.errors import ActEvalError, LaunchError
from act_eval.evaluation import Block, Job, run_block
from act_eval.records import ShardWriter
from act_eval.types import EpisodeRecord

Progress = Callable[[str, EpisodeRecord], None]
"""(arm, record) of an episode that has just ended."""

_ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "LP_NUM_THREADS": "0",  # the software renderer draws in the calling thread: a fifth less time per image
}
_GRACE_S = 5.0


@dataclass(frozen=True)
class _Finished:
    """A worker has run its block, or has just begun, and waits for the next."""


@dataclass(frozen=True)
class _Episode:
    arm: str
    record: EpisodeRecord


@dataclass(frozen=True)
class _Failed:
    """An error that was raised on purpose; its text, because not every error survives pickling."""

    text: str


@dataclass
class _Worker:
    number: int
    process: BaseProcess
    pipe: Connection
    block: Block | None = None
    sent_home: bool = False


def run_blocks(job: Job, blocks: Sequence[Block], shards: Sequence[Path], progress: Progress) -> None:
    """Run every block, in as many workers as there are shards; one shard means in this process.

    Args:
        job: what to run.
        blocks: its parts, in the order in which they begin.
        shards: one new file per worker.
        progress: called in this process after each episode.

    Raises:
        LaunchError: if a worker died or met an error of this package; finished episodes are kept.
        ActEvalError: with a single shard, the error itself.
    """
    if len(shards) == 1:
        _run_here(job, blocks, shards[0], progress)
    else:
        _run_spawned(job, blocks, shards, progress)


def _run_here(job: Job, blocks: Sequence[Block], shard: Path, progress: Progress) -> None:
    bench = job.build()
    try:
        with ShardWriter(shard) as writer:
            for block in blocks:
                for record in run_block(job, bench, block, writer, worker=0):
                    progress(block.arm, record)
    finally:
        bench.close()


def _run_spawned(job: Job, blocks: Sequence[Block], shards: Sequence[Path], progress: Progress) -> None:
    with _started(job, shards) as workers:
        queue = list(blocks)
        lost: list[str] = []
        while workers:
            for pipe in wait([worker.pipe for worker in workers]):
                worker = next(w for w in workers if w.pipe is pipe)
                try:
                    _serve(worker, queue, progress)
                except (EOFError, ConnectionError):
                    workers.remove(worker)
                    lost += _obituary(worker)
    if lost or queue:
        unstarted = sum(len(block.episodes) for block in queue)
        lost += [f"{unstarted} episodes were not begun"] if unstarted else []
        raise LaunchError("; ".join(lost) + ". Finished episodes are kept: repeat the command to run the others.")


def _serve(worker: _Worker, queue: list[Block], progress: Progress) -> None:
    """Answer one message of a worker."""
    message = worker.pipe.recv()
    match message:
        case _Episode(arm, record):
            progress(arm, record)
        case _Finished():
            worker.sent_home, worker.block = not queue, queue.pop(0) if queue else None
            worker.pipe.send(worker.block)
        case _Failed(text):
            raise LaunchError(text)


def _obituary(worker: _Worker) -> list[str]:
    """Return what to say of a worker whose pipe has closed; nothing if it had done its work."""
    worker.process.join(_GRACE_S)
    if worker.sent_home:
        return []
    code = worker.process.exitcode
    during = f" during episodes {list(worker.block.episodes)} of {worker.block.arm}" if worker.block else ""
    how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
    return [f"worker {worker.number} {how}{during}"]


@contextmanager
def _started(job: Job, shards: Sequence[Path]) -> Iterator[list[_Worker]]:
    """Start the workers, and end those still there on the way out."""
    context = get_context("spawn")
    workers: list[_Worker] = []
    everyone: list[_Worker] = []
    try:
        with _environment(_ONE_THREAD):
            for number, shard in enumerate(shards):
                here, there = context.Pipe()
                process = context.Process(target=_work, args=(job, number, shard, there), daemon=True)
                process.start()
                there.close()
                workers.append(_Worker(number, process, here))
                everyone.append(workers[-1])
        yield workers
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(_GRACE_S)
            worker.process.kill()
        for worker in everyone:
            worker.pipe.close()


def _work(job: Job, number: int, shard: Path, pipe: Connection) -> None:
    """Run blocks until the parent sends None or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C reaches the whole group; the parent decides
    with suppress(EOFError, ConnectionError):  # the parent is gone: nobody waits for more
        try:
            _work_through(job, number, shard, pipe)
        except ActEvalError as error:
            pipe.send(_Failed(f"worker {number}: {error}"))


def _work_through(job: Job, number: int, shard: Path, pipe: Connection) -> None:
    bench = job.build()
    try:
        with ShardWriter(shard) as writer:
            pipe.send(_Finished())
            while (block := pipe.recv()) is not None:
                for record in run_block(job, bench, block, writer, number):
                    pipe.send(_Episode(block.arm, record))
                pipe.send(_Finished())
    finally:
        bench.close()


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
