"""A finished run for other tools: CSV and Parquet tables, TensorBoard, Weights & Biases, Rerun.

Everything is made from the run folder and can be made again; nothing in the folder is changed.
"""

from act_eval.share.finished import FinishedArm, FinishedRun, read_finished
from act_eval.share.rerun_log import write_recording
from act_eval.share.tables import EPISODES_CSV, EPISODES_PARQUET, STEPS_PARQUET, write_csv, write_episodes, write_steps
from act_eval.share.tensorboard_log import write_tensorboard
from act_eval.share.wandb_log import log_to_wandb

__all__ = [
    "EPISODES_CSV",
    "EPISODES_PARQUET",
    "STEPS_PARQUET",
    "FinishedArm",
    "FinishedRun",
    "log_to_wandb",
    "read_finished",
    "write_csv",
    "write_episodes",
    "write_recording",
    "write_steps",
    "write_tensorboard",
]
