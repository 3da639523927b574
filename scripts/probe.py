"""Tell which declared inputs move a policy's output; `--help` lists the options."""

import sys

from act_eval.cli import guarded

if __name__ == "__main__":
    from act_eval.cli.probe import run

    sys.exit(guarded(lambda: run(sys.argv[1:], prog="probe.py")))
