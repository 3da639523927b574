"""Ten thousand episodes in one process: nothing grows, nothing slows down, and the last ones are as the first."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_bench import Bench, job, manifest

from act_eval.evaluation.worker import cut_blocks
from act_eval.launch import worker_pool
from act_eval.results import open_run
from act_eval.results.records import EpisodeRecord
from act_eval.seeding import Purpose, episode_seeds
from act_eval.timing import Naive, Schedule, parse_delay
from act_eval.types import ActionChunks, ChunkRequest, PolicySpec

EPISODES = 10_000
EVERY = 500
pytestmark = pytest.mark.slow


class SmallNet:
    """Three layers of random weights, from joints and goal to a chunk."""

    spec = PolicySpec(chunk=8, action_dim=2, window="same", takes_prefix=False, max_delay=0, inputs={})

    def __init__(self) -> None:
        torch.manual_seed(0)
        self._net = torch.nn.Sequential(
            torch.nn.Linear(4, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 16)
        )

    def reset(self, rows: Sequence[int], seeds: Sequence[int]) -> None:
        pass

    @torch.inference_mode()
    def predict(self, request: ChunkRequest) -> ActionChunks:
        goals = request.observation.environment_state
        assert goals is not None
        seen = torch.from_numpy(np.concatenate([request.observation.agent_pos, goals], axis=1))
        moves = torch.cat([self._net(row[None]) for row in seen]).reshape(-1, 8, 2)  # row by row: equal in any batch
        return ActionChunks(moves.numpy() + goals[:, None])


class Soaked(Bench):
    def __init__(self) -> None:
        super().__init__(8)
        self._policy = SmallNet()


def memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_ten_thousand_episodes_leave_memory_files_and_pace_as_they_were(tmp_path: Path) -> None:
    seeds = tuple(episode_seeds(Purpose.EVALUATE, 0, EPISODES // 2 - 100))
    seeds += seeds[:100]  # the last ones are the first ones again
    conditions = {
        "uniform": Schedule(method=Naive(4), delay=parse_delay("uniform:0,4")),
        "bursty": Schedule(method=Naive(4), delay=parse_delay("bursty:calm=1,spike=6,enter=0.2,leave=0.3")),
    }
    work = replace(job(tmp_path), seeds=seeds, conditions=conditions, batch=8, video="none")
    wanted = replace(
        manifest(seeds), configuration={"conditions": {condition: {"delay": "random"} for condition in conditions}}
    )
    marks: list[tuple[float, float, int]] = []
    count = 0

    def progress(condition: str, news: EpisodeRecord | int) -> None:
        nonlocal count
        if isinstance(news, int):
            return
        count += 1
        if count % EVERY == 0:
            marks.append((time.process_time(), memory_mb(), len(os.listdir("/proc/self/fd"))))

    with worker_pool(Soaked, 1) as team, open_run(tmp_path, wanted) as folder:
        team.run(work, cut_blocks(work, {}, 1), folder.new_shards(1), progress)
        records = folder.finish()
    assert count == EPISODES
    spent = np.diff([mark[0] for mark in marks]) / EVERY * 1000
    memory = [mark[1] for mark in marks]
    print(
        f"\n{count} episodes; CPU {spent[0]:.2f} ms an episode at first, {spent[-1]:.2f} at last (median "
        f"{np.median(spent):.2f}); memory {memory[0]:.0f} MB after {EVERY}, {memory[-1]:.0f} MB after {count}; "
        f"open files {marks[0][2]} and {marks[-1][2]}"
    )
    assert memory[-1] - memory[1] < 20
    assert marks[-1][2] == marks[0][2]
    assert np.median(spent[-4:]) < 2 * np.median(spent[:4])
    for condition, found in records.items():
        again = [replace(record, episode=first.episode) for record, first in zip(found[-100:], found, strict=False)]
        assert again == found[:100], condition
    assert len({str(record.detail["actual_delays"]) for record in records["uniform"]}) > 20
