"""Exports of a finished run: CSV and Parquet, LeRobot's form, TensorBoard, Weights & Biases, Trackio, Rerun.

Everything is made from the run folder and can be made again; nothing in the folder is changed.
"""

from act_eval.export.tools import TOOLS, Tool, check_tools, export_run

__all__ = ["TOOLS", "Tool", "check_tools", "export_run"]
