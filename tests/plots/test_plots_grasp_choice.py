"""Figures of the grasp choice: every grasp appears once, at its position, and the figures of a run are written once."""

import numpy as np
import pytest

from act_eval.diagnostics.grasp_choice import grasp_choices_of, grasp_points
from act_eval.evaluation.finish import write_figures
from act_eval.plots.grasp_choice import grasp_histogram, grasp_map
from act_eval.types import EpisodeRecord

TARGET, CONFUSER = np.array([0.2, 0.1]), np.array([0.15, 0.0])


def record(index, left=0.0, outcome="success"):
    """An episode with a grasp at `index`, `left` lengths of the segment beside it."""
    along = CONFUSER - TARGET
    grasp = TARGET + index * along + left * np.array([-along[1], along[0]])
    places = {"grasp_xy": grasp, "grasp_target_xy": TARGET, "grasp_confuser_xy": CONFUSER}
    detail = {name: place.tolist() for name, place in places.items()} | {"confuser_xy": [CONFUSER.tolist()]}
    return EpisodeRecord(episode=0, seed=0, outcome=outcome, steps=9, grasp_choice=index, detail=detail)


@pytest.fixture
def records():
    return [record(0.1, 0.2), record(0.5, -0.1, "between"), record(2.0, 0.0, "missed"), record(0.1)]


def test_points_are_in_the_frame_of_the_blocks(records):
    points = grasp_points(records)
    assert {outcome: at.round(9).tolist() for outcome, at in points.items()} == {
        "success": [[0.1, 0.2], [0.1, 0.0]],
        "between": [[0.5, -0.1]],
        "missed": [[2.0, 0.0]],
    }


def test_the_histogram_holds_every_grasp_those_beyond_its_ends_too(records):
    figure = grasp_histogram({"condition": grasp_choices_of(records), "other": grasp_choices_of(records[:1])}, "title")
    heights = [sum(bar.get_height() for bar in axis.containers[0]) for axis in figure.axes]
    assert heights == [4, 1]
    assert "inconclusive, n = 4" in figure.axes[0].get_title()


def test_the_map_shows_every_point_and_both_blocks(records):
    (axis,) = grasp_map({"condition": grasp_points(records)}, "title").axes
    drawn = np.concatenate([line.get_xydata() for line in axis.lines])
    assert drawn.shape == (2 + 4, 2)
    assert drawn[:2].tolist() == [[0, 0], [1, 0]]


def test_figures_of_a_run_are_written_once(tmp_path, records):
    assert write_figures(tmp_path, {"condition": records})
    written = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert sorted(written) == ["grasp_histogram.png", "grasp_histogram.svg", "grasp_map.png", "grasp_map.svg"]
    assert write_figures(tmp_path, {"condition": records})
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written


def test_a_run_without_grasps_gets_no_figures(tmp_path):
    alone = EpisodeRecord(episode=0, seed=0, outcome="success", steps=9, detail={"confuser_xy": []})
    assert not write_figures(tmp_path, {"condition": [alone]})
    assert list(tmp_path.iterdir()) == []
