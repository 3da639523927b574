"""Corrections: what a label says is what happens when the expert takes over there, and training reads it so."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from untrained import write_checkpoint

from act_eval.cli import main
from act_eval.collect import CollectPlan, collect
from act_eval.collect.corrections import corrector
from act_eval.collect.plan import LabelPrefix
from act_eval.datasets import Demonstrations, open_cache
from act_eval.envs.expert import Expert
from act_eval.envs.registration import env_id, make
from act_eval.errors import DatasetError, TimingError, UsageError
from act_eval.policies.checkpoint import load_config
from act_eval.policies.data import JoinedWindows, Windows
from act_eval.policies.rtc import DELAY
from act_eval.policies.sampling import frame_orders
from act_eval.policies.training_setup import fresh_processor
from act_eval.rollout import Episode, rollout
from act_eval.sources.environments import EnvSource
from act_eval.timing import parse_delay

OPTIONS = {"image_size": 32, "confusers": 1}
LABELS = (
    *("correction", "correction_length", "correction_delay", "episode_step", "last_action", "past_actions"),
    "observation.state",
)


class Recorder:
    """The commands that ran."""

    def __init__(self) -> None:
        self.commands: list[np.ndarray] = []

    def on_step(self, record) -> None:
        self.commands.append(record.command.copy())

    def on_episode_end(self, record) -> None:
        pass


@pytest.fixture(scope="module", params=["act", "act_rtc"])
def policy(request, tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("policy") / request.param, request.param)


def built_in(env: str, **options: Any) -> EnvSource:
    return EnvSource(env_id=env_id(env), options=OPTIONS | options)


def run(
    policy: Path,
    out: Path,
    env: str = "nudged_pick",
    workers: int = 1,
    episodes: int = 2,
    prefix: LabelPrefix = "own",
) -> Demonstrations:
    place = built_in(env)
    whom, source = corrector(policy, place, None, None, parse_delay("uniform:0,3"), 0.1, prefix)
    plan = CollectPlan(env=place.env_id, options=place.options, episodes=episodes, corrections=whom)
    collected = collect(plan, out, source, workers=workers)
    data = Demonstrations(out)
    assert data.holds_corrections
    assert data.total_frames == collected.frames
    return data


def contents(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file() and "cache" not in str(p))
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("prefix", ["own", "expert"])
def test_a_label_is_what_the_expert_does_once_the_committed_commands_have_run(
    policy: Path, tmp_path: Path, prefix: LabelPrefix
) -> None:
    data = run(policy, tmp_path / "set", episodes=1, prefix=prefix)
    seed = int(data.episodes.seeds[0])
    _, source = corrector(policy, built_in("nudged_pick"), None, None, parse_delay("uniform:0,3"), 0.1, prefix)
    attempts, ran = source(), Recorder()
    list(rollout([attempts.env], attempts._labels, [Episode(0, seed)], [ran]))
    rows = data.vectors(0, LABELS)
    delays = rows["correction_delay"]
    assert set(delays) == {0, 1, 2, 3}
    asked = rows["episode_step"] % 4 == 0
    assert asked.sum() >= 10
    assert (~asked).sum() >= 5
    env = make(env_id("nudged_pick"), OPTIONS).unwrapped
    for number in range(0, len(delays), 7):
        step, delay, length = (
            int(rows[key][number]) for key in ("episode_step", "correction_delay", "correction_length")
        )
        window = rows["correction"][number].reshape(-1, 6)
        env.reset(seed=seed)
        env.skip_cameras(True)
        for command in ran.commands[:step]:
            env.step(command)
        assert rows["observation.state"][number] == pytest.approx(env.privileged().joints, abs=1e-6)
        before = ran.commands[step - 1] if step else rows["observation.state"][number]
        assert np.array_equal(rows["last_action"][number], before)
        past = ran.commands[max(0, step - 10) : step] or [rows["observation.state"][number]]
        past = [past[0]] * (10 - len(past)) + past
        assert np.array_equal(rows["past_actions"][number].reshape(10, 6), past)
        expert = Expert(env)
        for k in range(length):
            command = window[k] if prefix == "own" and k < delay else expert.act()
            assert np.array_equal(window[k], command)
            env.step(command)
        assert length == delay + 8 or step + length > 150
        assert not window[length:].any()


def test_the_committed_commands_are_those_that_run(tmp_path: Path) -> None:
    policy = write_checkpoint(tmp_path / "act_rtc", "act_rtc")
    whom, source = corrector(policy, built_in("pick", confusers=0), "rtc", 4, parse_delay("2"), 0.0)
    attempts, ran = source(), Recorder()
    list(rollout([attempts.env], attempts._labels, [Episode(0, 5)], [ran]))
    rows = attempts._labels.rows
    assert [int(row["correction_delay"]) for row in rows[:4]] == [0, 2, 2, 2]
    for row in rows:
        step, delay = int(row["episode_step"]), int(row["correction_delay"])
        for committed, command in zip(row["correction"].reshape(-1, 6)[:delay], ran.commands[step:], strict=False):
            assert np.array_equal(committed, command)
    assert whom.execution_horizon == 4


def test_workers_and_repeats_give_the_same_data_set(tmp_path: Path) -> None:
    policy = write_checkpoint(tmp_path / "act_rtc", "act_rtc")
    whole = contents(run(policy, tmp_path / "one").root)
    assert contents(run(policy, tmp_path / "two", workers=2).root) == whole
    assert "meta/stats.json" in whole


def test_training_reads_the_stored_windows_beside_demonstrations(policy: Path, tmp_path: Path, make_demos) -> None:
    data = run(policy, tmp_path / "set", episodes=1)
    samples = Windows(data, open_cache(data), 10)
    rows, batch = data.vectors(0, LABELS), samples.batch(range(len(samples)))
    for number in range(len(samples)):
        length = int(rows["correction_length"][number])
        window = rows["correction"][number].reshape(-1, 6)[:10]
        valid = min(length, 10)
        assert np.array_equal(batch["action"][number][:valid], window[:valid])
        assert batch["action_is_pad"][number].tolist() == [k >= length for k in range(10)]
        assert (batch["action"][number][valid:] == batch["action"][number][valid - 1]).all()
    assert batch[DELAY].tolist() == rows["correction_delay"].tolist()
    assert np.array_equal(batch["last_action"], rows["last_action"])
    with pytest.raises(DatasetError, match=r"holds corrections of 1[12] commands; this policy learns 13"):
        Windows(data, open_cache(data), 13)
    past = Windows(data, open_cache(data), 10, past=3).batch(range(len(samples)))["past_actions"]
    assert np.array_equal(past, rows["past_actions"].reshape(-1, 10, 6)[:, -3:])
    with pytest.raises(DatasetError, match="with the 10 commands before each observation; this policy reads 11"):
        Windows(data, open_cache(data), 10, past=11)
    demos = make_demos(tmp_path / "demos", (7,))[0]
    both = JoinedWindows(
        [Windows(demos, open_cache(demos), 10, cameras=()), Windows(data, open_cache(data), 10, cameras=())]
    )
    mixed = both.batch([0, 7, 3, 8])
    assert mixed[DELAY].tolist() == [-1, rows["correction_delay"][0], -1, rows["correction_delay"][1]]


def test_what_cannot_be_corrected_is_refused(tmp_path: Path) -> None:
    policy = write_checkpoint(tmp_path / "act_rtc", "act_rtc")
    with pytest.raises(UsageError, match="corrections need bounded delays, as in 4 or uniform:0,8"):
        corrector(policy, built_in("pick"), "naive", None, parse_delay("lognormal:shift=1,median=2,sigma=0.5"), 0.1)
    with pytest.raises(TimingError, match="max_delay"):
        corrector(policy, built_in("pick"), None, None, parse_delay("9"), 0.1)
    with pytest.raises(UsageError, match=r"between is 1\.5; it is a share of the steps, 0 to 1"):
        corrector(policy, built_in("pick"), None, None, parse_delay("2"), 1.5)
    data = run(policy, tmp_path / "set", episodes=1)
    with pytest.raises(DatasetError, match="corrections alone have no statistics of actions; --init-from"):
        fresh_processor(load_config(policy), [data])


def test_the_command_collects_and_training_starts_from_the_checkpoint(tmp_path: Path, capsys) -> None:
    policy, out = write_checkpoint(tmp_path / "act_rtc", "act_rtc"), tmp_path / "set"
    words = ["--env", "pick", "--image-size", "32", "--delay", "uniform:0,2", "--workers", "1", "--episodes", "1"]
    assert main(["collect", "--policy", str(policy), *words, "--out", str(out)]) == 0
    assert "corrections of 1 rollouts" in capsys.readouterr().out
    assert main(["collect", "--policy", str(policy), *words, "--out", str(out)]) == 0
    assert "already holds these" in capsys.readouterr().out
    assert main(["collect", "--policy", str(policy), *words, "--recovery", "0.5", "--out", str(out)]) == 2
    assert "--recovery 0.5 is for demonstrations" in capsys.readouterr().err
    training = ["--policy", "act_rtc", "--env", "pick", "--dataset", str(out), "--init-from", str(policy)]
    loop = ["--steps", "2", "--batch-size", "4", "--evaluate-every", "0", "--validate-every", "0", "--compile", "off"]
    assert main(["train", *training, *loop, "--held-out", "0", "--out", str(tmp_path / "run")]) == 0
    trained = tmp_path / "run/checkpoints/last/pretrained_model"
    stored = "policy_preprocessor_step_3_normalizer_processor.safetensors"
    assert (trained / stored).read_bytes() == (policy / stored).read_bytes()


def test_rounds_alternate_and_continue_where_they_were(tmp_path: Path, capsys) -> None:
    policy, out = write_checkpoint(tmp_path / "act_rtc", "act_rtc"), tmp_path / "run"
    words = ["--policy", "act_rtc", "--env", "pick", "--init-from", str(policy), "--correction-rounds", "2"]
    words += ["--correction-episodes", "1", "--correction-steps", "2", "--correction-delay", "uniform:0,2"]
    words += ["--batch-size", "4", "--evaluate-every", "0", "--validate-every", "0", "--held-out", "0"]
    assert main(["train", *words, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"round 1 of 2: corrections of {policy}" in printed
    assert f"round 2 of 2: corrections of {out}/round_1/train/checkpoints/last/pretrained_model" in printed
    first, second = (Demonstrations(out / f"round_{n}/pick") for n in (1, 2))
    whom = [data.collection()["plan"]["corrections"]["weights"] for data in (first, second)]
    assert whom[0] != whom[1]
    settings = json.loads((out / "round_2/train/run.json").read_text())["facts"]["settings"]
    assert settings["dataset"] == [str(out / "round_1/pick"), str(out / "round_2/pick")]
    final = out / "round_2/train/checkpoints/last/pretrained_model/model.safetensors"
    weights = final.read_bytes()
    shutil.rmtree(out / "round_2")
    assert main(["train", "--resume", str(out)]) == 0
    assert final.read_bytes() == weights
    assert main(["train", *words, "--out", str(out)]) == 1
    assert f"continue it with --resume {out}" in capsys.readouterr().err


def test_a_batch_holds_the_share_of_corrections_that_is_asked_for(tmp_path: Path, make_demos) -> None:
    policy = write_checkpoint(tmp_path / "act_rtc", "act_rtc")
    data, demos = run(policy, tmp_path / "set", episodes=1), make_demos(tmp_path / "demos", (30,))[0]
    parts = [Windows(one, open_cache(one), 10, cameras=()) for one in (data, demos)]
    mixed = JoinedWindows(parts, correction_share=0.25)
    assert mixed.groups == ((30, 0.75), (data.total_frames, 0.25))
    orders = frame_orders(mixed.groups, 8, seed=1)
    batches = [np.concatenate([order.at(step) for order in orders]).tolist() for step in range(10)]
    assert all((mixed.batch(frames)[DELAY] >= 0).sum() == 2 for frames in batches)
    assert {frame for frames in batches for frame in frames if frame < 30} == set(range(30))
    alone = JoinedWindows(parts[:1])
    assert [len(order.at(0)) for order in frame_orders(alone.groups, 8, seed=1)] == [8]
