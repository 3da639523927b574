import numpy as np
import pytest

from act_eval.envs.expert import Expert
from act_eval.envs.pick import PickEnv


def test_motion_read_from_logged_states_is_what_happened():
    env = PickEnv(confusers=2)
    observation, _ = env.reset(seed=4)
    env.skip_cameras(True)
    expert = Expert(env)
    logged, seen, pinch = [env.simulator_state()], [observation["agent_pos"]], [env.privileged().pinch_pos]
    for _ in range(30):
        observation, *_ = env.step(expert.act())
        logged.append(env.simulator_state())
        seen.append(observation["agent_pos"])
        pinch.append(env.privileged().pinch_pos)
    before = env.simulator_state()
    motion = env.motion(np.array(logged))
    np.testing.assert_allclose(motion.joints, seen, atol=1e-6)
    np.testing.assert_allclose(motion.gripper_xyz, pinch, atol=1e-9)
    assert np.ptp(motion.gripper_xyz, axis=0).max() > 0.03
    assert motion.gripper_joint == 5
    np.testing.assert_array_equal(env.simulator_state(), before)


def test_states_of_broken_physics_have_no_place():
    env = PickEnv()
    env.reset(seed=0)
    logged = np.stack([env.simulator_state(), np.full_like(env.simulator_state(), np.nan)])
    motion = env.motion(logged)
    assert np.isfinite(motion.gripper_xyz[0]).all()
    assert np.isnan(motion.gripper_xyz[1]).all()
    assert motion.joints[1] == pytest.approx([np.nan] * 6, nan_ok=True)
