"""Write the review page of one or several runs; `--help` lists the options."""

import sys

from act_eval.cli import guarded

if __name__ == "__main__":
    from act_eval.cli.report import run

    sys.exit(guarded(lambda: run(sys.argv[1:], prog="report.py")))
