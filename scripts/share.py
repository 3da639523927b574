"""A finished run for other tools: CSV, Parquet, TensorBoard, Weights & Biases, Rerun; `--help` lists the options."""

import sys

from act_eval.cli import guarded

if __name__ == "__main__":
    from act_eval.cli.share import run

    sys.exit(guarded(lambda: run(sys.argv[1:], prog="share.py")))
