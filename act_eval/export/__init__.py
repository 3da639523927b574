"""A finished run for other tools: CSV and Parquet tables, TensorBoard, Weights & Biases, Rerun.

Everything is made from the run folder and can be made again; nothing in the folder is changed.
"""

from act_eval.export.finished import FinishedArm, FinishedRun, read_finished
from act_eval.export.rerun_log import write_recording
from act_eval.export.tables import EPISODES_CSV, EPISODES_PARQUET, STEPS_PARQUET, write_csv, write_episodes, write_steps
from act_eval.export.tensorboard_log import write_tensorboard
from act_eval.export.wandb_log import log_to_wandb

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
