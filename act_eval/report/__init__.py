"""The review page: `report.html`, a static page over run folders with players, lanes and plots."""

from act_eval.report.page import DATA, PAGE, Report, write_report

__all__ = ["DATA", "PAGE", "Report", "write_report"]
