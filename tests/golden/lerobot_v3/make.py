"""Wrote the two data sets beside it with lerobot 0.4.4, pyarrow 26, pandas 3.1: python make.py FOLDER."""

import sys
from pathlib import Path

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # pyright: ignore[reportMissingImports]

JOINTS = [f"j{i}" for i in range(6)]

for kind in ("image", "video"):
    features = {
        "observation.state": {"dtype": "float32", "shape": (6,), "names": JOINTS},
        "action": {"dtype": "float32", "shape": (6,), "names": JOINTS},
        "observation.images.top": {"dtype": kind, "shape": (64, 64, 3), "names": ["height", "width", "channels"]},
    }
    root = Path(sys.argv[1]) / kind
    data = LeRobotDataset.create("x/y", 20, features, root=root, robot_type="so101", use_videos=kind == "video")
    for episode, length in enumerate((5, 3)):
        for t in range(length):
            frame = {
                "observation.state": np.full(6, 100 * episode + t, np.float32),
                "action": np.full(6, 100 * episode + t + 0.5, np.float32),
                "observation.images.top": np.full((64, 64, 3), 30 + 60 * episode + 10 * t, np.uint8),
                "task": f"task {episode}",
            }
            data.add_frame(frame)
        data.save_episode()
    data.finalize()
