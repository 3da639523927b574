"""Compare two runs of the same suite, or several checkpoints; `--help` lists the options."""

import sys

from act_eval.cli import guarded

if __name__ == "__main__":
    from act_eval.cli.compare import run

    sys.exit(guarded(lambda: run(sys.argv[1:], prog="compare.py")))
