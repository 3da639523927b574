"""Pick the named block and place it in the tray: the environment behind every id of this room.

Beyond Gymnasium's interface it implements every hook of `act_eval.types.env_hooks` that applies.
"""

from copy import copy, deepcopy
from dataclasses import replace
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from act_eval.envs import outcomes
from act_eval.envs.command_bounds import CommandBounds
from act_eval.envs.episode_log import RunningLog
from act_eval.envs.expert import Expert
from act_eval.envs.layout import click_errors, sample_blocks
from act_eval.envs.logged_states import LoggedStates, StateArray
from act_eval.envs.options import PickOptions
from act_eval.errors import ActionError, SimulationError, UsageError
from act_eval.scenes.arm import CLOSING_THRESHOLD, GRIPPER_CLOSED, GRIPPER_OPEN, HOME, JOINTS
from act_eval.scenes.meshes import menagerie_model
from act_eval.scenes.projection import table_homography
from act_eval.scenes.rendering import renderer_for
from act_eval.scenes.scene import SceneConfig, compile_scene
from act_eval.scenes.workspace import BLOCK_SIDE, BLOCKS, CONTROL_HZ, HORIZON, SUBSTEPS
from act_eval.seeding import Stream, stream
from act_eval.types import FloatArray, ImageArray, Verdict
from act_eval.types.scene import Privileged, Variation

CAMERAS = ("overhead", "wrist")
_HOME_SPREAD = 0.04  # the arm's joints start within this of HOME [rad]
_NOISY_SHARE = 0.5
_FAULT_STEPS = (10, 25)  # duration of a gripper fault [control steps]
_FARTHEST = 10.0  # bound of the goal input [m]; a block pushed off the table falls much less far to the side
_FASTEST = 1e3  # bound of the velocities of a state observation [m/s, rad/s]
_ON_TABLE = 0.004  # a block on the table has its centre at most this far above its resting height [m]
_BROKEN = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)


