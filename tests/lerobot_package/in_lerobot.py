"""What the real LeRobot package says of folders of ours, and folders of its own; run by its own interpreter.

python in_lerobot.py FOLDER: reads FOLDER/ours (a checkpoint), FOLDER/changed_* (the same with other pipelines),
FOLDER/preset (another one, in half precision), FOLDER/batch.npz (raw observations) and FOLDER/data (a data set); writes
FOLDER/theirs (the checkpoint as LeRobot saves it), FOLDER/theirs_data (a data set), FOLDER/said.npz.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # pyright: ignore[reportMissingImports]
from lerobot.policies.act.modeling_act import ACTPolicy  # pyright: ignore[reportMissingImports]
from lerobot.policies.factory import make_pre_post_processors  # pyright: ignore[reportMissingImports]

root = Path(sys.argv[1])
torch.set_num_threads(1)

raw = {name: torch.as_tensor(value) for name, value in np.load(root / "batch.npz").items()}
chunks = {}
for folder in (*sorted(root.glob("changed_*")), root / "preset", root / "ours"):
    policy = ACTPolicy.from_pretrained(folder, strict=True).eval()
    pre, post = make_pre_post_processors(policy.config, pretrained_path=str(folder))
    with torch.inference_mode():
        chunks[f"chunk_{folder.name}"] = post(policy.predict_action_chunk(pre(dict(raw)))).numpy()
policy.save_pretrained(root / "theirs")
pre.save_pretrained(root / "theirs")
post.save_pretrained(root / "theirs")

data = LeRobotDataset("x/y", root=root / "data", delta_timestamps={"action": [i / 20 for i in range(3)]})
items = [data[i] for i in range(len(data))]
said = {name: np.stack([np.asarray(item[name]) for item in items]) for name in items[0] if name != "task"}

features = {
    "observation.state": {"dtype": "float32", "shape": (6,), "names": [f"j{i}" for i in range(6)]},
    "action": {"dtype": "float32", "shape": (6,), "names": [f"j{i}" for i in range(6)]},
    "observation.images.top": {"dtype": "image", "shape": (16, 24, 3), "names": ["height", "width", "channels"]},
}
written = LeRobotDataset.create("x/z", 20, features, root=root / "theirs_data", robot_type="so101", use_videos=False)
for episode, length in enumerate((5, 3)):
    for t in range(length):
        written.add_frame(
            {
                "observation.state": np.full(6, 100 * episode + t, np.float32),
                "action": np.full(6, 100 * episode + t + 0.5, np.float32),
                "observation.images.top": np.full((16, 24, 3), 30 + 60 * episode + 10 * t, np.uint8),
                "task": f"task {episode}",
            }
        )
    written.save_episode()
written.finalize()
np.savez(root / "said.npz", **said, **chunks, tasks=[item["task"] for item in items])  # pyright: ignore
