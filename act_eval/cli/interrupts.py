"""Interrupts: the first ctrl-C ends a command in order, the second at once. Finished episodes are kept either way."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

_INTERRUPTED = 130


@contextmanager
def second_interrupt_at_once() -> Iterator[None]:
    """Let a second ctrl-C end this process at once; its workers end too."""
    if current_thread() is not main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    pressed = False

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            os.write(2, b"interrupted\n")
            os._exit(_INTERRUPTED)
        pressed = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if not pressed:  # else the second one may come while the interpreter ends
            signal.signal(signal.SIGINT, signal.default_int_handler)
