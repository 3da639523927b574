"""Workers on this machine: each builds its environments and policy once, then runs blocks of episodes.

The parent sends one block at a time over a separate pipe per worker, so no lock is shared: a killed worker loses only
its block, and the workers of a killed parent end when their pipe closes. The parent loads neither policy nor
environment.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from act_eval.errors import ActEvalError, LaunchError
from act_eval.launch.base import Block, Build, Job, OnCheck, Progress, Worker, WorkerPool
from act_eval.processes import end_with_parent, start_process
from act_eval.results import machine
from act_eval.results.records import ShardWriter
from act_eval.types import EpisodeRecord

_GRACE_S = 5.0


@contextmanager
def local_pool(build: Build, workers: int) -> Iterator[WorkerPool]:
    """Start workers on this machine; a single worker is this process. See `act_eval.launch.worker_pool`."""
    if workers == 1:
        worker = build()
        try:
            yield InProcessPool(worker)
        finally:
            worker.close()
    else:
        with _started(build, workers) as spawned:
            yield _ProcessPool(spawned)


class InProcessPool:
    """One worker: this process."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.facts = worker.facts
        self.machine = machine()

    def run(
        self,
        job: Job,
        blocks: Sequence[Block],
        shards: Sequence[Path],
        progress: Progress,
        on_check: OnCheck | None = None,
    ) -> None:
        with ShardWriter(shards[0]) as writer:
            if on_check is not None:  # after the first batch of episodes
                first, *others = blocks
                parts = first.episodes[: job.batch], first.episodes[job.batch :]
                blocks = [*(Block(first.condition, part) for part in parts if part), *others]
            for block in blocks:
                for record in job.run_block(self._worker, block, writer, 0, progress):
                    progress(block.condition, record)
                if on_check is not None:
                    on_check(self._worker.check())
                    on_check = None


@dataclass(frozen=True)
class _Ready:
    """A worker has built its environments and policy."""

    facts: Any


@dataclass(frozen=True)
class _Checked:
    """The findings of a worker's check."""

    findings: tuple[str, ...]


@dataclass(frozen=True)
class _Idle:
    """A worker waits for a block."""


@dataclass(frozen=True)
class _Progress:
    """See `Progress`."""

    condition: str
    news: EpisodeRecord | int


@dataclass
class _Process:
    number: int
    process: BaseProcess
    pipe: Connection
    batch: int = 1
    """Concurrent episodes."""
    block: Block | None = None
    """The episodes of its block that have not ended."""
    dismissed: bool = False

    def receive(self) -> Any:
        """Return the next message.

        Raises:
            EOFError: if the worker has ended; or ConnectionError.
            ActEvalError: if the message is one.
        """
        message = self.pipe.recv()
        if isinstance(message, ActEvalError):
            raise message
        if isinstance(message, _Progress) and isinstance(message.news, EpisodeRecord) and self.block is not None:
            left = tuple(episode for episode in self.block.episodes if episode != message.news.episode)
            self.block = Block(self.block.condition, left)
        return message

    def not_begun(self) -> list[Block]:
        """Return the episodes for another worker: not the running ones, which may have killed this worker."""
        waiting = self.block.episodes[self.batch :] if self.block else ()
        return [Block(self.block.condition, waiting)] if self.block and waiting else []

    def exit_reason(self) -> str:
        """Return a description of how the worker ended."""
        self.process.join(_GRACE_S)
        code = self.process.exitcode
        running = list(self.block.episodes[: self.batch]) if self.block else []
        during = f" during episodes {running} of {self.block.condition}" if self.block and running else ""
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        return f"worker {self.number} {how}{during}"


class _ProcessPool:
    def __init__(self, workers: list[_Process]) -> None:
        self._workers = workers
        self.machine = machine()
        try:
            self.facts = workers[0].receive().facts
        except (EOFError, ConnectionError) as error:
            raise LaunchError(f"{workers[0].exit_reason()}, before its first episode") from error

    def run(
        self,
        job: Job,
        blocks: Sequence[Block],
        shards: Sequence[Path],
        progress: Progress,
        on_check: OnCheck | None = None,
    ) -> None:
        queue, lost = list(blocks), list[str]()
        busy = list(self._workers)
        for worker, shard in zip(busy, shards, strict=True):
            worker.batch = job.batch
            with suppress(ConnectionError):  # a dead worker is handled below
                worker.pipe.send((job, shard, on_check is not None and worker.number == 0))
        while busy:
            for pipe in wait([worker.pipe for worker in busy]):
                worker = next(w for w in busy if w.pipe is pipe)
                try:
                    _serve(worker, queue, progress, on_check)
                except (EOFError, ConnectionError):
                    busy.remove(worker)
                    lost += [] if worker.dismissed else [worker.exit_reason()]
                    queue += worker.not_begun()
        if lost or queue:
            left = sum(len(block.episodes) for block in queue)
            message = "; ".join([*lost, f"{left} episodes were not started"] if left else lost)
            raise LaunchError(f"{message}. Finished episodes are kept: repeat the command to run the others.")


def _serve(worker: _Process, queue: list[Block], progress: Progress, on_check: OnCheck | None) -> None:
    """Handle one message of a worker."""
    match worker.receive():
        case _Checked(findings) if on_check is not None:
            on_check(findings)
        case _Progress(condition, news):
            progress(condition, news)
        case _Idle():
            worker.dismissed, worker.block = not queue, queue.pop(0) if queue else None
            worker.pipe.send(worker.block)
        case _Ready():
            pass  # its job is already sent


@contextmanager
def _started(build: Build, count: int) -> Iterator[list[_Process]]:
    """Start worker processes, and end the remaining ones on exit."""
    workers: list[_Process] = []
    try:
        for number in range(count):
            here, there = Pipe()
            workers.append(_Process(number, start_process(_work, there, build, number), here))
            there.close()
        yield workers
    finally:
        for worker in workers:
            if not worker.dismissed:
                worker.process.terminate()
        for worker in workers:
            worker.process.join(_GRACE_S)
            worker.process.kill()
            worker.pipe.close()


def _work(build: Build, number: int, pipe: Connection) -> None:
    """Build a worker, then run blocks until the parent sends None or ends."""
    end_with_parent()
    with suppress(EOFError, ConnectionError):  # the parent has ended
        try:
            _work_through(build, number, pipe)
        except ActEvalError as error:
            pipe.send(error)


def _work_through(build: Build, number: int, pipe: Connection) -> None:
    def tell(condition: str, news: EpisodeRecord | int) -> None:
        pipe.send(_Progress(condition, news))

    worker = build()
    try:
        pipe.send(_Ready(worker.facts if number == 0 else None))
        job, shard, checks = pipe.recv()
        with ShardWriter(shard) as writer:
            if checks:
                pipe.send(_Checked(worker.check()))
            pipe.send(_Idle())
            while (block := pipe.recv()) is not None:
                for record in job.run_block(worker, block, writer, number, tell):
                    tell(block.condition, record)
                pipe.send(_Idle())
    finally:
        worker.close()
