"""Sweep policies over inference delay, as one resumable job; `--help` lists the options.

python scripts/sweep.py --policies act act_rtc --envs moving_pick --delays 0 1 2 4 8 --executors naive rtc
"""

import sys

from act_eval.cli import guarded

if __name__ == "__main__":
    from act_eval.cli.sweep import run

    sys.exit(guarded(lambda: run(sys.argv[1:], prog="sweep.py")))
