"""The review page in a real headless Chromium: loads, filters, plays, seeks, synchronises, by mouse and by keys."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reviewed_runs
from made_runs import suite
from reviewed_runs import CONDITIONS, make_reviewed_run
from waiting import until

from act_eval.report import write_report
from act_eval.types.episodes import OUTCOME_COLOURS

pytestmark = [pytest.mark.browser]

Visit = Callable[..., Any]

TIMES = "[...document.querySelectorAll('video')].map(video => video.currentTime)"
SEEDS = "[...document.querySelectorAll('tr[data-episode]')].map(row => Number(row.dataset.episode))"
STEP = 0.05


def address(run: Path, anchor: str = "") -> str:
    return (run / "report.html").as_uri() + anchor


def playable(page: Any) -> None:
    until(
        page,
        "document.querySelectorAll('video').length"
        " && [...document.querySelectorAll('video')].every(video => video.readyState >= 2)",
    )


def wait_for_step(page: Any, step: int, lengths: list[int]) -> None:
    """Wait until every video shows the middle of the frame of a step, or of its last one."""
    wanted = [(min(step, length) + 0.5) * STEP for length in lengths]
    until(
        page,
        f"(() => {{ const t = {TIMES}; return {json.dumps(wanted)}.every((w, i) => Math.abs(t[i] - w) < 0.02) }})()",
    )


def step_of(page: Any) -> int:
    found = re.match(r"step (\d+) /", page.inner_text("#time"))
    assert found
    return int(found[1])


def test_it_opens_from_the_disk_without_a_word_on_the_console(run: Path, visit: Visit, errors: list[str]) -> None:
    page = visit(address(run))
    playable(page)
    assert page.inner_text("h1") == "act_rtc · ConfuserPick-v0"
    assert page.inner_text("#count") == "5 seeds"
    assert page.locator("#figures figure").count() == 2
    assert page.locator(".plot canvas").count() == 2
    assert page.locator("#figures circle.dot").count() == 15
    assert errors == []


def test_it_works_from_a_web_server_that_sends_no_parts_of_files(
    run: Path, visit: Visit, serve: Callable[[Path], str], errors: list[str]
) -> None:
    page = visit(f"{serve(run)}/report.html#seed=101&t=33")
    playable(page)
    wait_for_step(page, 33, [60, 60, 60])
    page.keyboard.press("Home")
    wait_for_step(page, 0, [60, 60, 60])
    assert errors == []


def test_filters_by_outcome_condition_flip_switch_and_text(run: Path, visit: Visit) -> None:
    page = visit(address(run))

    def listed() -> list[int]:
        return page.evaluate(SEEDS)

    assert listed() == [0, 1, 2, 3, 4]
    page.check("input[name=outcome][value=missed]")
    assert listed() == [2]
    page.check("input[name=outcome][value=dropped]")
    assert listed() == [2, 4]
    page.select_option("#filter-within", "rtc_d4_s10")
    assert listed() == [2]
    page.click("#reset")
    assert listed() == [0, 1, 2, 3, 4]
    page.select_option("#filter-flipped", "any")
    assert listed() == [1, 4]
    page.select_option("#filter-flipped", "rtc_d0_s10|rtc_d4_s10")
    assert listed() == [1]
    assert page.inner_text("#count") == "1 of 5 seeds"
    page.click("#reset")
    page.fill("#search", "wrong BLOCK timeout")
    assert listed() == [1]
    page.fill("#search", "nothing like it")
    assert listed() == []
    assert page.is_visible(".empty")
    page.fill("#search", "")
    page.locator("#filter-switch-jump").evaluate(
        "field => { field.value = field.max; field.dispatchEvent(new Event('input')) }"
    )
    assert set(listed()) <= {0, 1, 2, 3, 4}


def test_sorting(run: Path, visit: Visit) -> None:
    page = visit(address(run))
    page.select_option("#filter-sort", "failures")
    assert page.evaluate(SEEDS) == [2, 1, 4, 0, 3]
    page.select_option("#filter-sort", "steps")
    assert page.evaluate(SEEDS) == [1, 3, 4, 0, 2]


def test_a_click_opens_the_seed_in_all_conditions(run: Path, visit: Visit, errors: list[str]) -> None:
    page = visit(address(run))
    page.click("tr[data-episode='2'] button[data-column='1']")
    until(page, "document.querySelector('#episode-title')?.textContent === 'Episode 2'")
    playable(page)
    assert page.locator(".player").count() == 3
    assert page.evaluate("document.activeElement.id") == "scrubber", "after a click, keys move time"
    assert page.locator(".player.chosen .name").inner_text() == "rtc_d4_s10"
    assert "seed=102" in page.url
    assert "condition=rtc_d4_s10" in page.url
    assert page.locator(".lane").count() == 3
    assert page.locator(".lane rect.underrun").count() == 2
    assert page.locator(".lane rect.flight").count() > 0
    assert page.locator(".lane line.chunk-switch").count() == 6
    assert errors == []


def test_a_deep_link_opens_a_moment_and_the_address_follows(run: Path, visit: Visit) -> None:
    page = visit(address(run, "#seed=103&t=21&condition=rtc_d8_s10"))
    playable(page)
    wait_for_step(page, 21, [50, 50, 50])
    assert step_of(page) == 21
    assert page.locator("#episodes").bounding_box()["y"] < 100, "the link leads to the players, not to the summary"
    assert page.locator(".player.chosen .name").inner_text() == "rtc_d8_s10"
    page.keyboard.press("ArrowRight")
    wait_for_step(page, 22, [50, 50, 50])
    assert "t=22" in page.url
    page.evaluate("location.hash = '#seed=100&t=7'")
    until(page, "document.querySelector('#episode-title')?.textContent === 'Episode 0'")
    playable(page)
    wait_for_step(page, 7, [40, 40, 40])


def test_a_link_to_a_seed_that_is_not_there_says_so(run: Path, visit: Visit, errors: list[str]) -> None:
    page = visit(address(run, "#seed=999&t=x"))
    assert page.inner_text("#review") == "There is no seed 999 on this page."
    assert errors == []


def test_a_link_may_carry_filters(run: Path, visit: Visit) -> None:
    page = visit(address(run, "#outcome=missed,dropped&sort=failures&text=10"))
    assert page.evaluate(SEEDS) == [2, 4]
    assert page.is_checked("input[name=outcome][value=dropped]")
    assert page.input_value("#search") == "10"


def test_videos_play_together_and_stop_at_their_ends(run: Path, visit: Visit, errors: list[str]) -> None:
    page = visit(address(run, "#seed=101&t=0"))
    playable(page)
    page.keyboard.press("Space")
    until(page, "Number(/\\d+/.exec(document.querySelector('#time').textContent)[0]) >= 8")
    page.keyboard.press("Space")
    step = step_of(page)
    assert 8 <= step < 60
    wait_for_step(page, step, [60, 60, 60])
    assert page.evaluate("[...document.querySelectorAll('video')].every(video => video.paused)")
    page.keyboard.press("End")
    wait_for_step(page, 60, [60, 60, 60])
    assert "ended after 60 steps" in page.locator(".status").first.inner_text()
    assert errors == []


def test_it_plays_to_the_end_by_itself(run: Path, visit: Visit) -> None:
    page = visit(address(run, "#seed=102&t=20"))
    playable(page)
    page.select_option("#rate", "4")
    page.click("#play")
    until(
        page,
        "document.querySelector('#play').textContent.includes('Play')"
        " && document.querySelector('#time').textContent.startsWith('step 30 /')",
    )
    wait_for_step(page, 30, [30, 30, 30])


def test_scrubbing_moves_videos_lanes_and_plots(run: Path, visit: Visit) -> None:
    page = visit(address(run, "#seed=100&t=0"))
    playable(page)
    page.locator(".plots").scroll_into_view_if_needed()
    box = page.locator("#scrubber").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 20, steps=5)
    page.mouse.up()
    assert step_of(page) == 30
    wait_for_step(page, 30, [40, 40, 40])
    assert page.get_attribute("#scrubber", "aria-valuenow") == "30"
    assert page.evaluate("[...document.querySelectorAll('.plot .playhead')].map(head => head.style.left)") == [
        "75%",
        "75%",
    ]
    plot = page.locator(".plot .u-over").first.bounding_box()
    page.mouse.click(plot["x"] + plot["width"] * 0.5, plot["y"] + 30)
    assert step_of(page) == 20


def test_everything_can_be_reached_by_keys(run: Path, visit: Visit) -> None:
    page = visit(address(run, "#seed=100&t=0"))
    playable(page)
    for key, step in (("ArrowRight", 1), ("Shift+ArrowRight", 11), ("ArrowLeft", 10), ("End", 40), ("Home", 0)):
        page.keyboard.press(key)
        assert step_of(page) == step, key
    page.keyboard.press("n")
    until(page, "document.querySelector('#episode-title').textContent === 'Episode 1'")
    page.keyboard.press("p")
    until(page, "document.querySelector('#episode-title').textContent === 'Episode 0'")
    page.keyboard.press("2")
    assert page.locator(".player.chosen .name").inner_text() == "rtc_d4_s10"
    page.keyboard.press("f")
    assert page.evaluate(SEEDS) == [1, 4]
    page.keyboard.press("f")
    page.keyboard.press("/")
    page.keyboard.type("#3 f")
    assert page.input_value("#search") == "#3 f", "keys belong to the field that has the focus"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    assert "act_eval/ConfuserPick-v0" in page.inner_text("#manifest")


def test_the_table_is_walked_by_arrows(run: Path, visit: Visit) -> None:
    page = visit(address(run))
    cells = page.locator(".matrix button[tabindex='0']")
    assert cells.count() == 1, "the table is one stop of the tab key"
    cells.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label == "episode 1, rtc_d4_s10: wrong block"
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#episode-title')?.textContent === 'Episode 1'")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "episode 2, rtc_d4_s10: missed"
    page.keyboard.press("Space")
    until(page, "document.querySelector('#play').textContent.includes('Pause')")


def test_a_point_of_the_scatter_opens_its_episode(run: Path, visit: Visit) -> None:
    page = visit(address(run))
    page.locator(".facet >> nth=1 >> circle[data-episode='4']").dispatch_event("click")
    until(page, "document.querySelector('#episode-title').textContent === 'Episode 4'")
    assert page.locator(".player.chosen .name").inner_text() == "rtc_d4_s10"


def test_a_video_that_is_gone_leaves_the_rest_in_motion(tmp_path: Path, visit: Visit) -> None:
    out = make_reviewed_run(tmp_path / "run", {"a": ["success"], "b": ["success"]})
    write_report([out], out)
    next((out / "a" / "videos").glob("*.mp4")).unlink()
    page = visit(address(out, "#seed=100&t=5"))
    page.wait_for_selector(".screen .gone")
    assert "is gone or cannot be played. From its logged steps: act-eval render" in page.inner_text(".screen .gone")
    page.keyboard.press("ArrowRight")
    assert step_of(page) == 6
    until(page, f"Math.abs({TIMES}[0] - 0.325) < 0.02")


def test_a_live_film_that_is_gone_is_offered_no_command(tmp_path: Path, visit: Visit, errors: list[str]) -> None:
    out = make_reviewed_run(tmp_path / "run", {"a": ["success"], "b": ["success"]}, replayable=False)
    next((out / "a" / "videos").glob("*.mp4")).unlink()
    write_report([out], out)
    page = visit(address(out, "#seed=100"))
    page.wait_for_selector(".screen .gone")
    assert page.inner_text(".screen .gone").strip() == "The video in a/videos is gone."
    (out / "b" / "videos" / "0000_seed100_success.mp4").unlink()  # after the page was written
    page = visit(address(out, "#seed=100&t=1"))
    until(page, "document.querySelectorAll('.screen .gone').length === 2")
    assert page.locator(".screen .gone >> nth=1").inner_text().strip().endswith("is gone or cannot be played.")
    assert "act-eval render" not in page.content()


def test_ages_of_observations_are_counted_in_words(run: Path, visit: Visit) -> None:
    page = visit(address(run, "#seed=100&t=0"))
    for step, age in enumerate(("0 steps", "1 step", "2 steps")):
        assert step_of(page) == step
        assert page.locator(".player .status >> nth=0").inner_text().endswith(f"action {step}, seen {age} ago")
        page.keyboard.press("ArrowRight")


def test_episodes_without_steps_or_record_can_be_opened(tmp_path: Path, visit: Visit, errors: list[str]) -> None:
    conditions = {"a": ["policy_error", "success"], "b": ["policy_error", "success"]}
    out = make_reviewed_run(tmp_path / "run", conditions, lengths=(0, 20), error="it gave no number")
    path = out / "b" / "episodes.jsonl"
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    write_report([out], out)
    page = visit(address(out, "#seed=100&t=5"))
    assert "it gave no number" in page.inner_text(".player .error >> nth=0")
    page.keyboard.press("Space")
    assert step_of(page) == 0
    page.click("tr[data-episode='1'] button[data-column='1']")
    until(page, "document.querySelector('#episode-title').textContent === 'Episode 1'")
    assert "There is no record of this episode." in page.inner_text(".player[data-condition=c1]")
    page.keyboard.press("End")
    assert step_of(page) == 20
    assert errors == []


def test_names_are_never_run(tmp_path: Path, visit: Visit, errors: list[str]) -> None:
    hostile = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
    condition = 'a"><svg onload=alert(3)>#?%41'
    of = suite(2, kwargs={"note": hostile})
    out = make_reviewed_run(
        tmp_path / "run", {condition: ["success", "policy_error"]}, of=of, policy=hostile, error=hostile
    )
    write_report([out], out)
    page = visit(address(out, "#seed=101&t=0&text=<script>alert(4)</script>"))
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.fill("#search", "")
    playable(page)
    page.keyboard.press("n")
    assert page.locator(".player .name").inner_text() == condition
    assert hostile in page.inner_text(".player .error")
    assert hostile in page.inner_text("h1")
    assert page.locator("img, svg[onload]").count() == 0
    assert page.locator("script").count() == 3
    assert dialogs == errors == []


def test_a_thousand_episodes_open_in_two_seconds(tmp_path: Path, visit: Visit, errors: list[str]) -> None:
    cycle = ["success"] * 8 + ["missed", "dropped"]
    conditions = {name: (cycle[i:] + cycle[:i]) * 100 for i, name in enumerate(CONDITIONS)}
    out = make_reviewed_run(tmp_path / "run", conditions, video="none", films=False, lengths=(12,))
    write_report([out], out)
    found = []
    for _ in range(3):  # the best of three: other processes run too
        page = visit(address(out))
        found.append(page.evaluate("performance.getEntriesByName('ready')[0].startTime"))
    assert page.inner_text("#count") == "1,000 seeds"
    assert page.locator("tr[data-episode]").count() < 80, "rows out of sight do not exist"
    page.keyboard.press("f")
    assert page.inner_text("#count") == "400 of 1,000 seeds"
    page.locator(".scroller").evaluate("box => { box.scrollTop = box.scrollHeight }")
    page.wait_for_selector("tr[data-episode='999'], tr[data-episode='998'], tr[data-episode='990']")
    assert errors == []
    assert min(found) < 2000, f"it took {found} ms"


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1280, 720), (390, 844)], ids=["desk", "laptop", "phone"])
def test_nothing_sticks_out_at_any_width(run: Path, visit: Visit, width: int, height: int) -> None:
    page = visit(address(run, "#seed=101&t=12"), width, height)
    playable(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#play").scroll_into_view_if_needed()
    assert page.locator("#play").bounding_box()["width"] >= 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(run: Path, visit: Visit, scheme: str) -> None:
    page = visit(address(run, "#seed=101&t=12"), color_scheme=scheme)
    playable(page)
    weak = page.evaluate(CONTRAST)
    assert weak == []


CONTRAST = """(() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (rgb) => rgb.slice(0, 3).reduce((sum, v, i) => sum + linear(v / 255) * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const style = getComputedStyle(node);
      if (style.backgroundImage !== 'none') return null;
      const colour = parse(style.backgroundColor);
      if (colour.length && (colour.length < 4 || colour[3] > 0.99)) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.getClientRects().length || node.closest('svg, script, dialog, .skip')) continue;
    const back = behind(node);
    if (!back) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(`${node.className} ${node.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return found;
})()"""


def test_everything_that_can_be_pressed_has_a_name(run: Path, visit: Visit) -> None:
    page = visit(address(run, "#seed=101&t=12"))
    playable(page)
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, input, select, video, [role=img], [role=slider]')]"
        ".filter(node => !(node.getAttribute('aria-label') || node.textContent.trim() || node.labels?.length))"
        ".map(node => node.outerHTML.slice(0, 80))"
    )
    assert nameless == []


def test_of_many_conditions_some_are_shown_and_others_can_be_chosen(
    tmp_path: Path, visit: Visit, errors: list[str]
) -> None:
    conditions = {f"condition{number}": ["success" if number else "missed"] for number in range(8)}
    out = make_reviewed_run(tmp_path / "run", conditions, video="none", films=False)
    write_report([out], out)
    page = visit(address(out, "#seed=100&condition=condition7"))
    names = "[...document.querySelectorAll('.player .name')].map(name => name.textContent)"
    assert page.evaluate(names) == [f"condition{i}" for i in (1, 2, 3, 4, 5, 7)]
    page.click(".conditions summary")
    page.locator(".conditions input").nth(6).check()
    until(page, "document.querySelectorAll('.player').length === 7")
    page.locator(".conditions input").nth(1).uncheck()
    until(page, "document.querySelectorAll('.player').length === 6")
    assert page.evaluate(names) == [f"condition{i}" for i in (2, 3, 4, 5, 6, 7)]
    page.select_option("#filter-flipped", "condition3|condition0")
    assert page.inner_text("#count") == "1 seed"
    page.select_option("#filter-flipped", "condition0|condition3")
    assert page.inner_text("#count") == "0 of 1 seed"
    assert errors == []


def test_two_suites_are_switched(tmp_path: Path, visit: Visit, errors: list[str]) -> None:
    one = make_reviewed_run(tmp_path / "one", {"d0": ["success", "missed"]})
    two = make_reviewed_run(tmp_path / "two", {"d0": ["missed"]}, of=suite(1, first_seed=7, facts={"control_hz": 20}))
    report = write_report([one, two], tmp_path / "pages")
    page = visit(report.path.as_uri() + "#seed=7&t=3")
    playable(page)
    assert page.inner_text("#episode-title") == "Episode 0"
    assert page.inner_text("#count") == "1 seed"
    page.select_option("#suite", "0")
    assert page.inner_text("#count") == "2 seeds"
    assert errors == []


def rows_of_filters(page: Any) -> int:
    """Return in how many rows the filters stand: their bottoms differ from row to row."""
    bottoms = "[...document.querySelectorAll('#filters > *')].map(e => e.getBoundingClientRect().bottom)"
    return len({round(bottom / 8) for bottom in page.evaluate(bottoms)})


@pytest.mark.parametrize(
    "outcomes",
    [
        ["success", "wrong_block", "policy_error", "dropped"],
        ["success", "wrong_block", "policy_error", "dropped", "timeout", "invalid", "between"],
    ],
)
def test_filters_keep_to_one_row(tmp_path: Path, visit: Visit, outcomes: list[str]) -> None:
    out = make_reviewed_run(tmp_path / "run", {"rtc_d0_s10": outcomes, "rtc_d4_s10": outcomes[::-1]}, films=False)
    write_report([out], out)
    page = visit(address(out), width=1360)
    assert rows_of_filters(page) == 1
    page.locator(".chip").nth(0).click()
    assert page.locator("#count").inner_text() != f"{len(outcomes)} seeds", "the outcome can be pressed"


def test_an_outcome_has_one_colour(run: Path, visit: Visit) -> None:
    """In the table, on badges, on filters, in bars and in dots; the figures have it from the same list."""
    page = visit(address(run, "#seed=101"), color_scheme="light")
    colours = page.evaluate(
        """name => [...document.querySelectorAll(`.o-${name}`)].map(e => {
            const style = getComputedStyle(e);
            return e.namespaceURI.endsWith('svg') ? style.fill : style.backgroundColor;
        })""",
        "wrong_block",
    )
    red, green, blue = (int(OUTCOME_COLOURS["wrong_block"][i : i + 2], 16) for i in (1, 3, 5))
    assert len(colours) >= 5
    assert set(colours) == {f"rgb({red}, {green}, {blue})"}


def test_keys_walk_through_the_episodes_and_bring_them_into_view(run: Path, visit: Visit) -> None:
    page = visit(address(run, "#seed=100"), height=600)
    playable(page)
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    for number, key in enumerate(("j", "ArrowDown", "k", "ArrowUp")):
        page.keyboard.press(key)
        episode = (1, 2, 1, 0)[number]
        until(page, f"document.querySelector('#episode-title').textContent === 'Episode {episode}'")
        until(
            page,
            "(() => { const box = document.querySelector('#episode-title').getBoundingClientRect();"
            " return box.top >= 0 && box.bottom <= innerHeight })()",
        )
    assert page.locator("tr.current").get_attribute("data-episode") == "0"


def test_a_video_can_be_enlarged(run: Path, visit: Visit) -> None:
    page = visit(address(run, "#seed=100"))
    playable(page)
    width = "document.querySelector('.player').getBoundingClientRect().width"
    before = page.evaluate(width)
    page.locator(".player .enlarge").first.click()
    assert page.evaluate(width) > 2 * before
    page.keyboard.press("j")
    until(page, "document.querySelector('#episode-title').textContent === 'Episode 1'")
    assert page.evaluate(width) > 2 * before, "the next episode is as large"
    page.keyboard.press("e")
    assert page.evaluate(width) == before


def test_an_environment_without_gripper_and_blocks_reads_of_none(
    tmp_path: Path, visit: Visit, monkeypatch: pytest.MonkeyPatch, errors: list[str]
) -> None:
    """Commands are shown as the environment has them: no degrees, no joints, no gripper, no block."""
    out = make_plain_run(tmp_path / "run", monkeypatch)
    write_report([out], out)
    page = visit(address(out, "#seed=101&t=30"))
    text = page.inner_text("main")
    assert not re.search("gripper|block|joint|grasp|confuser|deg|°|rad", text, re.IGNORECASE)
    assert page.locator(".plot").count() == 1
    page.keyboard.press("ArrowLeft")  # at step 29 the command of the first dimension is 0.29
    until(page, "document.querySelector('.plot .u-legend').innerText.includes('0.290')")
    banner = page.locator(".findings")
    assert "input observation.state ignored" in banner.inner_text()
    assert banner.bounding_box()["y"] < page.locator("#summary").bounding_box()["y"]
    assert not errors


def make_plain_run(out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run in an environment with a position to command and nothing else, of a policy with an ignored input."""
    steps_of, record_of = reviewed_runs.steps_of, reviewed_runs.record_of
    nothing = np.zeros(0, np.float32)
    gone = {"joints": nothing, "gripper_xyz": nothing, "blocks_xyz": nothing, "target": np.zeros(0, np.int64)}
    monkeypatch.setattr(reviewed_runs, "_SAVED", {})
    monkeypatch.setattr(reviewed_runs, "steps_of", lambda *a, **k: replace(steps_of(*a, **k), **gone))
    monkeypatch.setattr(
        reviewed_runs, "record_of", lambda *a, **k: replace(record_of(*a, **k), detail={}, grasp_choice=None)
    )
    plain = suite(3, env="mine:Reach-v0", facts={"control_hz": 20})
    make_reviewed_run(out, {"naive_d0_s5": ["success", "timeout", "success"]}, of=plain, films=False)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["notes"]["input_check"] = ["warning: input observation.state ignored: no change of the chunk"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


def test_the_table_works_on_a_phone(run: Path, visit: Visit) -> None:
    page = visit(address(run), width=390, height=844)
    table = page.locator(".matrix .scroller")
    assert table.evaluate("e => e.scrollWidth >= e.clientWidth && e.getBoundingClientRect().right <= innerWidth")
    cell = page.locator(".matrix tr[data-episode='2'] button").last
    cell.scroll_into_view_if_needed()
    cell.click()
    until(page, "document.querySelector('#episode-title')?.textContent === 'Episode 2'")
    until(page, "document.querySelector('#episode-title').getBoundingClientRect().top < innerHeight")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
