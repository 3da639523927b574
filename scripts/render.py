"""Film episodes of a run again from their logged states, at any size; `--help` lists the options."""

import sys

from act_eval.cli import guarded

if __name__ == "__main__":
    from act_eval.cli.render import run

    sys.exit(guarded(lambda: run(sys.argv[1:], prog="render.py")))
