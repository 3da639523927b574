"""What our plugins say inside the real LeRobot package; run by its own interpreter.

python plugins_in_lerobot.py FOLDER: reads FOLDER/checkpoints/* (ACT-RTC, ours), FOLDER/data (a data set) and
FOLDER/raw.npz (raw observations, a prefix); writes FOLDER/said-NAME.npz for each checkpoint, and FOLDER/refused.json.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from lerobot.configs.policies import PreTrainedConfig  # pyright: ignore[reportMissingImports]
from lerobot.datasets.factory import resolve_delta_timestamps  # pyright: ignore[reportMissingImports]
from lerobot.datasets.lerobot_dataset import (  # pyright: ignore[reportMissingImports]
    LeRobotDataset,
    LeRobotDatasetMetadata,
)
from lerobot.policies.factory import (  # pyright: ignore[reportMissingImports]
    get_policy_class,
    make_policy,
    make_pre_post_processors,
)

import lerobot_policy_act_rtc  # noqa: F401  # registers the policy
from act_eval.errors import ActEvalError
from lerobot_env_act_eval import ActEvalEnv

root = Path(sys.argv[1])
torch.set_num_threads(1)
raw = {name: torch.as_tensor(value) for name, value in np.load(root / "raw.npz").items()}
prefix = raw.pop("prefix")
meta = LeRobotDatasetMetadata("x/y", root=root / "data")


def refusal(call: Callable[[], Any]) -> str:
    """Return the text of our error that a call ends with; LeRobot puts one of its own before it where it can."""
    try:
        call()
    except (ActEvalError, ValueError) as error:
        return str(error.__cause__ or error)
    return "nothing was refused"


def said_by(folder: Path) -> dict[str, Any]:
    """Return chunks, a few actions and the loss of a checkpoint."""
    config = PreTrainedConfig.from_pretrained(folder)
    config.pretrained_path = folder
    policy = get_policy_class(config.type).from_pretrained(folder, config=config)
    pre, post = make_pre_post_processors(config, pretrained_path=str(folder))
    data = LeRobotDataset("x/y", root=root / "data", delta_timestamps=resolve_delta_timestamps(config, meta))
    batch = torch.utils.data.default_collate([data[i] for i in range(len(data))])
    with torch.inference_mode():
        left_over = pre({"action": prefix, **raw})["action"]
        chunk = post(policy.predict_action_chunk(pre(raw)))
        delayed = post(
            policy.predict_action_chunk(
                pre(raw), inference_delay=2, prev_chunk_left_over=left_over, execution_horizon=3
            )
        )
        one_left = torch.cat((left_over[:, :1], torch.zeros_like(left_over).repeat(1, 4, 1)), 1)  # as lerobot-rollout
        held = post(policy.predict_action_chunk(pre(raw), inference_delay=2, prev_chunk_left_over=one_left))
        none_left = torch.zeros_like(one_left)
        dry = post(policy.predict_action_chunk(pre(raw), inference_delay=2, prev_chunk_left_over=none_left))
        policy.reset()
        actions = torch.stack([post(policy.select_action(pre(raw))) for _ in range(config.n_action_steps + 1)], 1)
        loss, parts = policy.forward(pre(batch))
    refused["delay"] = refusal(
        lambda: policy.predict_action_chunk(pre(raw), inference_delay=99, prev_chunk_left_over=left_over)
    )
    policy.reset()  # forgets the last command
    policy.config.rtc_clip_delay = True
    clipped = post(policy.predict_action_chunk(pre(raw), inference_delay=99, prev_chunk_left_over=left_over))
    policy.config.rtc_clip_delay, policy.config.rtc_config = False, SimpleNamespace(execution_horizon=1)
    refused["horizon"] = refusal(
        lambda: policy.predict_action_chunk(pre(raw), inference_delay=2, prev_chunk_left_over=left_over)
    )
    said = {"chunk": chunk, "delayed": delayed, "held": held, "dry": dry, "clipped": clipped.detach()}
    return {**said, "actions": actions, "loss": loss, **parts}


refused: dict[str, str] = {}
for checkpoint in sorted((root / "checkpoints").iterdir()):
    np.savez(root / f"said-{checkpoint.name}.npz", **said_by(checkpoint))

fresh = PreTrainedConfig.get_choice_class("act_rtc")(device="cpu")
refused["no statistics"] = refusal(lambda: make_policy(fresh, env_cfg=ActEvalEnv()))
fresh = PreTrainedConfig.get_choice_class("act_rtc")(device="cpu")
refused["processors first"] = refusal(lambda: make_pre_post_processors(fresh, dataset_stats=meta.stats))
wrong = PreTrainedConfig.get_choice_class("act_rtc")(device="cpu", rtc_window="sideways")
refused["field"] = refusal(lambda: make_policy(wrong, ds_meta=meta))
refused["environment"] = refusal(lambda: ActEvalEnv(task="juggle"))
refused["option"] = refusal(lambda: ActEvalEnv(image_size=4))
(root / "refused.json").write_text(json.dumps(refused))
