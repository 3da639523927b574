"""Which OpenGL context is current, asked of EGL itself.

A process may hold contexts of several packages. dm_control caches which one is current,
so code that draws in between must restore its context.
"""

import ctypes
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Protocol

from act_eval.errors import RenderError

_DRAW = 0x3059  # EGL_DRAW
_OURS: set[int] = set()
_LOST = (
    "the OpenGL context for off-screen rendering was lost (a reset or removed graphics driver?); a new process gets one"
)


class Context(Protocol):
    """Interface of MuJoCo's GLContext."""

    def make_current(self) -> None: ...

    def free(self) -> None: ...


class BoundContext:
    """One context, made current when it is needed and not already is."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._handle: int | None = None
        with self.current():
            self._handle = _current()
        if self._handle is not None:
            _OURS.add(self._handle)
            weakref.finalize(self, _OURS.discard, self._handle)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Let OpenGL's calls mean this context; afterwards somebody else's that was current is so again.

        Raises:
            RenderError: if the context is there no more: what is drawn would be what was drawn last.
        """
        before = _current()
        if self._handle is not None and before == self._handle:
            yield
            return
        library = _egl() if before is not None and before not in _OURS else None
        if library is None:
            self._make_current()
            yield
            return
        display, surface = library.eglGetCurrentDisplay(), library.eglGetCurrentSurface(_DRAW)
        self._make_current()
        try:
            yield
        finally:
            library.eglMakeCurrent(display, surface, surface, before)

    def free(self) -> None:
        """Give the context back; drawing with it is a `RenderError` afterwards."""
        from OpenGL.error import Error as OpenGLError

        try:
            self._context.free()
        except OpenGLError:
            # At its end another package (dm_control under MUJOCO_GL=egl) closes the display for the whole process.
            # There is nothing to give back then; held for good, the context does not try again when it is deleted.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._context))

    def _make_current(self) -> None:
        from OpenGL.error import Error as OpenGLError  # late: OpenGL is bound to its platform when it is imported

        try:
            self._context.make_current()
        except (OpenGLError, RuntimeError) as error:
            raise RenderError(_LOST) from error
        # A context that was freed makes none current without a word.
        if self._handle is not None and _current() != self._handle:
            raise RenderError(_LOST)


def _current() -> int | None:
    """Return the handle of the context that is current in this thread; None where there is none or EGL is not used."""
    library = _egl()
    return None if library is None else library.eglGetCurrentContext()


@lru_cache(maxsize=1)
def _egl() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    try:
        library = ctypes.CDLL("libEGL.so.1")
    except OSError:
        return None
    for name in ("eglGetCurrentContext", "eglGetCurrentDisplay", "eglGetCurrentSurface"):
        getattr(library, name).restype = ctypes.c_void_p
    library.eglMakeCurrent.argtypes = [ctypes.c_void_p] * 4
    return library
