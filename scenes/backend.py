"""MuJoCo's OpenGL backend, by the environment variable MUJOCO_GL. MuJoCo loads it when it is imported."""

import ctypes
import os
import sys
from ctypes.util import find_library

from act_eval.errors import RenderError

BACKENDS = ("egl", "osmesa", "glfw")
_OFF = ("disable", "disabled", "off", "false", "0")
_LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}


def usual_backend() -> str:
    """Return what runs here without a screen.

    Decided before trying: PyOpenGL binds itself for good to the first platform that it is imported for.
    """
    if sys.platform != "linux":
        return "glfw"
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError:
        return "osmesa"
    return "egl"


def check_backend() -> None:
    """Refuse a MUJOCO_GL with which MuJoCo could not be imported.

    Raises:
        RenderError: naming the value, and what is allowed.
    """
    backend = os.environ.get("MUJOCO_GL", "").lower().strip()
    if backend and backend not in (*BACKENDS, *_OFF):
        raise RenderError(f"MUJOCO_GL is {backend!r}; allowed: {', '.join(BACKENDS)}, or unset")
    library = _LIBRARIES.get(backend)
    if sys.platform == "linux" and library is not None and find_library(library) is None:
        instead = "unset it" if (usual := usual_backend()) == backend else f"unset it or use {usual}"
        raise RenderError(f"MUJOCO_GL={backend} cannot be loaded (lib{library} is missing): {instead}")
