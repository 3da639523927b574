"""The front-door `Run`: what it prints, compares and hands on, of a measured run and of runs with chosen outcomes."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from made_runs import make_run, outcomes
from reviewed_runs import make_reviewed_run

from act_eval.errors import RunFolderError, UnknownName, UsageError
from act_eval.run import Run, load_run

NAMES = ("naive_d0_s10", "rtc_d4_s10_pad_predicted")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A measured run of three episodes, without videos."""
    folder = tmp_path_factory.mktemp("measured") / "run"
    vector = ["success", "wrong_block", "success"]
    return load_run(make_reviewed_run(folder, {"d0": vector, "d4": vector[::-1]}, video="none", films=False))


@pytest.fixture
def made(tmp_path: Path) -> Run:
    """Two conditions of 40 episodes; the second one loses ten of the first one's successes and wins none."""
    vectors = (outcomes(38, 2), outcomes(28, 12))
    folder = make_run(tmp_path / "run", dict(zip(NAMES, vectors, strict=True)))
    for name in NAMES:
        (folder / name / "metrics.jsonl").unlink()  # as of a version that did not measure
    return load_run(folder)


def test_it_prints_every_rate_with_its_interval(made: Run) -> None:
    text = str(made)
    assert "38/40 = 0.95, 95% Wilson [0.83, 0.99]" in text
    assert "28/40 = 0.70, 95% Wilson [0.55, 0.82]" in text
    assert "missed" in text


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_nothing_is_cut_at_any_width(measured: Run, made: Run, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """Columns that do not fit are continued below, beside the names."""
    monkeypatch.setenv("COLUMNS", "500")
    wide = {run: str(run) for run in (measured, made)}
    monkeypatch.setenv("COLUMNS", str(columns))
    for run, whole in wide.items():
        text = str(run)
        tables = [line for line in text.splitlines() if line[:1] in "┏┃┡│└"]
        assert max(map(len, tables)) <= max(columns, 70), "a name and a rate are as wide as it gets"
        assert "…" not in text
        cells = {cell.strip() for cell in re.split(r"[│┃\n]", whole) if cell.strip() and cell.strip()[0] not in "┏┡└"}
        assert all(cell in text for cell in cells)


def test_a_notebook_shows_the_same_as_html(made: Run) -> None:
    page = made._repr_html_()
    assert page.count("<table>") == page.count("</table>") >= 1
    assert "<td>rtc_d4_s10_pad_predicted</td>" in page
    assert "28/40 = 0.70, 95% Wilson [0.55, 0.82]" in page


def test_a_measured_run_shows_its_metrics(measured: Run) -> None:
    assert "action\nage, steps" in measured._repr_html_()
    condition = measured.conditions["d0"]
    assert len(condition.records) == len(condition.episode_metrics) == len(condition.timings) == 3
    assert (condition.rate.successes, condition.rate.trials) == (2, 3)
    assert set(condition.metrics) >= {"action_age_p50", "stall_fraction"}
    assert condition.steps(1).steps == condition.records[1].steps
    assert condition.steps(1).state.shape[0] == condition.records[1].steps + 1


def test_an_unknown_condition_lists_those_that_there_are(made: Run) -> None:
    with pytest.raises(UnknownName, match=rf"'rtc'.*there are: {NAMES[0]}, {NAMES[1]}"):
        made.conditions["rtc"]
    with pytest.raises(UnknownName, match=rf"there are: {NAMES[0]}, {NAMES[1]}"):
        made.compare(NAMES[0], "rtc")
    assert "rtc" not in made.conditions
    assert made.conditions.get("rtc") is None


def test_a_comparison_is_paired_and_says_its_verdict(made: Run) -> None:
    found = made.compare(*NAMES)
    assert found.verdict == "worse"
    assert found.p == pytest.approx(2 * 0.5**10)
    assert found.difference == pytest.approx(-0.25)
    assert found.interval.low < -0.25 < found.interval.high < 0
    assert found.pairs is not None
    assert (found.pairs.only_first, found.pairs.only_second) == (10, 0)
    for part in ("naive_d0_s10 → rtc_d4_s10_pad_predicted", "38/40 = 0.95", "-0.25", "10 lost, 0 won", "worse"):
        assert part in str(found)
    assert made.compare(*reversed(NAMES)).verdict == "better"
    with pytest.raises(UsageError, match="cannot be compared with itself"):
        made.compare(NAMES[0], NAMES[0])


def test_rows_of_a_data_frame_are_the_episodes(measured: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("pandas"):
        frame = measured.to_dataframe()
        assert list(frame["episode"]) == [0, 1, 2] * 2
        assert set(frame["condition"]) == {"d0", "d4"}
        assert {"seed", "outcome", "success", "steps", "action_age_p50", "wall_s"} <= set(frame.columns)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"needs pandas.*pip install pandas.*--to csv"):
        measured.to_dataframe()


def test_the_review_page_is_written_where_it_is_missing(measured: Run) -> None:
    assert not (measured.folder / "report.html").exists()
    page = measured.report
    assert page == measured.folder / "report.html"
    written = page.stat().st_mtime_ns
    assert measured.report.stat().st_mtime_ns == written


def test_what_is_no_finished_run_is_refused(made: Run, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="gone does not exist"):
        load_run(tmp_path / "gone")
    with pytest.raises(UsageError, match=rf"is not a run folder but holds some; name one of them: {made.folder}"):
        load_run(tmp_path)
    (made.folder / NAMES[1] / "episodes.jsonl").unlink()
    with pytest.raises(RunFolderError, match="the run has not finished; repeat its command to resume it"):
        load_run(str(made.folder))
