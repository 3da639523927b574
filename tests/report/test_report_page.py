"""The page of whole runs, damaged runs and several runs; no text of a run is markup."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import suite
from reviewed_runs import STEPS, make_reviewed_run

from act_eval.errors import RunFolderError, UsageError
from act_eval.report import Report, write_report
from act_eval.results.run import read_run, run_folders
from act_eval.results.tables import metric_table
from act_eval.run import load_run
from act_eval.stats import wilson_interval
from act_eval.types.episodes import OUTCOME_COLOURS

CONDITIONS = {"rtc_d0_s10": ["success", "success", "missed"], "rtc_d4_s10": ["success", "dropped", "invalid"]}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def page_of(*folders: Path, out: Path | None = None, **options: Any) -> tuple[Report, dict[str, Any], str]:
    report = write_report(folders, out or folders[0], **options)
    text = report.path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return report, json.loads(found[1]), text


def track_of(out: Path, condition: str = "c0", episode: int = 0) -> dict[str, Any]:
    text = (out / "report" / condition / f"{episode:04d}.js").read_text()
    key, values = json.loads("[" + text.split("actEvalTrack(", 1)[1].rstrip().removesuffix(");") + "]")
    assert key == f"{condition}/{episode}"
    return values


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        self.inline += [name for name, _ in attrs if name.startswith("on") or name == "style"]


def elements(text: str) -> Elements:
    parser = Elements()
    parser.feed(text)
    return parser


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_reviewed_run(tmp_path / "run", CONDITIONS)


def test_the_page_holds_everything_about_a_condition(run: Path) -> None:
    report, data, text = page_of(run)
    assert report.path == run / "report.html"
    assert (report.episodes, report.problems) == (6, ())
    first, second = data["conditions"]
    assert (first["label"], first["delay"], second["delay"]) == ("rtc_d0_s10", 0, 4)
    assert (first["successes"], first["trials"]) == (2, 3)
    assert (second["successes"], second["trials"]) == (1, 2), "an invalid episode is outside the rate"
    assert (second["low"], second["high"]) == pytest.approx(tuple(wilson_interval(1, 2)))
    assert second["counts"] == {"invalid": 1, "success": 1, "dropped": 1}
    assert first["episodes"]["grasp_point"][0] == pytest.approx([0.0, 0.0], abs=1e-3)
    names = [data["outcomes"][number] for number in first["episodes"]["outcome"]]
    assert names == CONDITIONS["rtc_d0_s10"]
    assert "67 %" in text
    assert "1 missed" in text


def test_the_page_loads_nothing_from_anywhere_else(run: Path) -> None:
    _, _, text = page_of(run)
    found = elements(text)
    assert set(found.links) == {"data:,", "#episodes"}
    assert found.tags.count("script") == 3
    assert not found.inline, "the policy of the page forbids handlers and styles in attributes"
    assert "default-src 'none'" in text


def test_videos_and_tracks_lie_where_the_page_looks_for_them(run: Path) -> None:
    _, data, _ = page_of(run)
    for condition in data["conditions"]:
        for episode, name in enumerate(condition["episodes"]["video"]):
            assert (run / condition["videos"] / name).is_file()
            assert (run / condition["tracks"]["folder"] / f"{episode:04d}.js").is_file()


def test_a_track_tells_every_step(run: Path) -> None:
    page_of(run)
    track = track_of(run, "c1")
    assert track["steps"] == STEPS
    assert [track["chunk"][t] for t in (0, 4, 5, 6, 7, 10)] == [0, 0, -1, -1, 0, 1]
    assert track["chunk_switches"] == [10, 20, 30]
    assert track["requests"] == [[0, 0, 0, 0], [6, 6, 10, 0], [16, 16, 20, 0], [26, 26, 30, 0]]
    assert (len(track["command"]), len(track["command"][0])) == (6, STEPS)
    assert track["distances"][0][0] == pytest.approx(0.1)
    assert track["distances"][0][-1] == pytest.approx(0.0)
    assert track["jumps"] == pytest.approx([0.05] * 3, abs=1e-3)
    assert track["grasp"] == STEPS // 2


def test_a_track_of_an_older_run_is_read_from_what_it_has(run: Path) -> None:
    path = run / "rtc_d4_s10" / "steps" / "0000.npz"
    with np.load(path) as arrays:
        kept = {name: arrays[name] for name in arrays.files if name not in ("sent", "ready", "lost", "blocks_xyz")}
    kept["in_flight"][6:9] = 1
    np.savez_compressed(path, **kept)
    page_of(run)
    track = track_of(run, "c1")
    assert track["distances"] == []
    assert track["requests"] == [[0, 0, 0, 0], [6, 6, 9, 0], [16, 16, 16, 0], [26, 26, 26, 0]]


def test_a_second_page_writes_only_what_has_changed(run: Path) -> None:
    page_of(run)
    tracks = sorted((run / "report").rglob("*.js"))
    assert len(tracks) == 6
    before = [path.stat().st_mtime_ns for path in tracks]
    changed = run / "rtc_d0_s10" / "steps" / "0001.npz"
    shutil.copy(run / "rtc_d0_s10" / "steps" / "0000.npz", changed)
    page_of(run)
    now = [path.stat().st_mtime_ns for path in tracks]
    moved = [path for path, old, new in zip(tracks, before, now, strict=True) if old != new]
    assert moved == [run / "report" / "c0" / "0001.js"]


def test_the_same_run_gives_the_same_page(run: Path) -> None:
    first = page_of(run)[2]
    assert page_of(run)[2] == first


@pytest.mark.parametrize("place", ["policy", "error", "option", "condition"])
def test_no_text_of_a_run_becomes_markup(tmp_path: Path, place: str) -> None:
    of = suite(1, kwargs={"note": HOSTILE}) if place == "option" else suite(1)
    out = make_reviewed_run(
        tmp_path / "run",
        {"a": ["policy_error"]},
        of=of,
        policy=HOSTILE if place == "policy" else "act",
        error=HOSTILE if place == "error" else None,
    )
    if place == "condition":
        hostile = "<img src=x onerror=alert(3)>"
        (out / "a").rename(out / hostile)
        manifest = (out / "manifest.json").read_text().replace('"a":', json.dumps(hostile) + ":")
        (out / "manifest.json").write_text(manifest)
    _, data, text = page_of(out)
    found = elements(text)
    assert found.tags.count("script") == 3
    assert "img" not in found.tags
    assert not found.inline
    shown = {"policy": data["runs"][0]["policy"], "error": data["conditions"][0]["episodes"]["error"].get("0")}
    assert shown.get(place) in (HOSTILE, None)
    if place == "condition":
        assert data["conditions"][0]["label"] == hostile
        assert "%3Cimg%20src%3Dx" in data["conditions"][0]["videos"]


@pytest.mark.parametrize("name", ["../outside", "..", "a/b", ""])
def test_an_condition_whose_name_leaves_the_folder_is_refused(run: Path, name: str) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["configuration"]["conditions"][name] = {"executor": "rtc", "delay": 8}
    (run / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunFolderError, match=re.escape(f"condition {name!r} is not a folder name")):
        page_of(run)


def test_a_video_that_is_gone_is_named(run: Path) -> None:
    next((run / "rtc_d0_s10" / "videos").glob("0001_*")).unlink()
    report, data, text = page_of(run)
    (line,) = report.problems
    command = f"act-eval render {run} --condition rtc_d0_s10 --size 256 --episodes 1"
    assert line == (
        f"{run}/rtc_d0_s10: the video of episode 1 is gone; {command} makes it again, then repeat this command"
    )
    assert "1 part missing; the page shows the rest" in text
    episodes = data["conditions"][0]["episodes"]
    assert episodes["video"][1] is None
    assert episodes["why"] == {"1": "the video in rtc_d0_s10/videos is gone"}


@pytest.mark.parametrize("how", ["empty", "garbage", "short", "long", "folder"])
def test_a_damaged_video_is_named_and_not_offered(run: Path, how: str) -> None:
    path = next((run / "rtc_d0_s10" / "videos").glob("0001_*"))
    whole = path.read_bytes()
    damaged = {"empty": b"", "garbage": bytes(range(256)) * 9, "short": whole[:-1], "long": whole + bytes(9)}
    if how == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(damaged[how])
    report, data, _ = page_of(run)
    (line,) = report.problems
    assert line.startswith(f"{run}/rtc_d0_s10: the video of episode 1 is damaged; act-eval render {run} ")
    assert data["conditions"][0]["episodes"]["video"][1] is None
    assert data["conditions"][0]["episodes"]["why"] == {"1": "the video in rtc_d0_s10/videos is damaged"}


def test_no_command_is_offered_for_a_video_that_cannot_be_made_again(tmp_path: Path) -> None:
    out = make_reviewed_run(tmp_path / "run", CONDITIONS, replayable=False)
    next((out / "rtc_d0_s10" / "videos").glob("0001_*")).unlink()
    report, data, text = page_of(out)
    (line,) = report.problems
    assert line == (
        f"{out}/rtc_d0_s10: the video of episode 1 is gone and cannot be made again: act_eval/ConfuserPick-v0 was "
        "filmed while its episodes ran"
    )
    assert "act-eval render" not in text
    assert {condition["render"] for condition in data["conditions"]} == {None}


def test_videos_that_were_not_recorded_are_no_problem(tmp_path: Path) -> None:
    out = make_reviewed_run(tmp_path / "run", CONDITIONS, video="none", films=False)
    report, data, _ = page_of(out)
    assert report.problems == ()
    assert data["conditions"][0]["episodes"]["unrecorded"] == "not recorded (--video none)"


def test_a_truncated_file_of_episodes_shows_the_lines_that_are_whole(run: Path) -> None:
    path = run / "rtc_d4_s10" / "episodes.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    report, data, _ = page_of(run)
    assert f"{path} is truncated" in report.problems[0]
    assert f"{path.parent}: 2 of 3 episodes are there" in report.problems[1]
    assert data["conditions"][1]["episodes"]["outcome"][2] is None
    assert data["conditions"][1]["trials"] == 2


def test_values_that_no_record_should_hold_leave_the_page_readable(run: Path) -> None:
    path = run / "rtc_d0_s10" / "episodes.jsonl"
    first, *rest = path.read_text().splitlines(keepends=True)
    values = json.loads(first)
    values["grasp_choice"] = float("nan")
    values["detail"] |= {"grasp_xy": "here", "actual_delays": 7, "event_step": [1]}
    path.write_text(json.dumps(values) + "\n" + "".join(rest))
    _, data, text = page_of(run)
    episodes = data["conditions"][0]["episodes"]
    assert (episodes["grasp_choice"][0], episodes["grasp_point"][0]) == (None, None)
    assert not re.search(r"[:\[,](NaN|Infinity)", text.split('id="data">')[1].split("</script>")[0])


def test_a_manifest_with_an_infinite_number_is_refused_by_name(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["configuration"]["conditions"]["rtc_d0_s10"]["delay"] = float("inf")
    (run / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunFolderError, match=r"manifest\.json.*conditions\.rtc_d0_s10\.delay is no finite number"):
        page_of(run)


def test_damaged_steps_are_named_and_the_rest_is_there(run: Path) -> None:
    page_of(run)
    (run / "rtc_d0_s10" / "steps" / "0000.npz").write_bytes(b"PK nonsense")
    (run / "rtc_d0_s10" / "steps" / "0002.npz").unlink()
    report, data, _ = page_of(run)
    assert "0000.npz is damaged" in report.problems[0]
    assert "0002.npz is missing" in report.problems[1]
    assert sorted(data["conditions"][0]["tracks"]["lacking"]) == ["0", "2"]
    assert not (run / "report" / "c0" / "0000.js").exists(), "a track of steps that are gone would show what was once"
    assert (run / "report" / "c0" / "0001.js").exists()


def test_an_unfinished_run_shows_what_its_shards_hold(run: Path, tmp_path: Path) -> None:
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run, unfinished)
    condition = unfinished / "rtc_d0_s10"
    lines = [json.loads(line) for line in (condition / "episodes.jsonl").read_text().splitlines()]
    (condition / "episodes.jsonl").unlink()
    timing = {"episode": 1, "wall_s": 1.0, "inference_ms": [], "video_s": 0.0, "worker": 0}
    line = {"condition": condition.name, "record": lines[1], "timing": timing, "metrics": {}}
    (unfinished / "shards" / "00007.jsonl").write_text(json.dumps(line) + "\n")
    report, data, _ = page_of(unfinished)
    assert f"{condition}: 1 of 3 episodes are there; repeat the run's command to finish it" in report.problems
    assert [outcome is None for outcome in data["conditions"][0]["episodes"]["outcome"]] == [True, False, True]


def test_several_runs_stand_side_by_side_by_suite(tmp_path: Path) -> None:
    of = suite(2)
    base = make_reviewed_run(tmp_path / "base", {"d0": ["success", "missed"]}, of=of, policy="old")
    new = make_reviewed_run(tmp_path / "new", {"d0": ["success", "success"]}, of=of, policy="new")
    other = make_reviewed_run(tmp_path / "other", {"d0": ["missed"]}, of=suite(1, first_seed=9), policy="new")
    _, data, text = page_of(base, other, new, out=tmp_path / "pages")
    assert [(condition["label"], condition["suite"]) for condition in data["conditions"]] == [
        ("old d0", 0),
        ("new d0", 0),
        ("new d0", 1),
    ]
    assert data["conditions"][1]["videos"] == "./../new/d0/videos/"
    assert text.count("<caption>") == 2


def test_runs_of_one_policy_are_estimated_apart(tmp_path: Path) -> None:
    of = suite(1)
    folders = [make_reviewed_run(tmp_path / name, {"d0": ["success"]}, of=of) for name in ("a", "b")]
    _, data, _ = page_of(*folders, out=tmp_path / "pages")
    assert [condition["label"] for condition in data["conditions"]] == ["act_rtc d0 (1)", "act_rtc d0 (2)"]


def test_a_page_with_copied_videos_can_be_moved(run: Path, tmp_path: Path) -> None:
    page_of(run, out=tmp_path / "page", copy_videos=True)
    shutil.rmtree(run)
    moved = (tmp_path / "page").rename(tmp_path / "moved")
    text = (moved / "report.html").read_text()
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    for condition in data["conditions"]:
        assert all((moved / condition["videos"] / name).is_file() for name in condition["episodes"]["video"])


def test_one_bad_folder_of_several_is_named_and_the_others_shown(run: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    report, data, text = page_of(run, foreign, out=tmp_path / "pages")
    line = f"{foreign} is not a run folder: it has no manifest.json"
    assert report.problems == (line,)
    assert line in text
    assert len(data["runs"]) == 1


def test_without_any_run_there_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"gone does not exist; name a run folder of evaluate"):
        write_report([tmp_path / "gone"], tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_folder_of_runs_stands_for_the_runs_in_it(run: Path) -> None:
    assert run_folders([run.parent]) == [run]
    assert run_folders([run]) == [run]
    with pytest.raises(UsageError, match="is named twice; name every run once"):
        run_folders([run, run.parent])
    with pytest.raises(UsageError, match="report takes at least one run folder"):
        run_folders([])


def test_the_input_check_stands_on_top_of_the_page_and_in_every_summary(run: Path) -> None:
    """The finding that explains the rates is where the rates are read: page, terminal, Python, manifest."""
    finding = "warning: input observation.environment_state ignored: <0.1 % of the chunk"
    path = run / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "notes": {**manifest["notes"], "input_check": [finding]}}))
    _, _, text = page_of(run)
    assert text.index("Before the rates are read") < text.index("Success and outcomes")
    assert finding.replace("<", "&lt;") in text
    found = load_run(run)
    assert found.input_check == (finding,)
    assert str(found).endswith(finding)
    assert finding.replace("<", "&lt;") in found._repr_html_()


def test_a_page_without_findings_has_no_banner(run: Path) -> None:
    assert "Before the rates are read" not in page_of(run)[2]


def test_jumps_have_the_unit_of_the_commands(tmp_path: Path) -> None:
    plain = suite(3, env="mine:Reach-v0", facts={"control_hz": 20})
    named = suite(3, env="mine:Reach-v0", facts={"control_hz": 20, "command_unit": "m/s"})
    for folder, of, unit in (("ours", None, "rad"), ("plain", plain, ""), ("named", named, "m/s")):
        out = make_reviewed_run(tmp_path / folder, CONDITIONS, of=of, films=False)
        _, data, text = page_of(out)
        assert data["suites"][0]["unit"] == unit
        assert f'<td class="number">0.050{f" {unit}" if unit else ""}</td>' in text
        head = metric_table(read_run(out)).heads[3]
        assert head == (f"switch\njump, {unit}" if unit else "switch\njump")


def test_the_page_has_the_colours_of_the_outcomes() -> None:
    styles = Path(write_report.__code__.co_filename).with_name("assets") / "base.css"
    light = styles.read_text().split("@media")[0]
    for outcome, colour in OUTCOME_COLOURS.items():
        assert f"--{outcome}: {colour};" in light