class PickEnv(LoggedStates, gym.Env[dict[str, Any], FloatArray]):
    """One SO-101 arm, one tray, one target block and its confusers; see docs/environments.md."""

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": CONTROL_HZ}  # noqa: RUF012  # Gymnasium's form
    gripper_dims = (-1,)
    _event_steps = 1  # control steps that a nudge or swap takes

    def __init__(self, *, render_mode: str | None = None, **options: Any) -> None:
        """Compile the scene; `options` are those of `PickOptions`."""
        self.options = PickOptions.of(options)
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise UsageError(f"render_mode is {render_mode!r}; allowed: {self.metadata['render_modes']} or None")
        self.render_mode = render_mode
        meshes = menagerie_model() if self.options.robot_meshes else None
        super().__init__(compile_scene(SceneConfig(self.options.confusers, self.options.identical, meshes)))
        self._data = mujoco.MjData(self._scene.model)
        self._viewer: Any = None
        self._expert: Expert | None = None
        self._skip_cameras = False
        self._started = False
        image = spaces.Box(0, 255, (*(self.options.image_size,) * 2, 3), np.uint8)
        self._actions = spaces.Box(self._scene.action_low, self._scene.action_high, dtype=np.float32)
        self.action_space: Any = self._actions
        self._bounds = CommandBounds(self._actions)
        self._sees = self.options.obs_type != "state"
        far = np.full(2, _FARTHEST) if self._sees else np.repeat([_FARTHEST, _FASTEST], [4, 9])
        entries: dict[str, spaces.Space[Any]] = {
            "agent_pos": spaces.Box(-2 * np.pi, 2 * np.pi, (len(JOINTS),), np.float32),
            "environment_state": spaces.Box(-far.astype(np.float32), far.astype(np.float32)),
        }
        pixels = {"pixels": spaces.Dict(dict.fromkeys(CAMERAS, image))} if self._sees else {}
        self.observation_space = spaces.Dict({**pixels, **entries})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode; `seed` alone determines its randomness. Without one, the next seed is drawn."""
        super().reset(seed=seed)
        episode_seed = int(self.np_random.integers(1 << 40)) if seed is None else seed
        layout = stream(episode_seed, Stream.LAYOUT)
        self._noise = stream(episode_seed, Stream.ACTION_NOISE)
        self._fault_steps_left = 0
        poses = self._sample_blocks(layout)
        joints = np.array(HOME) + np.append(layout.uniform(-_HOME_SPREAD, _HOME_SPREAD, 5), 0)
        varied = self._scene.config.variation
        if varied.joints:
            low, high = self._scene.action_low.astype(np.float64), self._scene.action_high.astype(np.float64)
            joints = np.clip(joints + np.append(varied.joints, 0), low, high)
        poses[:, 2] = varied.resting_height(BLOCK_SIDE)
        self._random_place = BLOCKS.sample(layout)
        self._wrong_label = layout.random() < self.options.label_noise
        if self.options.swap_blocks:
            poses[[0, 1]] = poses[[1, 0]]
        self._click_errors = click_errors(stream(episode_seed, Stream.CLICK), len(poses))
        self._target = 0
        self._clicked: int | None = None  # block that the last click names
        self._event_step: int | None = None
        if self._data.model is not self._scene.model:
            self._data = mujoco.MjData(self._scene.model)
        mujoco.mj_resetData(self._scene.model, self._data)
        self._data.qpos[self._scene.joint_qpos] = joints
        self._data.ctrl[:] = joints
        for address, pose in zip(self._scene.block_qpos, poses, strict=True):
            self._data.qpos[address : address + 7] = pose
        mujoco.mj_forward(self._scene.model, self._data)
        self._log = RunningLog(self._scene, self._data, self._target)
        self._bounds.reset()
        self._pixels = {camera: np.zeros((self.options.image_size,) * 2 + (3,), np.uint8) for camera in CAMERAS}
        self._started = True
        return self._observation(), self._info()

    def step(self, action: FloatArray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Run one control step (50 ms) towards absolute joint targets (6,) [rad].

        Raises:
            ActionError: if the action is not six finite numbers.
            SimulationError: if the physics left the finite numbers.
        """
        if not self._started:
            raise UsageError("step() was called before reset()")
        command = _checked(action)
        self._log.commands.append(command)
        self._bounds.see(command)
        self._data.ctrl[:] = command
        self._disturb()
        self._before_physics()
        mujoco.mj_step(self._scene.model, self._data, SUBSTEPS)
        # mj_step leaves poses of the state before its last physics step; rules and cameras need the current one.
        mujoco.mj_kinematics(self._scene.model, self._data)
        mujoco.mj_camlight(self._scene.model, self._data)
        self._refuse_broken_physics()
        self._log.add(self._data, self._target)
        info = self._info()
        if self.render_mode == "human":
            self.render()
        return self._observation(), float(info["is_success"]), self._log.decided, False, info

    def render(self) -> ImageArray | None:  # type: ignore[override]
        """Return the review camera's view (480, 640, 3), or show it in a window in mode `human`."""
        if self.render_mode == "rgb_array":
            return renderer_for(self._scene.drawn_by).render(self._data, "review", 480, 640)
        if self.render_mode == "human":
            if self._viewer is None:
                from mujoco import viewer

                self._viewer = viewer.launch_passive(self._scene.model, self._data)
            self._viewer.sync()
        return None

    def close(self) -> None:
        """Close the window of mode `human`; the process's off-screen context stays for other environments."""
        if self._viewer is not None:
            self._viewer.close()
            self._viewer = None

    def hold_action(self, last_command: FloatArray) -> FloatArray:
        """Return the command of a step that no chunk covers: the last one again, for arm and gripper."""
        return last_command.copy()

    def skip_cameras(self, skip: bool) -> None:
        """While `skip` is true, observations carry the last images again instead of new ones."""
        self._skip_cameras = skip

    def simulator_state(self) -> StateArray:
        """Return the full physics state (S,), enough to render this moment again."""
        return self._saved(self._data)

    def simulation(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Return model and data of this environment alone, whose model others do not share from now on."""
        self._scene = self._scene.own()
        if self._data.model is not self._scene.model and not self._started:
            self._data = mujoco.MjData(self._scene.model)
        return self._scene.model, self._data

    def vary(self, variation: Variation) -> None:
        """Vary the scene for the episodes that begin from now on, and for the logged states shown meanwhile."""
        plain = compile_scene(replace(self._scene.config, variation=Variation()))
        self._scene = plain if variation == Variation() else plain.varied(variation)
        self._replayed = None

    def fork(self) -> "PickEnv":
        """Return an independent environment in the same state, physics and random generators included.

        It renders neither images nor a window, and stepping it leaves this environment unchanged.
        """
        twin = copy(self)
        twin._data = copy(self._data)
        twin._noise, twin._np_random = deepcopy(self._noise), deepcopy(self._np_random)
        twin._log, twin._bounds = self._log.copy(), CommandBounds(self._actions)
        twin._viewer, twin.render_mode, twin._skip_cameras = None, None, True
        twin._expert = self._own_expert().acting_in(twin)
        twin._replayed = None
        return twin

    def renderer_name(self) -> str:
        """Return the OpenGL name of the renderer of this process's images."""
        return renderer_for(self._scene.drawn_by).name

    def verdict(self) -> Verdict:
        """Return the outcome of the episode so far, with the nudge or swap in it."""
        log = self._log.whole()
        verdict, event = outcomes.judge(log), outcomes.event_detail(log, self._event_step, self._event_steps)
        return replace(verdict, detail={**verdict.detail, **event, **self._bounds.detail()})

    def suite_facts(self) -> dict[str, Any]:
        """Return the facts that must be equal for two runs to be paired by seed."""
        return {
            "scene": self._scene.digest,
            "outcome_rules": outcomes.OUTCOME_RULES,
            "hold": "repeat the last command",
            "horizon": HORIZON,
            "control_hz": CONTROL_HZ,
            "options": self.options.facts(),
        }

    def overhead_projection(self) -> tuple[float, ...]:
        """Return the overhead camera's homography of the table, at the height of a block's centre.

        Row by row (9,): (x, y, 1) [m] to (u, v, 1) up to scale, 0 at the upper left and 1 at the lower right corner.
        """
        return table_homography(self._scene.model, "overhead", BLOCK_SIDE / 2)

    def expert_action(self) -> FloatArray:
        """Return the scripted expert's command (6,) in this state: absolute joint targets [rad]."""
        return self._own_expert().act()

    def _own_expert(self) -> Expert:
        if self._expert is None:
            self._expert = Expert(self)
        return self._expert

    def privileged(self) -> Privileged:
        """Return the privileged state that the scripted expert acts on."""
        address = self._scene.block_qpos[self._target]
        w, _, _, z = self._data.qpos[address + 3 : address + 7]
        # The face that was nearest at reset: another one becomes the nearest at 45 degrees, and demonstrations that
        # change over there would teach the mean of two grasps.
        yaw = (2 * np.arctan2(z, w) + np.pi) % (2 * np.pi) - np.pi
        blocks, pinch, touched, _ = self._log.now
        return Privileged(
            joints=self._data.qpos[self._scene.joint_qpos].copy(),
            pinch_pos=pinch,
            target_pos=blocks[self._target],
            target_yaw=float(yaw),
            target_touched=bool(touched[self._target]),
            variation=self._scene.config.variation,
        )

    def _disturb(self) -> None:
        """Add the action noise and gripper faults of the options to the command."""
        if self.options.action_noise > 0:
            draws = self._noise.standard_normal(5)  # drawn in every step, so that a step's noise has its own place
            if self._noise.random() < _NOISY_SHARE:
                self._data.ctrl[:5] += self.options.action_noise * draws
        if self.options.gripper_faults > 0:
            chance, length = self._noise.random(), int(self._noise.integers(_FAULT_STEPS[0], _FAULT_STEPS[1] + 1))
            if self._fault_steps_left == 0 and chance < self.options.gripper_faults:
                self._fault_steps_left = length
        if self._fault_steps_left > 0:
            self._fault_steps_left -= 1
            closing = self._data.ctrl[5] < CLOSING_THRESHOLD
            self._data.ctrl[5] = GRIPPER_OPEN if closing else GRIPPER_CLOSED

    def _sample_blocks(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return where the blocks start, (K, 7), the target first."""
        return sample_blocks(rng, 1 + self.options.confusers, self.options.max_yaw, self.options.positions)

    def _before_physics(self) -> None:
        """Apply the environment's own events of this step; none here."""

    def _block_xy(self, block: int) -> NDArray[np.float64]:
        address = self._scene.block_qpos[block]
        return self._data.qpos[address : address + 2].copy()

    def _shift_target(self, move: NDArray[np.float64]) -> None:
        """Shift the target by (2,) [m] if it is on the table and no jaw touches it."""
        touched = self._log.now.touched
        address = self._scene.block_qpos[self._target]
        resting = self._scene.config.variation.resting_height(BLOCK_SIDE)
        if not touched[self._target] and self._data.qpos[address + 2] < resting + _ON_TABLE:
            self._data.qpos[address : address + 2] += move

    def _observation(self) -> dict[str, Any]:
        observation: dict[str, Any] = {
            "agent_pos": self._data.qpos[self._scene.joint_qpos].astype(np.float32),
            "environment_state": (self._goal_input() if self._sees else self._whole_state()).astype(np.float32),
        }
        if not self._sees:
            return observation
        if not self._skip_cameras:
            renderer, size = renderer_for(self._scene.drawn_by), self.options.image_size
            self._pixels = {camera: renderer.render(self._data, camera, size, size) for camera in CAMERAS}
        return {"pixels": dict(self._pixels), **observation}

    def _whole_state(self) -> NDArray[np.float64]:
        """Return the target's position (3,) [m], yaw [rad], velocity (3,) [m/s]; the joints' velocities (6,) [rad/s].

        The target's velocity is that over the last control step: an environment may shift the block between steps.
        """
        now = self.privileged()
        velocity = self._log.moved(self._target) * CONTROL_HZ
        return np.concatenate([now.target_pos, [now.target_yaw], velocity, self._data.qvel[self._scene.joint_qvel]])

    def _goal_input(self) -> NDArray[np.float64]:
        blocks, other = self._log.now.blocks, 1 if self._target == 0 else 0
        named = other if self._wrong_label or self.options.goal_input == "confuser" else self._target
        match self.options.goal_input:
            case "exact" | "confuser":
                return blocks[named, :2]
            case "click":
                if self._clicked != named:
                    self._clicked, self._click = named, blocks[named, :2] + self._click_errors[named]
                return self._click
            case "random":
                return self._random_place
            case "none":
                return BLOCKS.centre

    def _info(self) -> dict[str, Any]:
        return {"is_success": self._log.success}

    def _refuse_broken_physics(self) -> None:
        counts = self._data.warning.number
        warned = [w.name for w in _BROKEN if counts[w] > 0] if counts.any() else []
        if warned or not np.isfinite(self._data.qpos).all():
            raise SimulationError(f"physics is no longer finite at t = {self._data.time:.3f} s ({', '.join(warned)})")


def _checked(action: FloatArray) -> FloatArray:
    command = np.asarray(action, np.float32)
    if command.shape != (len(JOINTS),):
        raise ActionError(f"action has shape {command.shape}; expected ({len(JOINTS)},): {', '.join(JOINTS)}")
    if not np.isfinite(command).all():
        raise ActionError(f"action is not finite: {command.tolist()}")
    return command.copy()
