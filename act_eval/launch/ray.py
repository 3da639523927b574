"""Workers as actors of a Ray cluster, whose nodes may come and go.

An actor runs a block in a temporary folder of its node and sends each episode with its files, so that nodes need no
shared disk; only this process writes the run folder. Unsent episodes of a lost node run again on another one. Once no
block is left, idle actors run what slow ones have not begun; an episode's record is the same wherever it runs, so the
first that arrives counts.
"""

import logging
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from act_eval.errors import ActEvalError, LaunchError
from act_eval.launch.base import Block, Build, Job, OnCheck, Progress, Ray, Worker, WorkerPool
from act_eval.processes import WORKER_ENVIRONMENT
from act_eval.results import machine
from act_eval.results.records import ShardLine, ShardWriter, read_shard, writing
from act_eval.results.suites import differences

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise LaunchError("--launcher ray needs Ray: pip install 'act_eval[scale]'") from error

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_ADDRESS = re.compile(r"(?:ray://)?\[?(?P<host>[^/\[\]]+)\]?:(?P<port>\d{1,5})")
_REACHABLE_S = 10.0
_MOST_LOSSES = 3
"""Number of workers that may be lost while the same episode runs before the run stops."""
_PATIENCE_S = 600.0
"""Longest time without any worker [s]."""


@dataclass(frozen=True)
class _Episode:
    """An ended episode, with its files by their path in the run folder."""

    line: ShardLine
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class _WorkerReady:
    """A worker has built its environments and policy."""

    facts: Any
    machine: Mapping[str, str]
    node: str


class Actor:
    """The class behind an actor. An `ActEvalError` is returned, not raised, so that its type survives the transport."""

    def __init__(self, build: Build) -> None:
        self._build = build
        self._worker: Worker | None = None

    def begin(self, first: bool) -> _WorkerReady | ActEvalError:
        """Build the worker; the first one also returns its facts."""
        try:
            self._worker = worker = self._build()
            return _WorkerReady(worker.facts if first else None, machine(), ray.util.get_node_ip_address())
        except ActEvalError as error:
            return error

    def check(self) -> tuple[str, ...] | ActEvalError:
        """Return the findings of the worker's check."""
        assert self._worker is not None
        try:
            return self._worker.check()
        except ActEvalError as error:
            return error

    def run(self, job: Job, block: Block) -> Iterator[_Episode | ActEvalError]:
        """Run a block; yield each episode when it ends."""
        assert self._worker is not None
        folder = Path(tempfile.mkdtemp(prefix="act_eval-"))
        try:
            yield from _run(job.moved(folder), self._worker, block)
        except ActEvalError as error:
            yield error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _run(job: Job, worker: Worker, block: Block) -> Iterator[_Episode]:
    shard = job.folder / "shard.jsonl"
    with writing(job.folder), ShardWriter(shard) as writer:
        records = job.run_episodes(worker, block.condition, block.episodes, writer, 0, lambda _condition, _steps: None)
        for number, _ in enumerate(records):
            line = list(read_shard(shard))[number]
            files = {}
            for path in sorted((job.folder / block.condition).rglob("*")):
                if path.suffix != ".part" and path.is_file():  # a .part file is the next episode's video
                    files[path.relative_to(job.folder).as_posix()] = path.read_bytes()
                    path.unlink()
            yield _Episode(line, files)


def cluster_cores() -> int:
    """Return the number of processor cores of the cluster."""
    _connect()
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


@contextmanager
def ray_pool(build: Build, workers: int, launcher: Ray) -> Iterator[WorkerPool]:
    """Start actors, and end them on exit. See `act_eval.launch.worker_pool`."""
    connected = _connect()
    pool = _ActorPool(build, workers, launcher)
    try:
        pool.begin()
        yield pool
    finally:
        pool.dismiss()
        if connected:
            ray.shutdown()


