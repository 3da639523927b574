"""Two LLVMs in one process: that of Mesa's software renderer, and that of Triton, which torch's compilers load.

Mesa's drivers export their symbols to every library that is loaded later. Triton's library would resolve its LLVM
symbols to Mesa's and crash the process, at the first optimiser or compiled module after the first rendered image.
"""

import ctypes
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_LIBRARY = "triton._C.libtriton"


class _OwnSymbolsFirst(MetaPathFinder):
    """Loads Triton's library just before its import so that its own symbols are resolved first.

    It finds no module itself, and costs nothing if Triton is never imported.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == _LIBRARY:
            found = PathFinder.find_spec(fullname, path, target)
            if found is not None and found.origin is not None:
                ctypes.CDLL(found.origin, mode=os.RTLD_NOW | os.RTLD_DEEPBIND)
        return None


def isolate_triton_symbols() -> None:
    """Make it safe to import Triton after a renderer was opened; idempotent."""
    deep = hasattr(os, "RTLD_DEEPBIND")  # Linux; elsewhere libraries do not mix their symbols
    if deep and not any(isinstance(finder, _OwnSymbolsFirst) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OwnSymbolsFirst())
