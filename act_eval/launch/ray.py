"""Workers as actors of a Ray cluster, whose nodes may come and go.

An actor runs a block in a folder of its own node and hands over each episode with its files, so that nodes need no
common disk; this process alone writes the run folder. Episodes that a lost node had not handed over run elsewhere.
"""

import logging
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from act_eval.errors import ActEvalError, LaunchError
from act_eval.launch.base import WORKER_ENVIRONMENT, Block, Build, Job, OnSteps, Progress, Ray, Worker, WorkerPool
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
"""Times that a block may be lost with its worker before it is taken to be the cause."""
_PATIENCE_S = 600.0
"""How long a cluster may have no worker at all [s]."""


@dataclass(frozen=True)
class _Episode:
    """An episode that has ended, with its files by their place in the run folder."""

    line: ShardLine
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class _WorkerReady:
    """A worker has built its environments and policy."""

    facts: Any
    machine: Mapping[str, str]
    node: str


class Actor:
    """The content of an actor. An error raised on purpose is returned, so that its type survives the transport."""

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

    def run(self, job: Job, block: Block) -> Iterator[_Episode | ActEvalError]:
        """Yield the episodes of a block as they end."""
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
        for number, _ in enumerate(job.run_block(worker, block, writer, 0)):
            line = list(read_shard(shard))[number]
            files = {}
            for path in sorted((job.folder / block.condition).rglob("*")):
                if path.suffix != ".part" and path.is_file():  # else the encoder is writing the next one's video
                    files[path.relative_to(job.folder).as_posix()] = path.read_bytes()
                    path.unlink()
            yield _Episode(line, files)


def cluster_cores() -> int:
    """Return how many processor cores the cluster has.

    Raises:
        LaunchError: if it cannot be reached.
    """
    _connect()
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


@contextmanager
def ray_pool(build: Build, workers: int, launcher: Ray) -> Iterator[WorkerPool]:
    """Start actors, and end them on the way out.

    Raises:
        LaunchError: if the cluster cannot be reached, or the first worker died.
        ActEvalError: raised on purpose while a worker was built.
    """
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
    """Connect to the cluster; return whether that was needed."""
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
    """Refuse an address where nothing listens: Ray itself would end this process."""
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
    block: Block
    left: set[int] = field(default_factory=set)


class _ActorPool:
    """The actors, and the messages that are awaited from them."""

    def __init__(self, build: Build, workers: int, launcher: Ray) -> None:
        # As spawned processes do, actors find what this process finds, a user's own modules included.
        variables = {**WORKER_ENVIRONMENT, "PYTHONPATH": os.pathsep.join([os.getcwd(), *filter(None, sys.path)])}
        options = {"num_cpus": 1, "num_gpus": launcher.gpus_per_worker, "runtime_env": {"env_vars": variables}}
        self._kind: Any = ray.remote(**options)(Actor)
        self._build = build
        self._coming: dict[Any, Any] = {}
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
        first = next(iter(self._coming))
        try:
            hello = _given(ray.get(first))
        except RayTaskError as error:
            raise LaunchError(_said(error)) from error
        except RayError as error:
            raise LaunchError(f"the first Ray worker was lost before its first episode: {_said(error)}") from error
        self.facts, self.machine = hello.facts, hello.machine
        self._idle.append(self._coming.pop(first))

    def run(
        self,
        job: Job,
        blocks: Sequence[Block],
        shards: Sequence[Path],
        progress: Progress,
        on_steps: OnSteps | None = None,
    ) -> None:
        """Run every block; see `WorkerPool`. Actors report whole episodes, no steps."""
        queue, heard = list(blocks), time.monotonic()
        with writing(job.folder), ShardWriter(shards[0]) as writer:
            while queue or self._tasks:
                while queue and self._idle:
                    self._give(job, self._idle.pop(), queue.pop(0))
                ready, _ = ray.wait([*self._tasks, *self._coming], num_returns=1, timeout=5)
                if self._tasks or ready:
                    heard = time.monotonic()
                elif time.monotonic() - heard > _PATIENCE_S:
                    raise LaunchError(
                        f"the Ray cluster has had no worker for {_PATIENCE_S:.0f} s; it offers "
                        f"{ray.cluster_resources()}. Finished episodes are kept: repeat the command to run the others."
                    )
                for source in ready:
                    if source in self._coming:
                        self._on_ready(source)
                    else:
                        queue[:0] = self._receive(source, job, writer, progress)

    def dismiss(self) -> None:
        """End every actor."""
        for actor in [*self._idle, *self._coming.values(), *(task.actor for task in self._tasks.values())]:
            ray.kill(actor)

    def _spawn(self, first: bool = False) -> None:
        actor = self._kind.remote(self._build)
        self._coming[actor.begin.remote(first)] = actor

    def _give(self, job: Job, actor: Any, block: Block) -> None:
        stream = actor.run.options(num_returns="streaming").remote(job, block)
        self._tasks[stream] = _Task(actor, block, set(block.episodes))

    def _on_ready(self, source: Any) -> None:
        """Let a worker that is ready join, or spawn another for one that was lost."""
        actor = self._coming.pop(source)
        try:
            hello = _given(ray.get(source))
        except RayTaskError as error:
            raise LaunchError(_said(error)) from error
        except RayError:
            self._spawn()
            return
        if lines := differences(dict(self.machine), dict(hello.machine), "machine"):
            raise LaunchError(
                f"the Ray worker on {hello.node} runs on another kind of machine than the first, "
                "and records must not depend on who ran an episode:\n  " + "\n  ".join(lines)
            )
        self._idle.append(actor)

    def _receive(self, stream: Any, job: Job, writer: ShardWriter, progress: Progress) -> list[Block]:
        """Take a worker's next message; return the episodes that must run again because the worker was lost."""
        task = self._tasks[stream]
        try:
            episode = _given(ray.get(next(stream)))
        except StopIteration:
            del self._tasks[stream]
            self._idle.append(task.actor)
            return []
        except RayTaskError as error:
            raise LaunchError(f"{_said(error)}, during {_named(task)}") from error
        except RayError as error:
            del self._tasks[stream]
            self._spawn()
            return self._lost(task, error)
        for place, content in episode.files.items():
            path = job.folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(path.name + ".part")
            unfinished.write_bytes(content)
            unfinished.replace(path)
        writer.write(episode.line)
        task.left.discard(episode.line.record.episode)
        progress(task.block.condition, episode.line.record)
        return []

    def _lost(self, task: _Task, error: RayError) -> list[Block]:
        """Return the rest of a lost worker's block, unless it has been lost too often."""
        if not task.left:
            return []
        for episode in task.left:
            key = (task.block.condition, episode)
            self._losses[key] = self._losses.get(key, 0) + 1
            if self._losses[key] >= _MOST_LOSSES:
                raise LaunchError(
                    f"{_MOST_LOSSES} Ray workers were lost during {_named(task)} ({_said(error)}). "
                    "Finished episodes are kept: repeat the command to run the others."
                )
        return [Block(task.block.condition, tuple(sorted(task.left)))]


def _given(message: Any) -> Any:
    """Return a message; raise it if it is an error."""
    if isinstance(message, ActEvalError):
        raise message
    return message


def _named(task: _Task) -> str:
    return f"episodes {sorted(task.left)} of {task.block.condition}"


def _said(error: RayError) -> str:
    """Return one line of what Ray says of an error: the exception itself where it shows a traceback."""
    lines = [line.strip() for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    shows_traceback = isinstance(error, RayTaskError) or any("creation task" in line for line in lines[:1])
    return (lines[-1] if shows_traceback else lines[0]) if lines else type(error).__name__
