"""Off-screen rendering with one OpenGL context per process and model.

A process may hold contexts of several packages, and dm_control caches which one is current: drawing restores the
context that was current before, which EGL itself is asked for.

Shadows, reflections and multisampling are off: with them a software renderer takes 12–60 ms a frame, without
0.2–0.6 ms (64² to 128²). Demonstrations and evaluations must be rendered alike, so there is no switch.
"""

import atexit
import ctypes
import os
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from multiprocessing.util import Finalize
from types import ModuleType
from typing import Any
from weakref import WeakSet

import mujoco
import numpy as np
from numpy.typing import NDArray

from act_eval.errors import RenderError, UsageError
from act_eval.scenes.backend import BACKENDS, usual_backend
from act_eval.scenes.projection import camera_id

MAX_SIDE = 1280
"""Largest image side [px]."""
_OPEN: "WeakSet[OffscreenRenderer]" = WeakSet()
_DRAW = 0x3059  # EGL_DRAW
_RENDERER = 0x1F01  # GL_RENDERER
_OURS: set[int] = set()
_CANVASES = 4  # sizes whose canvases are kept; a new one takes a few milliseconds
_TRITON = "triton._C.libtriton"
_LOST = (
    "the OpenGL context for off-screen rendering was lost (a reset or removed graphics driver?); a new process gets one"
)


class BoundContext:
    """A context of MuJoCo (its `GLContext`), made current when it is needed and not already is."""

    def __init__(self, context: Any) -> None:
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
    for name in ("eglGetCurrentContext", "eglGetCurrentDisplay", "eglGetCurrentSurface", "eglGetProcAddress"):
        getattr(library, name).restype = ctypes.c_void_p
    library.eglMakeCurrent.argtypes = [ctypes.c_void_p] * 4
    return library


def _gl_string(name: int) -> bytes | None:
    """Return a string of the current context."""
    library = _egl()
    if library is not None and library.eglGetCurrentContext() and (at := library.eglGetProcAddress(b"glGetString")):
        return ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_uint)(at)(name)  # PyOpenGL takes 0.2 s to load
    from OpenGL import GL

    GL.glGetError()  # clears what drawing left behind: PyOpenGL would raise it here
    return GL.glGetString(name)


@dataclass(frozen=True, eq=False)
class _Canvas:
    """What images of one size are drawn with.

    A software renderer clears a buffer of the image's own size at once, but a part of a larger one pixel by pixel,
    which takes a tenth of the time of an image.
    """

    context: mujoco.MjrContext
    viewport: mujoco.MjrRect
    read: NDArray[np.uint8]
    """(H, W, 3) kept, because memory that is in the cache is read into faster."""

    @classmethod
    def of(cls, model: mujoco.MjModel, height: int, width: int) -> "_Canvas":
        size = model.vis.global_
        size.offwidth, size.offheight = width, height
        try:
            context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        except mujoco.FatalError as error:
            raise RenderError(f"OpenGL gives no buffer of {width}×{height} pixels to render into: {error}") from error
        return cls(context, mujoco.MjrRect(0, 0, width, height), np.empty((height, width, 3), np.uint8))


