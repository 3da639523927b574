"""Training in a process that has rendered."""

import subprocess
import sys


def test_an_optimiser_is_made_after_a_picture_is_drawn():
    # Optimisers import torch's compilers and with them Triton. Its LLVM, loaded after that of OpenGL's software
    # renderer, ends the process with a segmentation fault, so what trains has to have loaded it before.
    code = (
        "import act_eval.policies.train, act_eval.envs, gymnasium, torch\n"
        "env = gymnasium.make('act_eval/Pick-v0', image_size=32)\n"
        "env.reset(seed=0)\n"
        "torch.optim.AdamW([torch.zeros(1, requires_grad=True)])\n"
        "env.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
