"""A finished run for other tools: CSV and Parquet tables, TensorBoard, Weights & Biases, Rerun.

Everything is made from the run folder and can be made again; nothing in the folder is changed.
"""

from act_eval.export.sharing import TOOLS, Tool, check_tools, share

__all__ = ["TOOLS", "Tool", "check_tools", "share"]