class OffscreenRenderer:
    """Renders any camera of one model at any size up to `MAX_SIDE`."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self.bound = BoundContext(_open_context())
        """Callers with many images may keep it current meanwhile."""
        self._scene = mujoco.MjvScene(model, maxgeom=200)
        for flag in (
            mujoco.mjtRndFlag.mjRND_SHADOW,
            mujoco.mjtRndFlag.mjRND_REFLECTION,
            mujoco.mjtRndFlag.mjRND_SKYBOX,
        ):
            self._scene.flags[flag] = False
        self._option = mujoco.MjvOption()
        self._option.sitegroup[:] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._canvases: dict[tuple[int, int], _Canvas] = {}
        _OPEN.add(self)

    @property
    def name(self) -> str:
        """The renderer string that OpenGL reports, such as `llvmpipe (LLVM 15.0.6, 256 bits)`."""
        with self.bound.current():
            return (_gl_string(_RENDERER) or b"unknown").decode()

    def render(
        self, data: mujoco.MjData, camera: str, height: int, width: int, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Return the camera's view of `data` as (height, width, 3) RGB; kinematics must be up to date.

        `data` may be of a copy of the renderer's model, with other lights, cameras, colours and places.

        Raises:
            UsageError: if the camera does not exist or a side is outside 1 … `MAX_SIDE`.
            RenderError: if the OpenGL context was lost.
        """
        self._camera.fixedcamid = camera_id(self._model, camera)
        if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
            raise UsageError(f"image size is {height}×{width}; sides of 1 to {MAX_SIDE} pixels are allowed")
        with self.bound.current():
            canvas = self._canvas_of(height, width)
            mujoco.mjv_updateScene(
                data.model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
            )
            mujoco.mjr_render(canvas.viewport, self._scene, canvas.context)
            mujoco.mjr_readPixels(canvas.read, None, canvas.viewport, canvas.context)
        image = np.empty_like(canvas.read) if out is None else out
        image[:] = canvas.read[::-1]  # OpenGL's first row is the lowest
        return image

    def free(self) -> None:
        """Give back what OpenGL holds; nothing can be drawn afterwards."""
        with suppress(RenderError), self.bound.current():
            while self._canvases:
                self._canvases.popitem()[1].context.free()
        self.bound.free()

    def _canvas_of(self, height: int, width: int) -> "_Canvas":
        """Return the canvas of an image size, where OpenGL draws next; the context must be current."""
        canvas = self._canvases.pop((height, width), None)
        if canvas is None:
            if len(self._canvases) == _CANVASES:  # the one that was drawn on longest ago gives way
                self._canvases.pop(next(iter(self._canvases))).context.free()
            canvas = _Canvas.of(self._model, height, width)
        self._canvases[height, width] = canvas
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, canvas.context)
        return canvas


@lru_cache(maxsize=8)
def renderer_for(model: mujoco.MjModel) -> OffscreenRenderer:
    """Return this process's renderer of a model; environments of one process share it."""
    renderer = OffscreenRenderer(model)
    # Left to the interpreter's end, a context that an environment still holds would be freed after EGL itself, with a
    # traceback on the screen. atexit serves the main process; worker processes skip it, but run Finalize.
    atexit.register(_free_all)
    Finalize(None, _free_all, exitpriority=0)
    return renderer


def _free_all() -> None:
    for renderer in list(_OPEN):
        renderer.free()


def _open_context() -> Any:
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    if wanted and wanted not in BACKENDS:
        raise RenderError(f"MUJOCO_GL is {wanted!r}; allowed: {', '.join(BACKENDS)}, or unset")
    backend = wanted or usual_backend()
    isolate_triton_symbols()
    try:
        return import_module(f"mujoco.{backend}").GLContext(MAX_SIDE, MAX_SIDE)
    except (ImportError, RuntimeError, AttributeError, OSError) as error:  # what a missing GL library raises
        raise RenderError(
            f"no OpenGL context for off-screen rendering with {backend} ({error}); on Debian and Ubuntu "
            "`apt-get install libegl1 libegl-mesa0 libgl1 libopengl0 libgl1-mesa-dri` gives one"
        ) from error


class _OwnSymbolsFirst(MetaPathFinder):
    """Loads Triton's library just before its import so that its own symbols are resolved first.

    A process has two LLVMs: that of Mesa's software renderer, and that of Triton, which torch's compilers load. Mesa's
    drivers export their symbols to every library that is loaded later; Triton's would resolve its own to them and
    crash the process at the first optimiser or compiled module after the first rendered image. This finds no module
    itself, and costs nothing if Triton is never imported.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == _TRITON:
            found = PathFinder.find_spec(fullname, path, target)
            if found is not None and found.origin is not None:
                ctypes.CDLL(found.origin, mode=os.RTLD_NOW | os.RTLD_DEEPBIND)
        return None


def isolate_triton_symbols() -> None:
    """Make it safe to import Triton after a renderer was opened; idempotent."""
    deep = hasattr(os, "RTLD_DEEPBIND")  # Linux; elsewhere libraries do not mix their symbols
    if deep and not any(isinstance(finder, _OwnSymbolsFirst) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OwnSymbolsFirst())