def _connect() -> bool:
    """Connect to the cluster; return False if already connected."""
    if ray.is_initialized():
        return False
    address = os.environ.get("RAY_ADDRESS")
    if address is not None and (place := _ADDRESS.fullmatch(address)):
        _check_reachable(address, place["host"], int(place["port"]))
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (RayError, ConnectionError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at RAY_ADDRESS={address}" if address else "a Ray cluster"
        raise LaunchError(f"cannot reach {where}: {str(error).splitlines()[0]}") from error
    return True


def _check_reachable(address: str, host: str, port: int) -> None:
    """Check that the address accepts connections; otherwise Ray would end this process."""
    try:
        socket.create_connection((host, port), timeout=_REACHABLE_S).close()
    except OSError as error:
        raise LaunchError(
            f"cannot reach the Ray cluster at RAY_ADDRESS={address}: {error.strerror or error}"
        ) from error


@dataclass
class _Task:
    """A block that an actor runs."""

    actor: Any
    job: Job
    block: Block
    left: dict[int, None]
    """Its episodes that have not arrived and that no other actor runs too, in running order."""


class _ActorPool:
    """The actors, and their pending messages."""

    def __init__(self, build: Build, workers: int, launcher: Ray) -> None:
        # Actors import from the same paths as this process, so that they find the user's modules.
        variables = {**WORKER_ENVIRONMENT, "PYTHONPATH": os.pathsep.join([os.getcwd(), *filter(None, sys.path)])}
        options = {"num_cpus": 1, "num_gpus": launcher.gpus_per_worker, "runtime_env": {"env_vars": variables}}
        self._kind: Any = ray.remote(**options)(Actor)
        self._build = build
        self._starting: dict[Any, Any] = {}
        """Reference to a worker's first message → the worker."""
        self._idle: list[Any] = []
        self._tasks: dict[Any, _Task] = {}
        """Stream of episodes → the task that sends it."""
        self._losses: dict[tuple[str, int], int] = {}
        for number in range(workers):
            self._spawn(first=number == 0)
        self.facts: Any = None
        self.machine: Mapping[str, str] = {}

    def begin(self) -> None:
        """Wait for the first worker, whose facts hold for all."""
        first = next(iter(self._starting))
        try:
            message = _result(ray.get(first))
        except RayTaskError as error:
            raise LaunchError(_error_line(error)) from error
        except RayError as error:
            raise LaunchError(
                f"the first Ray worker was lost before its first episode: {_error_line(error)}"
            ) from error
        self.facts, self.machine = message.facts, message.machine
        self._idle.append(self._starting.pop(first))

    def run(
        self,
        job: Job,
        blocks: Sequence[Block],
        shards: Sequence[Path],
        progress: Progress,
        on_check: OnCheck | None = None,
    ) -> None:
        """Run every block; see `WorkerPool`. Actors report only whole episodes, and the check comes before them."""
        if on_check is not None:
            on_check(_result(ray.get(self._idle[0].check.remote())))
        queue, last_message = deque(blocks), time.monotonic()
        missing = {(block.condition, episode) for block in blocks for episode in block.episodes}
        with writing(job.folder), ShardWriter(shards[0]) as writer:
            while missing:
                while self._idle and (block := queue.popleft() if queue else self._half_of_slowest(job)):
                    self._start_block(job, self._idle.pop(), block)
                ready = self._ready()
                if self._tasks or ready:
                    last_message = time.monotonic()
                elif time.monotonic() - last_message > _PATIENCE_S:
                    raise LaunchError(
                        f"the Ray cluster has had no worker for {_PATIENCE_S:.0f} s; it offers "
                        f"{ray.cluster_resources()}. Finished episodes are kept: repeat the command to run the others."
                    )
                for source in ready:
                    if source in self._starting:
                        self._on_ready(source)
                    else:
                        queue.extendleft(self._receive(source, job, missing, writer, progress))

    def _ready(self) -> list[Any]:
        """Return the workers that have a message; after five seconds none.

        All of them in one go: a wait costs in proportion to the workers, and there may be a thousand.
        """
        pending = [*self._tasks, *self._starting]
        ready, _ = ray.wait(pending, num_returns=1, timeout=5)
        return ray.wait(pending, num_returns=len(pending), timeout=0)[0] if ready else []

    def dismiss(self) -> None:
        """End every actor."""
        for actor in [*self._idle, *self._starting.values(), *(task.actor for task in self._tasks.values())]:
            ray.kill(actor)

    def _spawn(self, first: bool = False) -> None:
        actor = self._kind.remote(self._build)
        self._starting[actor.begin.remote(first)] = actor

    def _start_block(self, job: Job, actor: Any, block: Block) -> None:
        stream = actor.run.options(num_returns="streaming").remote(job, block)
        self._tasks[stream] = _Task(actor, job, block, dict.fromkeys(block.episodes))

    def _half_of_slowest(self, job: Job) -> Block | None:
        """Return half of the most episodes that an actor has not begun, to be run by another one too."""
        running = [task for task in self._tasks.values() if task.job is job]
        slowest = max(running, key=lambda task: len(task.left), default=None)
        waiting = [] if slowest is None else list(slowest.left)[job.batch :]
        if slowest is None or not waiting:
            return None
        half = waiting[len(waiting) // 2 :]
        for episode in half:
            del slowest.left[episode]
        return Block(slowest.block.condition, tuple(half))

    def _on_ready(self, source: Any) -> None:
        """Add a ready worker to the idle ones, or replace a lost one."""
        actor = self._starting.pop(source)
        try:
            message = _result(ray.get(source))
        except RayTaskError as error:
            raise LaunchError(_error_line(error)) from error
        except RayError:
            self._spawn()
            return
        if lines := differences(dict(self.machine), dict(message.machine), "machine"):
            raise LaunchError(
                f"the Ray worker on {message.node} runs on another kind of machine than the first, "
                "and records must not depend on the worker:\n  " + "\n  ".join(lines)
            )
        self._idle.append(actor)

    def _receive(
        self, stream: Any, job: Job, missing: set[tuple[str, int]], writer: ShardWriter, progress: Progress
    ) -> list[Block]:
        """Receive a worker's next message; return the episodes to run again if the worker was lost."""
        task = self._tasks[stream]
        try:
            episode = _result(ray.get(next(stream)))
        except StopIteration:
            del self._tasks[stream]
            self._idle.append(task.actor)
            return []
        except RayTaskError as error:
            raise LaunchError(f"{_error_line(error)}, during {_describe(task)}") from error
        except RayError as error:
            del self._tasks[stream]
            self._spawn()
            return self._lost(task, missing, error) if task.job is job else []
        number = episode.line.record.episode
        task.left.pop(number, None)
        if task.job is not job or (task.block.condition, number) not in missing:
            return []  # an episode that another worker has run, of this run or of one before
        for place, content in episode.files.items():
            path = job.folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(path.name + ".part")
            unfinished.write_bytes(content)
            unfinished.replace(path)
        writer.write(episode.line)
        missing.discard((task.block.condition, number))
        progress(task.block.condition, episode.line.record)
        return []

    def _lost(self, task: _Task, missing: set[tuple[str, int]], error: RayError) -> list[Block]:
        """Return the unfinished episodes of a lost worker's block.

        Raises:
            LaunchError: if an episode was running in too many lost workers; those behind it in its block had not begun.
        """
        if not task.left:
            return []
        for episode in list(task.left)[: task.job.batch]:
            key = (task.block.condition, episode)
            self._losses[key] = self._losses.get(key, 0) + 1
            if self._losses[key] >= _MOST_LOSSES:
                raise LaunchError(
                    f"{_MOST_LOSSES} Ray workers were lost during {_describe(task)} ({_error_line(error)}). "
                    "Finished episodes are kept: repeat the command to run the others."
                )
        again = tuple(one for one in task.left if (task.block.condition, one) in missing)
        return [Block(task.block.condition, again)] if again else []


def _result(message: Any) -> Any:
    """Return a message; raise it if it is an error."""
    if isinstance(message, ActEvalError):
        raise message
    return message


def _describe(task: _Task) -> str:
    return f"episodes {list(task.left)} of {task.block.condition}"


def _error_line(error: RayError) -> str:
    """Return one line of a Ray error: the last line of a traceback, otherwise the first line."""
    lines = [line.strip() for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    has_traceback = isinstance(error, RayTaskError) or any("creation task" in line for line in lines[:1])
    return (lines[-1] if has_traceback else lines[0]) if lines else type(error).__name__
