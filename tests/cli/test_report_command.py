"""The report command, and the page that an evaluation leaves."""

import json
import shlex
from pathlib import Path

import pytest
from reviewed_runs import make_reviewed_run

from act_eval.cli import main

CONDITIONS = {"rtc_d0_s10": ["success", "missed"]}


def report(*arguments: object) -> int:
    return main(["report", *map(str, arguments)])


def test_the_page_of_a_run_lies_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_reviewed_run(tmp_path / "run", CONDITIONS)
    assert report(run) == 0
    assert capsys.readouterr().out == f"page    {run}/report.html\n"
    assert "shoulder_pan" in (run / "report.html").read_text()


def test_several_runs_get_a_page_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        make_reviewed_run(tmp_path / "runs" / name, CONDITIONS, policy=name)
    monkeypatch.chdir(tmp_path)
    assert report("runs/a", "runs/b") == 0
    assert report("runs") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second, "the folder of both runs means both"
    page = Path(first.split()[1])
    assert page.parent.parent == Path("outputs/report")
    assert not (tmp_path / "runs" / "a" / "report.html").exists()
    assert report("runs", "--out", "mine", "--copy-videos") == 0
    assert len(list((tmp_path / "mine").rglob("*.mp4"))) == 4


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_reviewed_run(tmp_path / "run", {"d0": ["success"] * 5})
    for number in range(5):
        (run / "d0" / "steps" / f"{number:04d}.npz").unlink()
    assert report(run) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [f"page: {run}/d0/steps/{number:04d}.npz is missing" for number in range(3)]
    assert lines[3] == "page: 1 more problems are listed on the page"


@pytest.mark.parametrize(
    ("make", "code", "text"),
    [
        (lambda run: [], 2, "report takes at least one run folder of evaluate"),
        (lambda run: [run, run], 2, "is named twice; name every run once"),
        (lambda run: [run / "gone"], 2, "gone does not exist; name a run folder of evaluate"),
        (lambda run: [run / "d0"], 1, "d0 is not a run folder: it has no manifest.json"),
    ],
)
def test_what_is_no_run_is_refused(make, code: int, text: str, tmp_path: Path, capsys) -> None:
    run = make_reviewed_run(tmp_path / "run", {"d0": ["success"]}, video="none", films=False)
    assert report(*make(run)) == code
    assert text in capsys.readouterr().err


def test_a_damaged_manifest_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_reviewed_run(tmp_path / "run", {"d0": ["success"]}, video="none", films=False)
    (run / "manifest.json").write_text("{")
    assert report(run) == 1
    assert "manifest.json is damaged" in capsys.readouterr().err


def test_an_evaluation_writes_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    flags = f"--policy expert --env pick --seeds 3 --workers 1 --image-size 32 --out {out}"
    assert main(["evaluate", *shlex.split(flags)]) == 0
    assert f"page    {out}/report.html" in capsys.readouterr().out
    text = (out / "report.html").read_text()
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    (condition,) = data["conditions"]
    assert (out / condition["videos"] / condition["episodes"]["video"][0]).is_file()
    track = (out / "report" / "c0" / "0000.js").read_text()
    steps = json.loads(track.split("\n")[1].split(",", 1)[1].removesuffix(");"))
    assert steps["steps"] == condition["episodes"]["steps"][0]
    assert len(steps["joints"]) == 6
    assert min(steps["distances"][0]) < 0.03, "the expert takes the block"
