"""Figures hold what they are given, look alike twice, and are images."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from subprocess import run

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

import act_eval
from act_eval.diagnostics.grasp_choice import grasp_choices_of
from act_eval.plots import Curve, HeatMap, Times, heat_maps, reactions, save, success_against_delay, survival
from act_eval.plots.grasp_choice import grasp_histogram, grasp_map
from act_eval.plots.style import OUTCOME_LOOKS, looks
from act_eval.plots.times import shares_by_time
from act_eval.stats import SuccessRate
from act_eval.types import OUTCOMES, EpisodeRecord

CURVES = [
    Curve(label="act naive", delays=(0, 4), rates=(SuccessRate(19, 20), SuccessRate(10, 20))),
    Curve(label="act_rtc rtc", delays=(0, 4), rates=(SuccessRate(20, 20), SuccessRate(18, 20))),
]
MAP = HeatMap(
    title="act_rtc rtc",
    across=(0, 8),
    up=(5, 10),
    rates={(0, 5): SuccessRate(20, 20), (0, 10): SuccessRate(19, 20), (8, 10): SuccessRate(9, 20)},
    refused=frozenset({(8, 5)}),
)
TIMES = {"d = 0": [Times(label="a", seconds=(4.0, 5.0, 5.0), never=1)]}


def record(choice: float) -> EpisodeRecord:
    detail = {"confuser_xy": [0.1, 0.2], "grasp_step": 3}
    return EpisodeRecord(episode=0, seed=0, outcome="success", steps=9, grasp_choice=choice, detail=detail)


def all_figures() -> dict:
    return {
        "curves": success_against_delay({"s = 10": CURVES}, "moving_pick", 0.05),
        "heat": heat_maps([MAP], "moving_pick", "delay d [steps]", "execution horizon s [steps]"),
        "survival": survival(TIMES, "moving_pick", 10.0),
        "reactions": reactions(TIMES, "moving_pick", 10.0, "it turned"),
    }


@pytest.mark.parametrize("name", ["curves", "heat", "survival", "reactions"])
def test_a_figure_is_an_image_and_the_same_twice(tmp_path: Path, name: str):
    first = save(all_figures()[name], tmp_path / "first")
    second = save(all_figures()[name], tmp_path / "second")
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes()
    assert [path.suffix for path in first] == [".png", ".svg"]
    with Image.open(first[0]) as image:
        pixels = np.asarray(image.convert("L"))
    assert min(pixels.shape) > 200
    assert pixels.std() > 10
    assert "<text" in first[1].read_text()


def texts(figure) -> str:
    axes = "\n".join(text.get_text() for axis in figure.axes for text in [*axis.texts, axis.xaxis.label, axis.title])
    legends = [text.get_text() for legend in figure.legends for text in [*legend.get_texts(), legend.get_title()]]
    return "\n".join([axes, *legends, figure.get_suptitle(), figure.get_supxlabel()])


def test_success_curves_say_n_and_interval_and_carry_wilsons_ends():
    figure = success_against_delay({"s = 10": CURVES}, "moving_pick", 0.05)
    assert "n = 20 episodes per point, the same for all; bars: 95 % Wilson intervals" in texts(figure)
    assert "delay d [steps of 50 ms]" in texts(figure)
    (axis,) = figure.axes
    naive = axis.containers[0]
    assert list(naive.lines[0].get_ydata()) == [0.95, 0.5]
    (bars,) = naive.lines[2]
    low, high = SuccessRate(10, 20).wilson()
    assert bars.get_segments()[1][:, 1] == pytest.approx([low, high])


def test_methods_keep_their_look_over_panels_and_differ_in_more_than_colour():
    figure = success_against_delay({"s = 10": CURVES, "s = 5": CURVES[1:]}, "moving_pick", 0.05)
    first, second = figure.axes
    assert first.containers[1].lines[0].get_color() == second.containers[0].lines[0].get_color()
    assert len({(look.marker, look.dashes) for look in looks(7)}) == 7
    assert len({look.colour for look in looks(7)}) == 7


def test_a_heat_map_shows_rates_with_intervals_and_what_cannot_run():
    figure = heat_maps([MAP], "moving_pick", "delay d [steps]", "execution horizon s [steps]")
    shown = texts(figure)
    assert "95\n76–99" in shown
    assert "hatched: cannot run" in shown
    axis = figure.axes[0]
    assert np.isnan(axis.images[0].get_array().filled(np.nan)[0, 1])
    assert [patch.get_hatch() for patch in axis.patches] == ["////"]


def test_shares_by_time_end_at_the_share_of_successes():
    at, shares = shares_by_time(Times(label="a", seconds=(5.0, 4.0, 5.0), never=1))
    assert at.tolist() == [0.0, 4.0, 5.0]
    assert shares.tolist() == [0.0, 0.25, 0.75]
    line = survival(TIMES, "moving_pick", 10.0).axes[0].lines[0]
    assert list(line.get_xdata()) == [0.0, 4.0, 5.0, 10.0]
    assert list(line.get_ydata()) == [1.0, 0.75, 0.25, 0.25]


def test_a_method_without_any_event_is_a_flat_line():
    figure = reactions({"d = 0": [Times(label="a", seconds=(), never=3)]}, "confuser_swap", 10.0, "it turned")
    assert "n = 3 episodes with an event per line; reacted: it turned; the rest did not react" in texts(figure)
    assert set(figure.axes[0].lines[0].get_ydata()) == {0.0}


def test_many_panels_are_wrapped():
    figure = survival({f"d = {d}": TIMES["d = 0"] for d in range(5)}, "moving_pick", 10.0)
    assert [axis.get_title() for axis in figure.axes] == ["d = 0", "d = 1", "d = 2", "d = 3", "d = 4"]
    tops = {round(axis.get_position().y1, 2) for axis in figure.axes}
    assert len(tops) == 2


LONG = "act_rtc_with_a_long_name rtc, estimate lognormal:40,20, prefix hold, proprio predicted-with-gripper"


@pytest.mark.parametrize("count", [1, 4])
def test_no_text_is_cut(count: int):
    """Every text of every figure lies within it, however long names are and however few panels there are."""
    rates = (SuccessRate(19, 20), SuccessRate(10, 20))
    curves = [Curve(label=f"{LONG} {i}", delays=(0, 4), rates=rates) for i in range(count)]
    times = [Times(label=f"{LONG} {i}", seconds=(4.0, 5.0), never=1) for i in range(count)]
    at = np.array([[0.1, 0.2], [0.9, 0.0]])
    grasps = {f"{LONG} {i}": dict.fromkeys(OUTCOMES, at) for i in range(count)}
    choices = grasp_choices_of([record(0.1), record(0.5)])
    assert choices is not None
    figures = [
        success_against_delay({LONG: curves}, f"{LONG}: success against delay", 0.05),
        heat_maps([replace(MAP, title=LONG)] * count, LONG, "delay d [steps]", "execution horizon s [steps]"),
        survival({f"{LONG} {i}": times for i in range(count)}, LONG, 10.0),
        reactions({"d = 0": times}, LONG, 10.0, "the gripper turned towards its new goal"),
        grasp_map(grasps, "Grasps, seen from above"),
        grasp_histogram(dict.fromkeys(grasps, choices), "Grasp choice"),
    ]
    for figure in figures:
        figure.draw_without_rendering()
        edges = figure.bbox
        for text in figure.findobj(Text):
            if len(text.get_text()) > 3 and text.get_visible():  # numbers beyond the end of an axis are not drawn
                box = text.get_window_extent()
                assert edges.x0 <= box.x0 <= box.x1 <= edges.x1, text.get_text()
                assert edges.y0 <= box.y0 <= box.y1 <= edges.y1, text.get_text()


def test_outcomes_have_one_colour_each_and_it_is_that_of_the_review_page():
    css = (Path(act_eval.__file__).parent / "report" / "assets" / "base.css").read_text().partition("@media")[0]
    page = dict(re.findall(r"--([a-z_-]+): (#[0-9a-f]{6})", css))
    assert {outcome: look.colour for outcome, look in OUTCOME_LOOKS.items()} == {name: page[name] for name in OUTCOMES}
    first, second = np.zeros((1, 2)), np.ones((1, 2))
    both = grasp_map({"a": {"success": first, "missed": second}, "b": {"missed": first}}, "")
    alone = grasp_map({"b": {"missed": first}}, "")
    colours = [
        {line.get_label(): line.get_color() for line in axis.lines if not str(line.get_label()).startswith("_")}
        for axis in [*both.axes, *alone.axes]
    ]
    assert colours[0]["missed"] == colours[1]["missed"] == colours[2]["missed"] != colours[0]["success"]


def test_pyplot_is_never_loaded():
    code = "import sys, act_eval.plots; print('matplotlib.pyplot' in sys.modules)"
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
