"""Starting runs as processes, disturbing them, and comparing what comes of it with an undisturbed run."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from toy_run import run

from act_eval.video import VideoMode

TOY_RUN = Path(__file__).parent / "toy_run.py"
PATIENCE_S = 300.0


class Process:
    """A command in a process group of its own, whose members can be found and killed."""

    def __init__(self, command: Sequence[object], largest_file: int | None = None) -> None:
        """Start it; `largest_file` limits the size of the files that it may write [bytes], like a full disk."""
        limits = (largest_file or 0, resource.RLIM_INFINITY)
        self._popen = subprocess.Popen(
            [sys.executable, "-B", *map(str, command)],  # under a limit, Python would cut its bytecode files off
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=None if largest_file is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
        )

    @property
    def parent(self) -> int:
        return self._popen.pid

    @property
    def has_ended(self) -> bool:
        return self._popen.poll() is not None

    def workers(self) -> list[int]:
        """Return the processes that run episodes."""
        return [pid for server in self.servers() for pid in _children(server)]

    def servers(self) -> list[int]:
        """Return the process that the parent has started to fork workers from, in a list; none before it starts."""
        return [pid for pid in _children(self.parent) if b"forkserver" in _command_line(pid)]

    def signal_all(self, number: int) -> None:
        """Send a signal to every member, as a terminal does."""
        os.killpg(self.parent, number)

    def end(self) -> tuple[int, str]:
        """Wait for the end of the parent and of every other member; return exit code and standard error."""
        _, said = self._popen.communicate(timeout=PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while self._is_anybody_left():
            assert time.monotonic() < deadline, "processes are left of a run that has ended"
            time.sleep(0.02)
        return self._popen.returncode, said

    def _is_anybody_left(self) -> bool:
        try:
            os.killpg(self.parent, 0)
        except ProcessLookupError:
            return False
        return True


def kill(pid: int) -> None:
    """Kill a process that may have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_for(path: Path, process: Process) -> None:
    """Wait until a file is there, or the process has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists() and not process.has_ended:
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.005)


def toy_run(
    out: Path,
    workers: int = 2,
    episodes: int = 8,
    pause_s: float = 0.01,
    largest_file: int | None = None,
    video: VideoMode = "none",
) -> Process:
    return Process([TOY_RUN, out, workers, episodes, pause_s, video], largest_file)


def undisturbed_content(out: Path, episodes: int = 8, video: VideoMode = "none") -> dict[str, bytes]:
    """Run what `toy_run` runs, in this process, and return its content."""
    run(out, workers=1, episodes=episodes, pause_s=0.0, video=video)
    found = content(out)
    assert len(found) == 2 * (2 + episodes) + (2 * episodes if video == "all" else 0)
    return found


def content(out: Path) -> dict[str, bytes]:
    """Return everything of a run that must not depend on how it went, by its place."""
    names = [
        *out.glob("*/episodes.jsonl"),
        *out.glob("*/metrics.jsonl"),
        *out.glob("*/steps/*"),
        *out.glob("*/videos/*"),
    ]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in names}


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(child) for child in tasks.read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
