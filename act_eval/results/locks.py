"""Locks on folders. The operating system releases a lock when its process ends."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from act_eval.errors import RunFolderError
from act_eval.results.records import writing

LOCK = ".lock"
"""Name of a folder's lock file."""


@contextmanager
def locked(path: Path, shared: bool = False) -> Iterator[None]:
    """Hold a folder's lock.

    Args:
        path: the folder.
        shared: whether other processes may hold it too, also shared.

    Raises:
        RunFolderError: if another process holds it.
    """
    with _held(path / LOCK, path, shared=shared):
        yield


@contextmanager
def locked_file(path: Path, meaning: Path) -> Iterator[None]:
    """Hold the lock of a file; errors name `meaning`.

    Raises:
        RunFolderError: if another process holds it.
    """
    with _held(path, meaning):
        yield


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Wait for the lock of a file; processes hold it only briefly."""
    with writing(path.parent):
        file = path.open("a")  # locking does not change the file
    with file:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _held(path: Path, meaning: Path, shared: bool = False) -> Iterator[None]:
    with writing(path.parent):
        # Does not change the file; NFS shares a lock only on a file that is open for reading too.
        file = path.open("a+")
    with file:
        try:
            _lock(file, shared)
        except OSError as error:
            raise RunFolderError(
                f"{meaning} is in use by another process; wait for it or choose another --out"
            ) from error
        yield


def _lock(file: IO[str], shared: bool) -> None:
    if sys.platform == "win32":
        import msvcrt

        if not shared:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
