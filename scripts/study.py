"""Study mode collapse: collect, train, probe, evaluate and report, cell by cell; `--help` lists the options.

python scripts/study.py --list                 the cells, and how far each is
python scripts/study.py                        those that carry claims; interrupted, the same command continues
python scripts/study.py --report               outputs/study/collapse/report.md on what has finished
"""

import sys
from pathlib import Path

from act_eval.cli import guarded

if __name__ == "__main__":
    from act_eval.cli.study import run

    sys.exit(guarded(lambda: run(sys.argv[1:], prog="study.py", scripts=Path(__file__).parent)))
