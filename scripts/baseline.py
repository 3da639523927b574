"""Record the outcomes of a run as a baseline for regression tests; `--help` lists the options."""

import sys

from act_eval.cli import guarded

if __name__ == "__main__":
    from act_eval.cli.baseline import run

    sys.exit(guarded(lambda: run(sys.argv[1:], prog="baseline.py")))
