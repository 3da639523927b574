"""`evaluate --env` on environments that are not ours: a factory, a Gymnasium id, a task of dm_control's suite."""

import json
import re
from pathlib import Path

import av
import pytest

from act_eval.cli import main
from act_eval.config import EnvDeclaration
from act_eval.results.records import read_episodes
from act_eval.results.steps import load
from act_eval.sources.env_declaration import declared
from act_eval.sources.external_envs import env_label

OURS = ("--policy", "foreign_envs:Seeker", "--env", "foreign_envs:Reach", "--horizon", 12)
HERE = ("--workers", 1, "--video", "none")
CONDITIONS = ("naive_d0_s4", "naive_d3_s4")


def evaluate(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments)])


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert evaluate(*arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    return shown


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "reference"
    assert evaluate(*OURS, "--episodes", 8, "--delay", 0, 3, "--out", out, "--workers", 1) == 0
    return out


def test_a_run_has_records_steps_statistics_and_videos(reference: Path):
    for condition in CONDITIONS:
        records = read_episodes(reference / condition / "episodes.jsonl")
        assert {record.outcome for record in records} == {"success"}
        assert len({record.detail["initial_state"] for record in records}) == 8
        for record in records:
            steps = load(reference / condition / "steps" / f"{record.episode:04d}.npz")
            assert steps.steps == record.steps == record.detail["success_step"] + 1
            name = f"{record.episode:04d}_seed{record.seed}_success.mp4"
            with av.open(str(reference / condition / "videos" / name)) as video:
                assert sum(1 for _ in video.decode(video=0)) > record.steps
                assert video.streams.video[0].average_rate == 10
    suite = json.loads((reference / "manifest.json").read_text())["suite"]
    assert suite["env"] == "foreign_envs:Reach"
    assert suite["horizon"] == 12
    assert suite["facts"]["images"] == {"top": "pixels.top"}
    assert suite["facts"]["hold"] == "repeat"


def test_delay_costs_steps_on_the_same_starts(reference: Path):
    prompt, late = (read_episodes(reference / condition / "episodes.jsonl") for condition in CONDITIONS)
    assert [r.detail["initial_state"] for r in prompt] == [r.detail["initial_state"] for r in late]
    assert {delay for record in late for delay in record.detail["actual_delays"][1:]} <= {3}


@pytest.mark.parametrize("batch", [1, 4])
def test_records_depend_neither_on_batch_nor_on_filming(tmp_path: Path, reference: Path, batch: int):
    out = tmp_path / "run"
    assert evaluate(*OURS, "--episodes", 8, "--delay", 0, 3, "--out", out, "--batch", batch, *HERE) == 0
    for condition in CONDITIONS:
        for name in ("episodes.jsonl", "metrics.jsonl", "steps/0003.npz"):
            assert (out / condition / name).read_bytes() == (reference / condition / name).read_bytes()


def test_two_runs_are_compared_and_gated(tmp_path: Path, reference: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "slow"
    slow = (*OURS, "--policy-options", "gain=-1", "--episodes", 8, "--delay", 0, "--out", out, *HERE)
    assert evaluate(*slow) == 0
    assert sum(r.outcome == "success" for r in read_episodes(out / CONDITIONS[0] / "episodes.jsonl")) <= 1
    capsys.readouterr()
    assert main(["compare", f"{reference}:{CONDITIONS[0]}", f"{out}:{CONDITIONS[0]}"]) == 1
    assert "worse" in capsys.readouterr().out
    baseline = tmp_path / "baseline.json"
    assert main(["baseline", str(reference), str(baseline), "--reason", "first"]) == 0
    assert main(["compare", str(baseline), str(reference)]) == 0


def test_a_sweep_runs_there_on_the_suite_of_an_evaluation(tmp_path: Path, reference: Path):
    grid = ("--policies", OURS[1], "--envs", OURS[3], "--delays", 0, 3, "--executors", "naive", "--episodes", 8)
    assert main(["sweep", *map(str, (*grid, "--horizon", 12, "--out", tmp_path / "sweep", "--workers", 1))]) == 0
    part = tmp_path / "sweep" / "Seeker_Reach"
    suites = [json.loads((folder / "manifest.json").read_text())["suite"] for folder in (part, reference)]
    assert suites[0] == suites[1]
    for condition in CONDITIONS:
        assert (part / condition / "episodes.jsonl").read_bytes() == (
            reference / condition / "episodes.jsonl"
        ).read_bytes()


def test_a_declaration_in_a_file_is_the_flags_declaration(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "reach.toml"
    file.write_text(
        'horizon = 9\nsuccess = "reward>=-0.2"\nhold = [0, "repeat"]\nstate = "agent_pos"\n'
        "[options]\ntells = false\n[images]\nfront = 'pixels.top'\n"
    )
    outs = tmp_path / "file", tmp_path / "flags"
    shared = (*OURS[:4], "--episodes", 2, "--delay", 0, *HERE)
    assert evaluate(*shared, "--env-file", file, "--out", outs[0]) == 0
    flags = ("--horizon", 9, "--success", "reward>=-0.2", "--hold", "0,repeat", "--state", "agent_pos")
    more = ("--env-options", "tells=false", "--images", "front=pixels.top")
    assert evaluate(*shared, *flags, *more, "--out", outs[1]) == 0
    suites = [json.loads((out / "manifest.json").read_text())["suite"] for out in outs]
    assert suites[0] == suites[1]
    assert suites[0]["facts"]["success"] == "reward>=-0.2"
    assert "hold: 0,repeat" in capsys.readouterr().out


def test_what_is_missing_or_wrong_is_said_before_the_first_episode(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def said(*arguments: object) -> str:
        return refusal(capsys, *OURS, "--episodes", 1, "--out", tmp_path / "never", *HERE, *arguments)

    assert 'declare the rule with --success, as in --success "reward>=4"' in said("--env-options", "tells=false")
    assert "foreign_envs has no 'Reech'" in said("--env", "foreign_envs:Reech")
    assert "there is no module 'no_such_thing'" in said("--env", "no_such_thing:make")
    assert "there is no module 'gym_nowhere'" in said("--env", "gym_nowhere/Thing-v0")
    assert "unknown Gymnasium id 'Pendulum-v77'" in said("--env", "Pendulum-v77")
    assert "Did you mean 'pick'" in said("--env", "picks")
    assert "a factory must return a gymnasium.Env" in said("--env", "foreign_envs:not_an_environment")
    assert "being made, raised OSError: no such robot" in said("--env", "foreign_envs:raises")
    assert "does not take the options {'tels': False}" in said("--env-options", "tels=false")
    assert "in a first step, raised RuntimeError: the motor caught fire" in said("--env-options", "fails_at=1")
    assert "--env-options 'tells': expected NAME=VALUE" in said("--env-options", "tells")
    assert "--images 'top': expected NAME=VALUE" in said("--images", "top")
    assert "pick is an environment of ours" in said("--env", "pick")
    assert "action: the policy gives (2,), the environment takes (1,)" in said(
        "--env", "Pendulum-v1", "--success", "terminated"
    )
    assert "choose --video none" in said("--env-options", "render_mode=null", "--video", "all")
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("horizon = 'x'", "horizon = 'x' is not of the kind that horizon takes"),
        ("horizon = true", "is not of the kind"),
        ("hold = {a = 1}", "is not of the kind"),
        ("image = 3", "unknown image; allowed: options, images, state"),
        ("horizon =", "Invalid value"),
    ],
)
def test_a_file_that_declares_nonsense_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
):
    (tmp_path / "bad.toml").write_text(content)
    text = refusal(capsys, *OURS, "--env-file", tmp_path / "bad.toml")
    assert message in text
    assert "bad.toml" in text


def test_an_environment_that_breaks_later_makes_its_episodes_invalid(tmp_path: Path):
    out = tmp_path / "run"
    broken = ("--env-options", "fails_at=3", "ends=false", "--success", "reward>=1")
    assert evaluate(*OURS, *broken, "--episodes", 2, "--delay", 0, "--out", out, "--workers", 1) == 1
    for record in read_episodes(out / CONDITIONS[0] / "episodes.jsonl"):
        assert (record.outcome, record.error) == ("invalid", "RuntimeError: the motor caught fire")


def test_a_gymnasium_id_and_a_task_of_the_suite_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    pendulum = ("--env", "Pendulum-v1", "--policy", "foreign_envs:Still", "--success", "reward>=-0.01", "--horizon", 20)
    assert evaluate(*pendulum, "--episodes", 2, "--delay", 2, "--out", tmp_path / "pendulum", *HERE) == 0
    cartpole = ("--env", "dm_control:cartpole/balance", "--policy", "foreign_envs:Still", "--policy-options", "state=5")
    rule = ("--success", "return>=9.5", "--horizon", 12)
    assert evaluate(*cartpole, *rule, "--episodes", 2, "--delay", 2, "--out", tmp_path / "cartpole", *HERE) == 0
    records = read_episodes(tmp_path / "cartpole" / "naive_d2_s4" / "episodes.jsonl")
    assert {(record.outcome, record.steps) for record in records} == {("success", 10)}
    assert len({record.detail["initial_state"] for record in records}) == 2


def test_labels_fit_into_file_names():
    assert env_label("confuser_pick") == "confuser_pick"
    assert env_label("gym_aloha/AlohaTransferCube-v0") == "AlohaTransferCube-v0"
    assert env_label("dm_control:cartpole/balance") == "cartpole_balance"
    assert env_label("my.robot:make.it") == "make.it"


def test_the_example_of_the_page_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    page = (Path(__file__).parents[2] / "docs" / "own-environment.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (command,) = re.findall(r"python scripts/evaluate.py (.*my_reach:Reach.*)", page)
    (table,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "my_reach.py").write_text(code)
    (tmp_path / "example.toml").write_text(table)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    options, declaration = declared(EnvDeclaration(env_file=tmp_path / "example.toml"))
    assert options == {"obs_type": "pixels_agent_pos"}
    assert declaration.hold == "0,0,0,repeat"
    assert declaration.images == {"top": "pixels.top", "front": "render()"}
    assert evaluate(*command.split(), "--episodes", 3, "--workers", 1, "--out", "run") == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("env"))
    assert line in page
    counts = [
        sum(record.outcome == "success" for record in read_episodes(tmp_path / "run" / condition / "episodes.jsonl"))
        for condition in ("naive_d0_s5", "naive_d4_s5")
    ]
    assert counts[0] >= counts[1]
    assert len(list((tmp_path / "run" / "naive_d4_s5" / "videos").iterdir())) == 3
