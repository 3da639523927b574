"""Workers on this machine: each builds its environments and policy once, then runs blocks of episodes.

The parent hands out one block at a time over a pipe of each worker's own, so no lock is shared: a worker that is
killed takes only its block with it, and a parent that is killed leaves workers that find their pipe closed and end.
Which worker runs a block changes nothing in its records. The parent itself loads neither policy nor environment.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any

from act_eval.errors import ActEvalError, LaunchError
from act_eval.evaluation.worker import Block, Job, Workbench, run_block
from act_eval.launch.base import WORKER_ENVIRONMENT, Build, Crew, Progress
from act_eval.results import machine
from act_eval.results.records import ShardWriter
from act_eval.types import EpisodeRecord

_GRACE_S = 5.0


@contextmanager
def local_crew(build: Build, workers: int) -> Iterator[Crew]:
    """Start workers on this machine; a single one is this process itself.

    Raises:
        LaunchError: if a worker died.
        ActEvalError: what building a workbench raised on purpose.
    """
    if workers == 1:
        bench = build()
        try:
            yield Here(bench)
        finally:
            bench.close()
    else:
        with _started(build, workers) as spawned:
            yield _Spawned(spawned)


class Here:
    """One worker: this process."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self.facts = bench.facts
        self.machine = machine()

    def run(self, job: Job, blocks: Sequence[Block], shards: Sequence[Path], progress: Progress) -> None:
        """Run every block in this process; see `Crew`."""
        with ShardWriter(shards[0]) as writer:
            for block in blocks:
                for record in run_block(job, self._bench, block, writer, worker=0):
                    progress(block.arm, record)


@dataclass(frozen=True)
class _Ready:
    """A worker has built its bench."""

    facts: Any


@dataclass(frozen=True)
class _Idle:
    """A worker waits for a block."""


@dataclass(frozen=True)
class _Episode:
    arm: str
    record: EpisodeRecord


@dataclass
class _Worker:
    number: int
    process: BaseProcess
    pipe: Connection
    batch: int = 1
    """Episodes that run at a time."""
    block: Block | None = None
    """What it works on; episodes that have ended are no longer in it."""
    sent_home: bool = False

    def receive(self) -> Any:
        """Return the next message.

        Raises:
            EOFError: or ConnectionError, if the worker has ended.
            ActEvalError: if that is the message.
        """
        message = self.pipe.recv()
        if isinstance(message, ActEvalError):
            raise message
        return message

    def ended(self, episode: int) -> None:
        """Take note of an episode that has ended."""
        assert self.block is not None
        self.block = Block(self.block.arm, tuple(one for one in self.block.episodes if one != episode))

    def not_begun(self) -> list[Block]:
        """Return what another worker can take over: not those that were running, which may be what ended this one."""
        waiting = self.block.episodes[self.batch :] if self.block else ()
        return [Block(self.block.arm, waiting)] if self.block and waiting else []

    def obituary(self) -> str:
        """Return how the worker ended."""
        self.process.join(_GRACE_S)
        code = self.process.exitcode
        running = list(self.block.episodes[: self.batch]) if self.block else []
        during = f" during episodes {running} of {self.block.arm}" if self.block and running else ""
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        return f"worker {self.number} {how}{during}"


class _Spawned:
    def __init__(self, workers: list[_Worker]) -> None:
        self._workers = workers
        self.machine = machine()
        try:
            self.facts = workers[0].receive().facts
        except (EOFError, ConnectionError) as error:
            raise LaunchError(f"{workers[0].obituary()}, before its first episode") from error

    def run(self, job: Job, blocks: Sequence[Block], shards: Sequence[Path], progress: Progress) -> None:
        queue, lost = list(blocks), list[str]()
        busy = list(self._workers)
        for worker, shard in zip(busy, shards, strict=True):
            worker.batch = job.batch
            with suppress(ConnectionError):  # a dead worker is found below
                worker.pipe.send((job, shard))
        while busy:
            for pipe in wait([worker.pipe for worker in busy]):
                worker = next(w for w in busy if w.pipe is pipe)
                try:
                    _serve(worker, queue, progress)
                except (EOFError, ConnectionError):
                    busy.remove(worker)
                    lost += [] if worker.sent_home else [worker.obituary()]
                    queue += worker.not_begun()
        if lost or queue:
            left = sum(len(block.episodes) for block in queue)
            told = "; ".join([*lost, f"{left} episodes were not begun"] if left else lost)
            raise LaunchError(f"{told}. Finished episodes are kept: repeat the command to run the others.")


def _serve(worker: _Worker, queue: list[Block], progress: Progress) -> None:
    """Answer one message of a worker."""
    match worker.receive():
        case _Episode(arm, record):
            worker.ended(record.episode)
            progress(arm, record)
        case _Idle():
            worker.sent_home, worker.block = not queue, queue.pop(0) if queue else None
            worker.pipe.send(worker.block)
        case _Ready():
            pass  # its job is on the way


@contextmanager
def _started(build: Build, count: int) -> Iterator[list[_Worker]]:
    """Start worker processes, and end those that are still there on the way out."""
    context = get_context("spawn")
    workers: list[_Worker] = []
    try:
        with _environment(WORKER_ENVIRONMENT):
            for number in range(count):
                here, there = context.Pipe()
                process = context.Process(target=_work, args=(build, number, there), daemon=True)
                with _deaf_to_interrupts():
                    process.start()
                there.close()
                workers.append(_Worker(number, process, here))
        yield workers
    finally:
        for worker in workers:
            if not worker.sent_home:
                worker.process.terminate()
        for worker in workers:
            worker.process.join(_GRACE_S)
            worker.process.kill()
            worker.pipe.close()


def _work(build: Build, number: int, pipe: Connection) -> None:
    """Build a bench, then run blocks until the parent sends None or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C reaches the whole group; the parent decides
    Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, ConnectionError):  # the parent is gone: nobody waits for more
        try:
            _work_through(build, number, pipe)
        except ActEvalError as error:
            pipe.send(error)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start a process that no ctrl-C reaches, not even while it starts; here it is only put off."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """End this process at once when its parent is gone: who resumes the run must not find it still writing."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _work_through(build: Build, number: int, pipe: Connection) -> None:
    bench = build()
    try:
        pipe.send(_Ready(bench.facts if number == 0 else None))  # finding them out may take a while
        job, shard = pipe.recv()
        with ShardWriter(shard) as writer:
            pipe.send(_Idle())
            while (block := pipe.recv()) is not None:
                for record in run_block(job, bench, block, writer, number):
                    pipe.send(_Episode(block.arm, record))
                pipe.send(_Idle())
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
