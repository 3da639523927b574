"""Two LLVMs in one process: that of Mesa's software renderer, and the one inside Triton, which torch's compilers load.

Mesa's drivers offer their symbols to everything that is loaded later. Triton's library would take Mesa's LLVM for its
own and crash the process: at the first optimiser or compiled module after the first picture.
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
    """Loads Triton's library, just before it is imported, so that it finds its own symbols before others' of the name.

    It finds no module itself, and costs nothing where Triton is never imported.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == _LIBRARY:
            found = PathFinder.find_spec(fullname, path, target)
            if found is not None and found.origin is not None:
                ctypes.CDLL(found.origin, mode=os.RTLD_NOW | os.RTLD_DEEPBIND)
        return None


def keep_apart() -> None:
    """Let Triton be imported after a renderer was opened; calling it again changes nothing."""
    deep = hasattr(os, "RTLD_DEEPBIND")  # Linux; elsewhere libraries do not mix their symbols
    if deep and not any(isinstance(finder, _OwnSymbolsFirst) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OwnSymbolsFirst())
