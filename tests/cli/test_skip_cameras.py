"""The hook `skip_cameras`: it saves rendering between requests and changes nothing that is recorded."""

from pathlib import Path

import pytest
from gymnasium.utils.env_checker import check_env
from untrained import write_checkpoint

from act_eval.cli import main
from act_eval.envs.pick import PickEnv
from act_eval.results.records import read_episodes
from act_eval.scenes.rendering import OffscreenRenderer

CONDITION = "rtc_d2_s4"
SAME = ("episodes.jsonl", "metrics.jsonl", "steps/0000.npz")


@pytest.fixture
def renderings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cameras that were rendered, in order."""
    seen: list[str] = []
    real = OffscreenRenderer.render

    def render(self, data, camera, *size):
        seen.append(camera)
        return real(self, data, camera, *size)

    monkeypatch.setattr(OffscreenRenderer, "render", render)
    return seen


def evaluate(checkpoint: Path, out: Path) -> Path:
    arguments = ("--policy", checkpoint, "--env", "nudged_pick", "--image-size", 32, "--seeds", "3", "--delay", 2)
    more = ("--out", out, "--workers", 1, "--video", "none", "--no-probe", "--gripper-faults", 0.02)
    assert main(["evaluate", *map(str, (*arguments, *more))]) == 0
    return out / CONDITION


def test_records_and_steps_are_those_of_rendering_always(
    tmp_path: Path, renderings: list[str], monkeypatch: pytest.MonkeyPatch
):
    checkpoint = write_checkpoint(tmp_path / "policy", "act_rtc")
    skipping = evaluate(checkpoint, tmp_path / "skipping")
    looked = len(renderings)
    renderings.clear()
    monkeypatch.setattr(PickEnv, "skip_cameras", lambda self, skip: None)
    always = evaluate(checkpoint, tmp_path / "always")
    for name in SAME:
        assert (skipping / name).read_bytes() == (always / name).read_bytes()
    records = read_episodes(skipping / "episodes.jsonl")
    steps, requests = sum(r.steps for r in records), sum(r.requests for r in records)
    # Two cameras at every request, and none between; the state that ends an episode at its horizon may be looked at.
    assert 2 * requests <= looked <= 2 * (requests + len(records))
    assert len(renderings) >= 2 * steps
    assert looked < len(renderings) / 3


@pytest.mark.filterwarnings("ignore:.*(symmetric and normalized|is -?infinity)")
def test_gymnasiums_contract_is_kept_whether_or_not_cameras_were_skipped():
    env = PickEnv(image_size=32)
    env.skip_cameras(True)
    env.reset(seed=1)
    env.skip_cameras(False)
    check_env(env, skip_render_check=True)
