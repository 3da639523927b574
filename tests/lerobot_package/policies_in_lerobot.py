"""Small policies of LeRobot's and what its own code answers, made by its own interpreter.

python policies_in_lerobot.py FOLDER KIND: writes the checkpoint FOLDER/KIND. `act` and `diffusion` are untrained;
`act_smooth` learns six made episodes for 300 steps; `toy_flow` is the plugin of `toy_flow_plugin.py`.
For `diffusion` also FOLDER/frames.npz (raw observations of consecutive steps, and a seed) → FOLDER/said.npz: the first
action after each frame, as LeRobot's `select_action` gives it with its queues.
For `toy_flow` FOLDER/plan.npz (an observation, a plan, a delay, a seed) → FOLDER/said.npz: the guided chunk.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs.types import FeatureType, PolicyFeature  # pyright: ignore[reportMissingImports]
from lerobot.policies.factory import (  # pyright: ignore[reportMissingImports]
    get_policy_class,
    make_policy_config,
    make_pre_post_processors,
)
from lerobot.utils.import_utils import register_third_party_plugins  # pyright: ignore[reportMissingImports]

ACTION = "action"
SMALL = {
    "chunk_size": 8, "n_action_steps": 4, "dim_model": 32, "n_heads": 4, "dim_feedforward": 48, "n_encoder_layers": 1,
    "n_vae_encoder_layers": 1, "pretrained_backbone_weights": None,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "act": SMALL,
    "act_smooth": {**SMALL, "length_prefix_past": 2, "length_prefix_future": 4, "optimizer_lr": 1e-3},
    "diffusion": {
        "n_obs_steps": 2, "horizon": 16, "n_action_steps": 8, "down_dims": (16, 32), "diffusion_step_embed_dim": 16,
        "num_train_timesteps": 10, "noise_scheduler_type": "DDIM", "pretrained_backbone_weights": None,
        "spatial_softmax_num_keypoints": 8, "use_group_norm": True,
    },
    "toy_flow": {},
}  # fmt: skip
SIZES = {"observation.state": 6, "observation.environment_state": 2, ACTION: 6}
CAMERA = "observation.images.overhead"


def features() -> tuple[dict[str, Any], dict[str, Any]]:
    inputs = {
        "observation.state": PolicyFeature(FeatureType.STATE, (6,)),
        "observation.environment_state": PolicyFeature(FeatureType.ENV, (2,)),
        CAMERA: PolicyFeature(FeatureType.VISUAL, (3, 32, 32)),
    }
    return inputs, {ACTION: PolicyFeature(FeatureType.ACTION, (6,))}


def statistics() -> dict[str, dict[str, torch.Tensor]]:
    stats = {
        name: {"mean": torch.zeros(n), "std": torch.full((n,), 0.3), "min": -torch.ones(n), "max": torch.ones(n)}
        for name, n in SIZES.items()
    }
    image = {"mean": 0.5, "std": 0.25, "min": 0.0, "max": 1.0}
    return {**stats, CAMERA: {name: torch.full((3, 1, 1), value) for name, value in image.items()}}


def write_episodes(folder: Path) -> None:
    """Write episodes whose joints swing, each at its own pace and place, and whose commands are ahead of them."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset  # pyright: ignore[reportMissingImports]

    columns = {name: {"dtype": "float32", "shape": (n,), "names": None} for name, n in SIZES.items()}
    columns[CAMERA] = {"dtype": "image", "shape": (32, 32, 3), "names": ["height", "width", "channels"]}
    data, rng = LeRobotDataset.create("x/y", 20, columns, root=folder, use_videos=False), np.random.default_rng(0)
    for _ in range(6):
        pace, goal, places = rng.uniform(0.1, 0.3), rng.normal(0, 0.3, 2), rng.uniform(0, 6, 6)
        for t in range(40):
            frame = {
                "observation.state": 0.5 * np.sin(pace * t + places),
                "observation.environment_state": goal,
                ACTION: 0.5 * np.sin(pace * (t + 1) + places),
            }
            image = np.full((32, 32, 3), 128 + 100 * np.sin(pace * t), np.uint8)
            words = {"task": "swing", CAMERA: image}
            data.add_frame({**{name: value.astype(np.float32) for name, value in frame.items()}, **words})
        data.save_episode()
    data.finalize()


