"""A process that has drawn a picture may import torch's compilers afterwards."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

AFTER_A_PICTURE = """
import sys
import mujoco
from act_eval.scenes.rendering import renderer_for
from act_eval.scenes.scene import SceneConfig, compile_scene
scene = compile_scene(SceneConfig())
data = mujoco.MjData(scene.model)
mujoco.mj_forward(scene.model, data)
for _ in range(2):
    renderer_for(scene.model).render(data, "overhead", 16, 16)
    renderer_for.cache_clear()
print(sum(type(finder).__name__ == "_OwnSymbolsFirst" for finder in sys.meta_path), "triton" in sys.modules)
import triton
renderer_for(scene.model).render(data, "overhead", 16, 16)
print(triton.__name__)
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_triton_can_be_imported_after_a_picture_and_pictures_drawn_after_it():
    done = subprocess.run(
        [sys.executable, "-c", AFTER_A_PICTURE], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, ["1", "False", "triton"]), done.stderr
