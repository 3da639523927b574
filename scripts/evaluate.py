"""Evaluate a policy in closed loop; `--help` lists the options."""

import sys

from act_eval.cli import guarded

if __name__ == "__main__":
    from act_eval.cli.evaluate import run

    sys.exit(guarded(lambda: run(sys.argv[1:], prog="evaluate.py")))
