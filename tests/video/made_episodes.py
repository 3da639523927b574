"""An episode made by hand, and environments to film it in: one that can only render, one with every hook."""

import numpy as np

from act_eval.types import EpisodeRecord, Motion
from act_eval.types.scene import Stage
from act_eval.types.steps import EpisodeSteps
from act_eval.video import VideoJob

T, C = 8, 4
RECORD = EpisodeRecord(episode=3, seed=4348884358902, outcome="wrong_block", steps=T)
LEVEL = {"review": 0, "overhead": 10, "wrist": 20}
STAGE = Stage(block_side=0.1, jaws_closed=0.0, jaws_open=1.0, closes_below=0.5)


class Bare:
    """Renders flat images whose brightness tells the state and the camera."""

    def render_state(self, state: np.ndarray, camera: str, height: int, width: int) -> np.ndarray:
        return np.full((height, width, 3), 20 * state[0] + LEVEL[camera], np.uint8)


class Hooked(Bare):
    """Sees the unit square from above: a command's first two numbers are a place, its third is the gripper."""

    def gripper_position(self, command: np.ndarray) -> np.ndarray:
        return np.concatenate([command[..., :2], np.zeros((*command.shape[:-1], 1))], axis=-1).astype(np.float64)

    def project(self, points: np.ndarray, camera: str, height: int, width: int) -> np.ndarray:
        return points[..., :2] * [width, height]

    def stage(self) -> Stage:
        return STAGE

    def motion(self, logged: np.ndarray) -> Motion:
        count = len(logged)
        return Motion(np.ones((count, 3)), np.zeros((count, 3)), gripper_joint=2)


def episode_steps() -> EpisodeSteps:
    """Chunk 0 runs for steps 0–3, nothing for step 4, chunk 1 (sent at 3, estimated 2, ready at 5) from 5 on."""
    chunk = np.array([0, 0, 0, 0, -1, 1, 1, 1])
    start = np.array([0, 5])
    step = np.arange(T)
    command = np.stack([0.1 + 0.1 * step, np.full(T, 0.5), np.ones(T)], axis=1).astype(np.float32)
    steady = np.zeros((T + 1, 2, 3), np.float32)
    steady[:, 0], steady[:, 1] = (0.25, 0.25, 0.05), (0.75, 0.75, 0.05)
    return EpisodeSteps(
        command=command, ran=command, chunk=chunk, index=np.where(chunk < 0, -1, step - start[chunk]),
        observed=np.where(chunk < 0, -1, np.array([0, 3])[chunk]), requested=np.isin(step, (0, 3)),
        estimated_delay=np.where(chunk < 0, -1, np.array([0, 2])[chunk]),
        actual_delay=np.where(chunk < 0, -1, np.array([0, 2])[chunk]),
        in_flight=np.isin(step, (3, 4)).astype(np.int64), chunk_switch=step == 5,
        replaced=np.full((T, 3), np.nan, np.float32), overlap_rmse=np.full((T, 3), np.nan, np.float32),
        state=np.arange(T + 1, dtype=np.float64)[:, None],
        sent=np.array([0, 3]), observation_step=np.array([0, 3]), start=start, ready=np.array([0, 5]),
        estimated=np.array([0, 2]), actual=np.array([0, 2]), lost=np.zeros(2, np.bool_),
        predicted=np.stack([command[:C], command[4:]]), goal_input=np.array([[0.25, 0.25], [0.25, 0.25]], np.float32),
        joints=np.ones((T + 1, 3), np.float32), gripper_xyz=np.zeros((T + 1, 3), np.float32), blocks_xyz=steady,
        target=np.zeros(T + 1, np.int64),
    )  # fmt: skip


def made_film(steps: EpisodeSteps | None = None, record: EpisodeRecord = RECORD) -> VideoJob:
    """Return the episode as it is filmed."""
    return VideoJob(title="confuser_pick", record=record, steps=steps or episode_steps(), control_s=0.05)
