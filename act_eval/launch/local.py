"""Workers on this machine: each builds its environments and policy once, then runs episodes.

A worker asks the parent for each episode when a slot is free, over a pipe of its own, so that all workers end together
and no lock is shared: a killed worker loses only the episodes that it is running, and the workers of a killed parent
end when their pipe closes. The parent loads neither policy nor environment.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from act_eval.errors import ActEvalError, LaunchError
from act_eval.launch.base import Block, Build, Job, Local, OnCheck, Progress, Worker, WorkerPool
from act_eval.processes import end_with_parent, start_process, uncollected
from act_eval.results import machine
from act_eval.results.records import ShardWriter
from act_eval.types import EpisodeRecord

_GRACE_S = 5.0


@contextmanager
def local_pool(build: Build, workers: int) -> Iterator[WorkerPool]:
    """Start workers on this machine; a single worker is this process. See `act_eval.launch.worker_pool`."""
    if workers == 1:
        with uncollected():
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
                for record in job.run_episodes(self._worker, block.condition, block.episodes, writer, 0, progress):
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
    """A worker waits for a condition."""


@dataclass(frozen=True)
class _Free:
    """A worker waits for an episode of its condition."""


@dataclass(frozen=True)
class _Progress:
    """See `Progress`."""

    condition: str
    news: EpisodeRecord | int


class _Waiting:
    """Episodes that no worker has begun, by condition in running order."""

    def __init__(self, blocks: Sequence[Block], workers: int) -> None:
        self._by_condition: dict[str, deque[int]] = {}
        for block in blocks:
            self._by_condition.setdefault(block.condition, deque()).extend(block.episodes)
        self._last = next(reversed(self._by_condition), "")
        self._share = -(-len(self._by_condition.get(self._last, ())) // workers)

    def __len__(self) -> int:
        return sum(map(len, self._by_condition.values()))

    def condition(self) -> str | None:
        """Return the first condition with episodes; None if there is none."""
        return next((name for name, episodes in self._by_condition.items() if episodes), None)

    def episode(self, condition: str, running: int) -> int | None:
        """Return the next episode for a worker that runs so many; None if there is none, or it has its share.

        Of the last condition each worker runs an equal share at most; of others it may fill its batch.
        """
        episodes = self._by_condition[condition]
        has_share = condition == self._last and running >= self._share
        return None if has_share or not episodes else episodes.popleft()


@dataclass
class _Process:
    number: int
    process: BaseProcess
    pipe: Connection
    condition: str = ""
    running: list[int] = field(default_factory=list)
    """Episodes that have begun and not ended."""
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
        if isinstance(message, _Progress) and isinstance(message.news, EpisodeRecord):
            self.running.remove(message.news.episode)
        return message

    def exit_reason(self) -> str:
        """Return a description of how the worker ended."""
        self.process.join(_GRACE_S)
        code = self.process.exitcode
        during = f" during episodes {self.running} of {self.condition}" if self.running else ""
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        return f"worker {self.number} {how}{during}"


class _ProcessPool:
    def __init__(self, workers: list[_Process]) -> None:
        self._workers, self._unbuilt = workers, iter(workers)
        self.machine = machine()
        for _ in range(Local().cores()):
            self._let_one_build()
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
        waiting, lost = _Waiting(blocks, len(self._workers)), list[str]()
        busy = list(self._workers)
        shard_of = {worker.number: shard for worker, shard in zip(busy, shards, strict=True)}

        def give_job(worker: _Process) -> None:
            self._let_one_build()
            worker.pipe.send((job, shard_of[worker.number], on_check is not None and worker.number == 0))

        with suppress(ConnectionError):  # a dead worker is handled below
            give_job(busy[0])  # its facts are read, so it is ready
        while busy:
            for pipe in wait([worker.pipe for worker in busy]):
                worker = next(w for w in busy if w.pipe is pipe)
                try:
                    match worker.receive():
                        case _Ready():
                            give_job(worker)
                        case message:
                            _serve(worker, message, waiting, progress, on_check)
                except (EOFError, ConnectionError):
                    busy.remove(worker)
                    self._let_one_build()
                    lost += [] if worker.dismissed else [worker.exit_reason()]
        if lost or waiting:
            message = "; ".join([*lost, f"{len(waiting)} episodes were not started"] if waiting else lost)
            raise LaunchError(f"{message}. Finished episodes are kept: repeat the command to run the others.")

    def _let_one_build(self) -> None:
        """Let the next worker build its environments and policy; no more do so at once than there are cores."""
        if (worker := next(self._unbuilt, None)) is not None:
            with suppress(ConnectionError):  # a dead worker is handled in `run`
                worker.pipe.send(None)


def _serve(worker: _Process, message: Any, waiting: _Waiting, progress: Progress, on_check: OnCheck | None) -> None:
    """Answer a worker that runs its job."""
    match message:
        case _Checked(findings) if on_check is not None:
            on_check(findings)
        case _Progress(condition, news):
            progress(condition, news)
        case _Idle():
            condition = waiting.condition()
            worker.dismissed, worker.condition = condition is None, condition or ""
            worker.pipe.send(condition)
        case _Free():
            episode = waiting.episode(worker.condition, len(worker.running))
            worker.running += [] if episode is None else [episode]
            worker.pipe.send(episode)


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
    """Build a worker when the parent lets it, then run episodes until the parent has none or ends."""
    end_with_parent()
    with suppress(EOFError, ConnectionError):  # the parent has ended
        pipe.recv()
        try:
            _work_through(build, number, pipe)
        except ActEvalError as error:
            pipe.send(error)


def _work_through(build: Build, number: int, pipe: Connection) -> None:
    def tell(condition: str, news: EpisodeRecord | int) -> None:
        pipe.send(_Progress(condition, news))

    def handed() -> Iterator[int]:
        while True:
            pipe.send(_Free())
            if (episode := pipe.recv()) is None:
                return
            yield episode

    worker = build()
    try:
        pipe.send(_Ready(worker.facts if number == 0 else None))
        job, shard, checks = pipe.recv()
        with ShardWriter(shard) as writer:
            if checks:
                pipe.send(_Checked(worker.check()))
            pipe.send(_Idle())
            while (condition := pipe.recv()) is not None:
                for record in job.run_episodes(worker, condition, handed(), writer, number, tell):
                    tell(condition, record)
                pipe.send(_Idle())
    finally:
        worker.close()
