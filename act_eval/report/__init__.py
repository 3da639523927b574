"""The review page: `report.html`, a static page over one or several run folders with players, lanes and plots."""

from act_eval.report.page import DATA, PAGE, Report, write_report
from act_eval.report.sources import run_folders

__all__ = ["DATA", "PAGE", "Report", "run_folders", "write_report"]
