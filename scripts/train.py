"""Train a policy on demonstrations; `--help` lists the options.

python scripts/train.py                                   act_rtc on confuser_pick, the shipped recipe
python scripts/train.py --policy act --steps 20000 --model.chunk-size 50 --model.n-action-steps 25
python scripts/train.py --resume outputs/train/act_rtc_confuser_pick
accelerate launch scripts/train.py --device cuda          one process per GPU
"""

import sys

from act_eval.cli import guarded

if __name__ == "__main__":
    from act_eval.cli.train import run

    sys.exit(guarded(lambda: run(sys.argv[1:], prog="train.py")))
