"""The arm against MuJoCo Menagerie's SO-101: the same kinematics, and its meshes for the eye only."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from made_menagerie import box_stl, write_menagerie

from act_eval.envs.dynamic import ConfuserSwapEnv
from act_eval.envs.expert import Expert
from act_eval.envs.options import PickOptions
from act_eval.envs.pick import PickEnv
from act_eval.errors import UsageError
from act_eval.scenes.arm import HOME, JOINTS, LINKS
from act_eval.scenes.rendering import renderer_for
from act_eval.scenes.scene import Scene, SceneConfig, compile_scene

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "so101" / "kinematics.json").read_text()
)  # computed from Menagerie's own file, see the README beside it
THEIRS = {"moving_jaw": "moving_jaw_so101_v1"}
TOLERANCE = 2e-9  # [m] and of rotation matrices; the stored numbers are rounded to 1e-9


@pytest.fixture(scope="module")
def scene() -> Scene:
    return compile_scene(SceneConfig())


@pytest.fixture
def menagerie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = write_menagerie(tmp_path / "menagerie")
    monkeypatch.setenv("MENAGERIE_ROOT", str(root))
    return root / "robotstudio_so101"


@pytest.mark.parametrize("number", range(len(GOLDEN["poses"])))
def test_links_are_where_menagerie_has_them(scene: Scene, number: int) -> None:
    row = GOLDEN["poses"][number]
    data = mujoco.MjData(scene.model)
    data.qpos[scene.joint_qpos] = row["joints"]
    mujoco.mj_kinematics(scene.model, data)
    for link in LINKS:
        ours = [*data.body(link).xpos, *data.body(link).xmat]
        assert ours == pytest.approx(row["links"][THEIRS.get(link, link)], abs=TOLERANCE), link


def test_stored_poses_tell_every_joint_and_its_sign(scene: Scene) -> None:
    """What the test above rests on: each joint, moved alone, moves the jaw by more than its tolerance, either way."""
    assert len(GOLDEN["poses"]) == 20
    zero, *alone = (row["links"]["moving_jaw_so101_v1"] for row in GOLDEN["poses"][:7])
    assert all(np.abs(np.subtract(pose, zero)).max() > 0.1 for pose in alone)
    data = mujoco.MjData(scene.model)
    for number, pose in enumerate(alone):
        data.qpos[scene.joint_qpos] = -0.5 * np.eye(6)[number]
        mujoco.mj_kinematics(scene.model, data)
        jaw = data.body("moving_jaw")
        assert np.abs(np.subtract([*jaw.xpos, *jaw.xmat], pose)).max() > 0.1


def test_ranges_and_masses_are_menageries(scene: Scene) -> None:
    assert list(GOLDEN["ranges"]) == list(JOINTS)
    for name, limits in GOLDEN["ranges"].items():
        assert scene.model.joint(name).range == pytest.approx(limits, abs=TOLERANCE)
    for link in LINKS:
        assert scene.model.body(link).mass == pytest.approx(GOLDEN["masses"][THEIRS.get(link, link)], abs=TOLERANCE)


def test_meshes_are_drawn_and_primitives_are_not(menagerie: Path, scene: Scene) -> None:
    bare, dressed = (_pixels(_seen(one)) for one in (scene, compile_scene(SceneConfig(robot_meshes=menagerie))))
    assert bare["gold"] > 3000
    assert bare["magenta"] == 0
    assert dressed["magenta"] > 3000
    assert dressed["gold"] == dressed["cyan"] == dressed["green"] == 0


@pytest.mark.parametrize("kind", [PickEnv, ConfuserSwapEnv])
def test_physics_is_the_same_to_the_bit(tmp_path: Path, monkeypatch, kind: type[PickEnv]) -> None:
    # Boxes that reach into the blocks and the table: they would push both away.
    monkeypatch.setenv("MENAGERIE_ROOT", str(write_menagerie(tmp_path, half=0.08)))
    bare, dressed = (_demonstrated(kind(robot_meshes=meshes, gripper_faults=0.01)) for meshes in (False, True))
    assert bare[0].tobytes() == dressed[0].tobytes()
    assert bare[1:] == dressed[1:]
    assert bare[1] == "success"  # so that blocks were gripped, lifted and set down


def test_a_moment_is_shown_with_either_look(menagerie: Path) -> None:
    bare, dressed = PickEnv(), PickEnv(robot_meshes=True)
    bare.reset(seed=3)
    shown = _pixels(dressed.render_state(bare.simulator_state(), "review", 240, 320))
    assert shown["magenta"] > 1000
    assert shown["gold"] == 0


def test_a_suite_knows_the_meshes_and_not_where_they_lie(menagerie: Path, tmp_path: Path, monkeypatch) -> None:
    facts = PickEnv(robot_meshes=True).suite_facts()
    assert facts["options"]["robot_meshes"] is True
    assert str(tmp_path) not in json.dumps(facts)
    bare = PickEnv().suite_facts()
    assert "robot_meshes" not in bare["options"]  # as in suites that are older than the option
    assert bare["scene"] == compile_scene(SceneConfig()).digest != facts["scene"]
    for name, change in (("moved", None), ("others", 0.029)):
        root = tmp_path / name
        shutil.copytree(menagerie, root / menagerie.name)
        if change is not None:
            (root / menagerie.name / "assets" / "part.stl").write_bytes(box_stl(change))
        monkeypatch.setenv("MENAGERIE_ROOT", str(root))
        assert (PickEnv(robot_meshes=True).suite_facts() == facts) == (change is None)


def test_it_is_said_what_to_set_where_there_is_no_menagerie(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MENAGERIE_ROOT", str(tmp_path))
    with pytest.raises(
        UsageError, match=r"there is no .*robotstudio_so101/so101\.xml; set MENAGERIE_ROOT to a checkout of"
    ):
        PickEnv(robot_meshes=True)
    with pytest.raises(
        UsageError, match="robot_meshes is 'models'; it is true or false; MENAGERIE_ROOT names the meshes' folder"
    ):
        PickOptions(robot_meshes="models")  # type: ignore[arg-type]


@pytest.mark.skipif(find_spec("mujoco_menagerie") is not None, reason="mujoco-menagerie is installed")
def test_without_the_package_the_variable_is_asked_for(monkeypatch) -> None:
    monkeypatch.delenv("MENAGERIE_ROOT", raising=False)
    with pytest.raises(UsageError, match=r"not part of act_eval; set MENAGERIE_ROOT .* pip install mujoco-menagerie"):
        PickEnv(robot_meshes=True)


def test_the_package_gives_its_copy_or_says_why_not(tmp_path: Path, monkeypatch) -> None:
    package = pytest.importorskip("mujoco_menagerie", reason="the package mujoco-menagerie is not installed")
    monkeypatch.delenv("MENAGERIE_ROOT", raising=False)
    monkeypatch.setenv("MENAGERIE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MENAGERIE_BASE_URL", (tmp_path / "nowhere").as_uri())
    with pytest.raises(UsageError, match=r"mujoco-menagerie has no robotstudio_so101 for us \(.*; set MENAGERIE_ROOT"):
        PickEnv(robot_meshes=True)
    place = package.Cache().model_path(package.get("robotstudio_so101"))
    shutil.copytree(write_menagerie(tmp_path / "made") / "robotstudio_so101", place)
    (place / ".complete").write_text("{}")
    assert "robot_meshes" in PickEnv(robot_meshes=True).suite_facts()["options"]


@pytest.mark.parametrize(
    ("made", "text"),
    [
        ({"shoulder_z": 0.05}, r"is of another arm: shoulder has pos \[.*0\.05\], .*, ours pos \[.*0\.0624\]"),
        ({"frames": False}, r"so101\.xml has no link 'shoulder'"),
    ],
)
def test_another_arm_is_refused(tmp_path: Path, made: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        compile_scene(SceneConfig(robot_meshes=write_menagerie(tmp_path, **made) / "robotstudio_so101"))


def test_a_missing_or_damaged_file_is_named(menagerie: Path) -> None:
    part = menagerie / "assets" / "part.stl"
    part.write_bytes(box_stl(0.03)[:200])
    with pytest.raises(UsageError, match=r"a mesh of .*robotstudio_so101 cannot be used: .*part"):
        compile_scene(SceneConfig(robot_meshes=menagerie))
    part.unlink()
    with pytest.raises(UsageError, match=r"so101\.xml names the mesh .*part\.stl: No such file"):
        compile_scene(SceneConfig(robot_meshes=menagerie))
    (menagerie / "so101.xml").write_text("<mujoco><worldbody>")
    with pytest.raises(UsageError, match=r"so101\.xml is no MuJoCo model: "):
        compile_scene(SceneConfig(robot_meshes=menagerie))


def test_a_model_without_meshes_is_refused(menagerie: Path) -> None:
    file = menagerie / "so101.xml"
    file.write_text(file.read_text().replace('<geom class="visual" mesh="part" material="paint"/>', ""))
    with pytest.raises(UsageError, match=r"so101\.xml draws no mesh on any of base, shoulder, .*moving_jaw"):
        compile_scene(SceneConfig(robot_meshes=menagerie))


def _seen(scene: Scene) -> np.ndarray:
    data = mujoco.MjData(scene.model)
    data.qpos[scene.joint_qpos] = HOME
    mujoco.mj_forward(scene.model, data)
    return renderer_for(scene.model).render(data, "review", 480, 640)


def _pixels(image: np.ndarray) -> dict[str, int]:
    """Count pixels whose hue is an arm's: which of red, green and blue are there decides, however well lit."""
    red, green, blue = np.moveaxis(image.astype(int), -1, 0)
    top = image.max(-1).astype(int)
    strong = top > 60

    def full(channel: np.ndarray) -> np.ndarray:
        return channel > 0.9 * top

    def none(channel: np.ndarray) -> np.ndarray:
        return channel < 0.1 * top

    return {
        "gold": int((strong & full(red) & (green > 0.6 * top) & (blue < 0.4 * top)).sum()),
        "magenta": int((strong & full(red) & none(green) & full(blue)).sum()),
        "cyan": int((strong & none(red) & full(green) & full(blue)).sum()),
        "green": int((strong & none(red) & full(green) & none(blue)).sum()),
    }


def _demonstrated(env: PickEnv) -> tuple[np.ndarray, str, dict[str, Any]]:
    """Return every state of an episode of the expert's, and what the rules say of it."""
    env.skip_cameras(True)
    env.reset(seed=5)
    expert = Expert(env)
    states, over = [env.simulator_state()], False
    while not over and len(states) <= 200:
        over = env.step(expert.act())[2]
        states.append(env.simulator_state())
    verdict = env.verdict()
    return np.stack(states), verdict.outcome, dict(verdict.detail)
