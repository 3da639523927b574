"""ACT-RTC in the engine of `lerobot-rollout --inference.type=rtc`; run by the interpreter of LeRobot 0.6.1.

python rollout_in_lerobot.py FOLDER: reads FOLDER/checkpoints/* (ACT-RTC, ours) and FOLDER/raw.npz (raw observations);
writes FOLDER/rolled_out.json: what the engine asked for and got.
"""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from lerobot.configs.policies import PreTrainedConfig  # pyright: ignore[reportMissingImports]
from lerobot.policies.factory import (  # pyright: ignore[reportMissingImports]
    get_policy_class,
    make_pre_post_processors,
)
from lerobot.policies.rtc.configuration_rtc import RTCConfig  # pyright: ignore[reportMissingImports]
from lerobot.rollout.context import (  # pyright: ignore[reportMissingImports]
    _wrap_predict_action_chunk_with_torch_compile,
)
from lerobot.rollout.inference.rtc import (  # pyright: ignore[reportMissingImports]
    RTCInferenceEngine,
    supports_rtc_inference,
)

import lerobot_policy_act_rtc  # noqa: F401  # registers the policy

FPS, COMMANDS = 100, 60
root = Path(sys.argv[1])
torch.set_num_threads(1)
raw = {name: value[0] for name, value in np.load(root / "raw.npz").items() if name != "prefix"}
state, goal = raw.pop("observation.state"), raw.pop("observation.environment_state")
images = {key.rpartition(".")[2]: (255 * value).astype(np.uint8).transpose(1, 2, 0) for key, value in raw.items()}
values = {f"j{i}": value for i, value in enumerate(state)} | {f"g{i}": value for i, value in enumerate(goal)} | images
features: dict[str, Any] = {
    "observation.state": {"dtype": "float32", "shape": (6,), "names": [f"j{i}" for i in range(6)]},
    "observation.environment_state": {"dtype": "float32", "shape": (2,), "names": ["g0", "g1"]},
} | {f"observation.images.{name}": {"dtype": "image", "shape": image.shape} for name, image in images.items()}


def loaded(folder: Path) -> tuple[Any, Any]:
    config = PreTrainedConfig.from_pretrained(folder)
    config.pretrained_path = folder
    return config, get_policy_class(config.type).from_pretrained(folder, config=config)


def rolled_out(folder: Path, compiled: bool) -> list[dict[str, Any]]:
    """Let the engine run the policy until some commands were taken; return its calls."""
    config, policy = loaded(folder)
    policy.config.rtc_config, policy.config.rtc_clip_delay = RTCConfig(), True
    calls: list[dict[str, Any]] = []
    plain = policy.predict_action_chunk

    def noted(batch: Any, inference_delay: int, prev_chunk_left_over: Any) -> torch.Tensor:
        chunk = plain(batch, inference_delay=inference_delay, prev_chunk_left_over=prev_chunk_left_over)
        left = None if prev_chunk_left_over is None else prev_chunk_left_over.tolist()
        calls.append({"delay": inference_delay, "left_over": left, "chunk": chunk[0].tolist()})
        return chunk

    if compiled:
        assert _wrap_predict_action_chunk_with_torch_compile(policy, backend="eager", mode="default")
        plain = policy.predict_action_chunk
    policy.predict_action_chunk = noted
    pre, post = make_pre_post_processors(config, pretrained_path=str(folder))
    robot = SimpleNamespace(robot_type="so101", action_features=[])
    engine = RTCInferenceEngine(
        policy, pre, post, robot, policy.config.rtc_config, features, "pick", FPS, "cpu", use_torch_compile=compiled
    )
    engine.start()
    engine.resume()
    taken, last = 0, time.monotonic() + 120
    while taken < COMMANDS and not engine.failed and time.monotonic() < last:
        engine.notify_observation(dict(values))
        taken += engine.ready and engine.get_action(None) is not None
        time.sleep(1 / FPS)
    engine.stop()
    assert taken == COMMANDS
    return calls


result: dict[str, Any] = {
    folder.name: supports_rtc_inference(loaded(folder)[1]) for folder in root.glob("checkpoints/*")
}
for name, compiled in (("calls", False), ("compiled", True)):
    result[name] = rolled_out(root / "checkpoints" / "shifted", compiled)
(root / "rolled_out.json").write_text(json.dumps(result))
