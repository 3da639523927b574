"""Memory that two processes share, so that images need not travel through the connection between them.

The memory has no name: both processes inherit or open one file descriptor, and it is gone when both have ended, however
they end. It holds the arrays of one message at a time, which a reader copies before the next is asked for.
"""

import mmap
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from act_eval.errors import RemoteError

SIZE = 128 * 2**20
"""Bytes reserved; memory is used only where it has been written."""
_SMALLEST = 4096
"""Arrays of fewer bytes travel in the message."""
_ALIGNMENT = 64


def reserve() -> int:
    """Return a new file descriptor of `SIZE` bytes of memory without a name."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("act_eval")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, SIZE)
    return descriptor


class SharedArrays:
    """One process's view of the memory."""

    def __init__(self, descriptor: int) -> None:
        self._bytes = np.frombuffer(mmap.mmap(descriptor, SIZE), np.uint8)
        self._end = 0

    def begin(self) -> None:
        """Begin a message: the arrays of the one before are no longer needed."""
        self._end = 0

    def put(self, array: np.ndarray) -> int | None:
        """Write an array; return its offset, or None if it is small or there is no room."""
        begin, count = self._end, array.nbytes
        if count < _SMALLEST or begin + count > SIZE:
            return None
        self._bytes[begin : begin + count] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self._end = -(-(begin + count) // _ALIGNMENT) * _ALIGNMENT
        return begin

    def read(self, offset: Any, count: int) -> NDArray[np.uint8]:
        """Return a copy of `count` bytes.

        Raises:
            RemoteError: if they are not all within the memory.
        """
        if type(offset) is not int or offset < 0 or offset + count > SIZE:
            raise RemoteError(f"an array's offset must be 0 to {SIZE - count}, got {str(offset)[:40]}")
        return self._bytes[offset : offset + count].copy()
