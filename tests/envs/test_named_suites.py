"""Named suites: what a name means, whose start a seed decides, and that tasks share the episodes of a run."""

from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import user_faults

from act_eval import evaluate, load_run
from act_eval.config import EnvDeclaration
from act_eval.envs import suites
from act_eval.envs.adapters import Declaration
from act_eval.envs.suites import SUITES, NamedSuite, suite_of
from act_eval.envs.suites.task_list import TaskList, balanced, task_of
from act_eval.errors import DeclarationError, UsageError
from act_eval.results.records import read_episodes
from act_eval.seeding import Purpose, episode_seeds
from act_eval.sources.environments import env_source
from act_eval.sources.external_envs import env_label
from act_eval.sweeps.plan import plan_sweep


class Corner(user_faults.Reach):
    """A reach that starts in a corner, for `toys:near` and `toys:far`."""

    def __init__(self, side: float, size: int = 2) -> None:
        super().__init__()
        self.side = side
        self.action_space = gym.spaces.Box(-2, 2, (size,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        seen, info = super().reset(seed=seed)
        self.position = self.goal + self.side
        return {**seen, "agent_pos": self.position.copy()}, info


def make(task: str, film: bool, suite: NamedSuite, **options: Any) -> Corner:
    return Corner({"near": 0.0, "far": 100.0, "other": 0.0}[task], 3 if task == "other" else 2)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> NamedSuite:
    suite = NamedSuite(
        install="toys==1",
        module="user_faults",
        maker=f"{__name__}:make",
        ids={"near": "", "far": "", "other": ""},
        groups={"both": ("near", "far")},
        horizons={"far": 9},
        declaration=Declaration(success="info.is_success", hold="repeat", horizon=7, control_ms=100),
        longest=20,
    )
    monkeypatch.setattr(suites, "SUITES", {**SUITES, "toys": suite})
    return suite


def source(name: str, **flags: Any) -> Any:
    return env_source(name, {}, EnvDeclaration(**flags), film=False)


def test_names_of_suites_tasks_and_groups():
    assert suite_of("confuser_pick") is suite_of("gym_pusht/PushT-v0") is suite_of("module:factory") is None
    assert suite_of("metaworld:push-v3, reach-v3") == (SUITES["metaworld"], ("push-v3", "reach-v3"))
    assert len(suite_of("metaworld:MT10")[1]) == 10
    assert suite_of("libero:libero_10_swap")[1] == tuple(f"libero_10_swap/{number}" for number in range(10))
    assert env_label("libero:libero_10_swap/3") == "libero_10_swap_3"
    assert env_label("metaworld:push-v3,reach-v3") == "push-v3_reach-v3"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("metaworld:", "--env metaworld:: name a task after metaworld:, as in metaworld:MT10"),
        ("fetch:push,", "--env fetch:push,: name a task after fetch:, as in fetch:reach"),
        ("fetch:push,reach,push", "--env fetch:push,reach,push names push twice"),
    ],
)
def test_a_name_without_a_task_or_with_one_twice_is_refused(name: str, message: str):
    with pytest.raises(UsageError, match=message):
        suite_of(name)


def test_an_unknown_task_lists_names_near_it(toys: NamedSuite):
    message = r"unknown task of toys 'neer'; near it are near.*, of 3 tasks"
    with pytest.raises(UsageError, match=message):
        source("toys:neer").make()


def test_a_missing_package_is_named_with_the_line_that_installs_it(toys: NamedSuite, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        suites, "SUITES", {"none": NamedSuite(install="x==1", module="no_x", declaration=Declaration())}
    )
    with pytest.raises(UsageError, match=r"the package of 'no_x', which is not installed: \S+ -m pip install x==1"):
        source("none:task").make()


def test_every_suite_declares_what_a_run_needs():
    for name, suite in SUITES.items():
        if name == "lerobot":
            continue  # its environments say themselves what they need
        assert None not in (suite.declaration.success, suite.declaration.hold), name
        assert None not in (suite.declaration.horizon, suite.declaration.control_ms), name
        assert "==" in suite.install, name
        for group in suite.groups:
            tasks = suite_of(f"{name}:{group}")
            assert tasks is not None
            assert suite.declared(tasks[1]).horizon <= (suite.longest or np.inf), name


def test_declarations_of_the_user_go_before_those_of_the_suite(toys: NamedSuite):
    assert source("toys:near").make().max_episode_steps == 7
    assert source("toys:both").make().max_episode_steps == 9
    assert source("toys:near", horizon=12).make().max_episode_steps == 12
    with pytest.raises(UsageError, match="--horizon is 21; toys:near itself cuts episodes off after 20 steps"):
        source("toys:near", horizon=21).make()
    assert source("toys:near", hold="zero").make().hold == "zero"


@pytest.mark.parametrize(("tasks", "count"), [(1, 5), (2, 7), (3, 3), (10, 35)])
def test_episodes_are_shared_evenly_task_by_task_and_drawn_from_the_run_s_seeds(tasks: int, count: int):
    chosen = balanced(episode_seeds(Purpose.EVALUATE, 0, 20 * count), tasks, count)
    assert chosen is not None
    numbers = [task_of(seed, tasks) for seed in chosen]
    assert numbers == sorted(numbers)
    assert max(Counter(numbers).values()) - min(Counter(numbers).values()) <= 1
    assert len(set(chosen)) == len(numbers) == count
    assert {task_of(seed % 2**32, tasks) == task_of(seed, tasks) for seed in chosen} == {True}  # as it arrives


def test_one_task_has_the_seeds_of_any_other_environment(toys: NamedSuite):
    assert source("toys:near").seeds(Purpose.EVALUATE, 3, 6) == tuple(episode_seeds(Purpose.EVALUATE, 3, 6))
    assert len(source("toys:both").seeds(Purpose.EVALUATE, 3, 6)) == 6
    with pytest.raises(UsageError, match="1 episodes are too few for 2 tasks: give --episodes 2 or more"):
        source("toys:both").seeds(Purpose.EVALUATE, 3, 1)


def test_tasks_of_different_spaces_are_refused(toys: NamedSuite):
    env = TaskList(("near", "other"), lambda task: make(task, False, toys), "user_faults")
    with pytest.raises(DeclarationError, match="near and other have different action spaces"):
        [env.reset(seed=seed) for seed in (0, 1)]


def test_a_run_of_several_tasks_has_a_rate_for_each_and_one_overall(toys: NamedSuite, tmp_path: Path):
    run = evaluate(
        policy=user_faults.Go,
        env="toys:both",
        delays=[0, 2],
        episodes=7,
        workers=1,
        video="none",
        out=tmp_path / "run",
        progress=False,
    )
    records = read_episodes(run.folder / "naive_d0_s5" / "episodes.jsonl")
    assert [record.detail["task"] for record in records] == ["near"] * 4 + ["far"] * 3
    assert [record.outcome for record in records] == ["success"] * 4 + ["timeout"] * 3
    text = str(load_run(run.folder))
    assert "4/7 = 0.57" in text
    assert "4/4 = 1.00" in text
    assert "0/3 = 0.00" in text


def test_a_sweep_takes_tasks_one_by_one(toys: NamedSuite):
    from act_eval.config import SweepConfig

    with pytest.raises(UsageError, match="--envs: toys:both names 2 tasks; a sweep takes a name for each of them"):
        plan_sweep(SweepConfig(envs=("toys:both",)))
