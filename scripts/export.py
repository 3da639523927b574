"""Make a trained checkpoint a shipped policy; `--help` lists the options.

python scripts/export.py act_rtc --checkpoint outputs/train/act_rtc_confuser_pick
"""

import sys

from act_eval.cli import guarded

if __name__ == "__main__":
    from act_eval.cli.export import run

    sys.exit(guarded(lambda: run(sys.argv[1:], prog="export.py")))
