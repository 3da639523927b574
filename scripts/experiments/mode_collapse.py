"""Study mode collapse: collect, train, probe, evaluate and report, cell by cell; `--help` lists the options.

python scripts/experiments/mode_collapse.py --list   the cells, and how far each is
python scripts/experiments/mode_collapse.py    the cells that carry claims; interrupted, it continues
python scripts/experiments/mode_collapse.py --report   outputs/study/collapse/report.md on what has finished
"""

import sys

from act_eval.cli import guarded

if __name__ == "__main__":
    from act_eval.cli.study import run

    sys.exit(guarded(lambda: run(sys.argv[1:], prog="mode_collapse.py")))
