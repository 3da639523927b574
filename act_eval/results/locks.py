"""Locks on folders. The operating system releases a lock when its process ends."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from act_eval.errors import RunFolderError
from act_eval.results.records import writing

LOCK = ".lock"
"""Name of a folder's lock file."""


def locked(folder: Path, shared: bool = False) -> AbstractContextManager[None]:
    """Hold a folder's lock.

    Args:
        folder: the folder.
        shared: whether other processes may hold it too, also shared.

    Raises:
        RunFolderError: if another process holds it.
    """
    return locked_file(folder / LOCK, folder, shared)


@contextmanager
def locked_file(path: Path, meaning: Path, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a file; errors name `meaning`.

    Raises:
        RunFolderError: if another process holds it.
    """
    # Does not change the file; NFS shares a lock only on a file that is open for reading too.
    with _opened(path, "a+") as file:
        try:
            _lock(file, shared)
        except OSError as error:
            raise RunFolderError(
                f"{meaning} is in use by another process; wait for it or choose another --out"
            ) from error
        yield


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Wait for the lock of a file; processes hold it only briefly."""
    with _opened(path, "a") as file:
        _lock(file, wait=True)
        yield


def _opened(path: Path, mode: str) -> IO[str]:
    with writing(path.parent):
        return path.open(mode)


def _lock(file: IO[str], shared: bool = False, wait: bool = False) -> None:
    if sys.platform == "win32":
        import msvcrt

        if not (shared or wait):
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
