"""Figures in matplotlib: numbers in, Figure objects out; `save` writes them as PNG and SVG."""

from act_eval.plots.curves import Curve, success_against_delay
from act_eval.plots.heat import HeatMap, heat_maps
from act_eval.plots.style import save
from act_eval.plots.times import Times, reactions, survival

__all__ = [
    "Curve",
    "HeatMap",
    "Times",
    "heat_maps",
    "reactions",
    "save",
    "success_against_delay",
    "survival",
]