def train(policy: Any, preprocessor: Any, root: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset  # pyright: ignore[reportMissingImports]

    write_episodes(root / "data")
    steps = {ACTION: [i / 20 for i in policy.config.action_delta_indices]}
    data = LeRobotDataset("x/y", root=root / "data", delta_timestamps=steps)
    optimizer = policy.config.get_optimizer_preset().build(policy.get_optim_params())
    batches, losses = torch.utils.data.DataLoader(data, 8, shuffle=True), []
    policy.train()
    while len(losses) < 300:
        for batch in batches:
            loss, _ = policy.forward(preprocessor(batch))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss))
    first, last = np.mean(losses[:20]), np.mean(losses[-20:])
    print(f"loss {first:.3f} to {last:.3f}")
    assert last < 0.7 * first


def queued(policy: Any, preprocessor: Any, postprocessor: Any, root: Path) -> np.ndarray:
    """Return the first action after each frame, predicted anew at each, with LeRobot's queues of two observations."""
    given = dict(np.load(root / "frames.npz"))
    seeds = given.pop("seeds")
    policy.config.n_action_steps = 1
    policy.eval().reset()
    said = []
    for step, seed in enumerate(seeds.tolist()):
        noise = torch.randn(16, 6, generator=torch.Generator().manual_seed(seed))[None]
        raw = {name: torch.from_numpy(value[step])[None] for name, value in given.items()}
        with torch.no_grad():
            said.append(postprocessor(policy.select_action(preprocessor(raw), noise=noise))[0].numpy())
    return np.stack(said)


def guided(policy: Any, preprocessor: Any, postprocessor: Any, root: Path) -> np.ndarray:
    """Return the chunk that LeRobot's real-time chunking gives for a plan, which is relative to the joints there."""
    from lerobot.policies.rtc.configuration_rtc import RTCConfig  # pyright: ignore[reportMissingImports]

    given = dict(np.load(root / "plan.npz"))
    plan, delay, seed = given.pop("plan"), int(given.pop("delay")), int(given.pop("seed"))
    policy.config.rtc_config = RTCConfig(execution_horizon=len(plan))
    policy.init_rtc_processor()
    batch = preprocessor({name: torch.from_numpy(value)[None] for name, value in given.items()})
    left_over = torch.from_numpy(plan - given["observation.state"]) / 0.3  # as its pipeline does it
    policy.fixed_noise = torch.randn(8, 6, generator=torch.Generator().manual_seed(seed))[None]
    with torch.no_grad():
        chunk = policy.predict_action_chunk(batch, inference_delay=delay, prev_chunk_left_over=left_over[None])
    return postprocessor(chunk)[0].numpy()


def main(root: Path, kind: str) -> None:
    register_third_party_plugins()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    inputs, outputs = features()
    config = make_policy_config(
        kind, device="cpu", push_to_hub=False, input_features=inputs, output_features=outputs, **KINDS[kind]
    )
    policy = get_policy_class(kind)(config)
    preprocessor, postprocessor = make_pre_post_processors(config, dataset_stats=statistics())
    if kind == "act_smooth":
        train(policy, preprocessor, root)
    for part in (policy, preprocessor, postprocessor):
        part.save_pretrained(root / kind)
    answers = {"diffusion": queued, "toy_flow": guided}
    if kind in answers:
        np.savez(root / "said.npz", said=answers[kind](policy, preprocessor, postprocessor, root))


main(Path(sys.argv[1]), sys.argv[2])
