"""The compiled scenes: nothing unnamed, nothing that costs rendering time."""

import mujoco
import numpy as np
import pytest

from act_eval.errors import UsageError
from act_eval.scenes.arm import FIXED_PAD, GRASP_ANGLE, HOME, JOINTS, MOVING_PAD, PINCH_SITE
from act_eval.scenes.projection import camera_id
from act_eval.scenes.rendering import renderer_for
from act_eval.scenes.scene import SceneConfig, build_spec, compile_scene
from act_eval.scenes.workspace import BLOCK_SIDE, BLOCKS, PHYSICS_STEP, SUBSTEPS, TRAY


@pytest.fixture(scope="module")
def scene():
    return compile_scene(SceneConfig())


def test_everything_has_a_name(scene):
    model = scene.model
    kinds = (
        (model.geom, model.ngeom),
        (model.joint, model.njnt),
        (model.camera, model.ncam),
        (model.actuator, model.nu),
    )
    assert all(kind(i).name for kind, count in kinds for i in range(count))


def test_actuators_stand_in_the_order_of_the_joints(scene):
    model = scene.model
    assert [model.actuator(i).name for i in range(model.nu)] == list(JOINTS)
    driven = [model.joint(model.actuator_trnid[i, 0]).name for i in range(model.nu)]
    assert driven == list(JOINTS)


def test_home_lies_within_the_joint_ranges(scene):
    assert (scene.action_low < HOME).all()
    assert (scene.action_high > HOME).all()


def test_pads_are_parallel_and_one_block_apart_at_the_grasp_angle(scene):
    data = mujoco.MjData(scene.model)
    data.qpos[scene.joint_qpos] = [*HOME[:5], GRASP_ANGLE]
    mujoco.mj_kinematics(scene.model, data)
    fixed, moving = scene.model.geom(FIXED_PAD).id, scene.model.geom(MOVING_PAD).id
    normals = [data.geom_xmat[g].reshape(3, 3)[:, 0] for g in (fixed, moving)]
    assert abs(normals[0] @ normals[1]) == pytest.approx(1, abs=1e-6)
    gap = abs((data.geom_xpos[moving] - data.geom_xpos[fixed]) @ normals[0]) - 2 * scene.model.geom(FIXED_PAD).size[0]
    assert gap == pytest.approx(BLOCK_SIDE, abs=1e-6)


def test_base_and_shoulder_do_not_collide_and_nothing_touches_at_home(scene):
    data = mujoco.MjData(scene.model)
    data.qpos[scene.joint_qpos] = HOME
    mujoco.mj_forward(scene.model, data)
    arm_bodies = {
        scene.model.body(name).id for name in ("base", "shoulder", "upper_arm", "lower_arm", "wrist", "gripper")
    }
    touching = {int(scene.model.geom_bodyid[g]) for g in data.contact.geom.ravel()}
    assert not touching & (arm_bodies - {scene.model.body("base").id})


def test_control_step_is_a_whole_number_of_physics_steps():
    assert pytest.approx(0.05) == SUBSTEPS * PHYSICS_STEP


def test_blocks_and_tray_do_not_overlap():
    assert BLOCKS.low[1] - BLOCK_SIDE > TRAY.high[1]


def test_equal_configurations_share_a_model_and_a_digest(scene):
    assert compile_scene(SceneConfig()) is scene
    assert len(scene.digest) == 64
    assert compile_scene(SceneConfig(confusers=2)).digest != scene.digest


def test_shadows_and_multisampling_are_off():
    spec = build_spec(SceneConfig())
    assert (spec.visual.quality.shadowsize, spec.visual.quality.offsamples) == (0, 0)
    assert all(not light.castshadow for light in spec.lights)


def test_too_many_confusers_are_refused():
    with pytest.raises(UsageError, match="confusers is 4; 0 to 3 are allowed"):
        SceneConfig(confusers=4)


def test_unknown_camera_lists_those_that_exist(scene):
    with pytest.raises(
        UsageError, match=r"camera 'front' is not in the scene; cameras: \['overhead', 'review', 'wrist'\]"
    ):
        camera_id(scene.model, "front")


def test_sizes_outside_the_buffer_are_refused(scene):
    with pytest.raises(UsageError, match="image size is 0×96; sides of 1 to 1280 pixels are allowed"):
        renderer_for(scene.model).render(mujoco.MjData(scene.model), "overhead", 0, 96)


def test_a_picture_shows_target_and_tray_and_is_the_same_at_any_later_time(scene):
    data = mujoco.MjData(scene.model)
    data.qpos[scene.joint_qpos] = HOME
    for address, y in zip(scene.block_qpos, (0.02, 0.12), strict=True):
        data.qpos[address : address + 3] = [0.2, y, BLOCK_SIDE / 2]
    mujoco.mj_forward(scene.model, data)
    renderer = renderer_for(scene.model)
    first = renderer.render(data, "overhead", 96, 96)
    red = (first[..., 0] > 140) & (first[..., 1] < 80)
    assert 20 < red.sum() < 200
    renderer.render(data, "review", 240, 320)  # a larger buffer in between changes nothing
    assert np.array_equal(renderer.render(data, "overhead", 96, 96), first)


def test_pinch_site_exists(scene):
    assert scene.model.site(PINCH_SITE).id == scene.pinch_site
