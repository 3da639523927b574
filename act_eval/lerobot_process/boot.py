"""Serve a LeRobot policy to the process that started this one: `PYTHON boot.py`, settings as JSON in standard input.

Standard output carries one line of JSON: the address of the server, or what is wrong. Whatever else is printed goes to
standard error. The process ends when its standard input does, that is, with its parent. This file runs in any Python 3,
so that one without the packages is told apart from one that is too old.
"""

import json
import os
import sys
import threading
from importlib.util import find_spec, module_from_spec, spec_from_file_location

NEEDED = ("numpy", "torch", "lerobot", "websockets", "msgpack")
LEAST = (3, 11)


def main():
    """Serve until the parent ends, or report why not."""
    report = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # LeRobot prints
    settings = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_parent, daemon=True).start()
    server, answer = None, unfit()
    if answer is None:
        load_act_eval()
        from act_eval.lerobot_process.serve import prepare

        server, answer = prepare(settings)
    report.write(json.dumps(answer) + "\n")
    report.close()
    if server is not None:
        server.serve_forever()


def end_with_parent():
    """End this process when its standard input ends."""
    while sys.stdin.readline():
        pass
    os._exit(0)


def unfit():
    """Return why this Python cannot serve, or None."""
    found = sys.version.split()[0]
    if sys.version_info[:2] < LEAST:
        return {
            "kind": "python",
            "error": f"it is Python {found}; act_eval's part of the process needs {LEAST[0]}.{LEAST[1]} or newer",
        }
    missing = [name for name in NEEDED if find_spec(name) is None]
    if not missing:
        return None
    names = " ".join(missing)
    lacks = f"it (Python {found}) has no {', '.join(missing)}"
    return {"kind": "python", "error": f"{lacks}: {sys.executable} -m pip install {names}"}


def load_act_eval():
    """Import the package of this file, whatever else this Python calls act_eval."""
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path = [path for path in sys.path if os.path.abspath(path) != os.path.dirname(os.path.abspath(__file__))]
    spec = spec_from_file_location("act_eval", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder])
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["act_eval"] = module_from_spec(spec)
    spec.loader.exec_module(module)


if __name__ == "__main__":
    main()
