"""Our ACT gives the numbers of LeRobot 0.4.4's own, for five configurations; see tests/golden/act/README.md."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from act_eval.policies.act import ACTConfig, ACTPolicy
from act_eval.policies.act.config import Feature
from act_eval.policies.act.presets import features

FOLDER = Path(__file__).parents[1] / "golden" / "act"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
TOLERANCE = 1e-5


def normal(name: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng([zlib.crc32(name.encode()), 0]).standard_normal(shape).astype(np.float32)


def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
    x = normal(name, shape)
    if name.endswith("running_var"):
        return 1.0 + 0.1 * np.abs(x)
    if name.endswith("running_mean"):
        return 0.1 * x
    if len(shape) == 1:
        return 1.0 + 0.1 * x if name.endswith("weight") else 0.1 * x
    return x * np.float32(np.sqrt(1.0 / np.prod(shape[1:])))


class Golden:
    """One stored configuration with its policy and its inputs."""

    def __init__(self, name: str) -> None:
        facts: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
        self.stored = np.load(FOLDER / f"{name}.npz")
        cameras = {f"cam{i}": tuple(facts["height_width"]) for i in range(facts["cameras"])}
        inputs = features(cameras, environment_state=2 if facts["environment_state"] else None)
        self.config = ACTConfig(
            input_features=inputs, output_features={"action": Feature("ACTION", (6,))}, **facts["config"]
        )
        self.policy = ACTPolicy(self.config)
        self.batch = self._batch()

    def load_weights(self) -> None:
        state = self.policy.state_dict()
        for name, tensor in state.items():
            if name != "model.vae_encoder_pos_enc":
                tensor.copy_(torch.from_numpy(fill(name, tuple(tensor.shape))))

    def _batch(self) -> dict[str, Tensor]:
        chunk = self.config.chunk_size
        batch = {k: torch.from_numpy(normal(k, (3, *f.shape))) for k, f in self.config.input_features.items()}
        batch |= {k: batch[k].sigmoid() for k in self.config.image_features}
        pad = torch.zeros(3, chunk, dtype=torch.bool)
        pad[1, chunk // 2 :] = True
        pad[2, -1:] = True
        return batch | {"action": torch.from_numpy(normal("action", (3, chunk, 6))), "action_is_pad": pad}


@pytest.fixture(params=NAMES)
def golden(request: pytest.FixtureRequest) -> Golden:
    case = Golden(request.param)
    case.load_weights()
    return case


def close(ours: np.ndarray, reference: np.ndarray) -> np.ndarray:
    return np.abs(ours - reference) <= TOLERANCE * np.maximum(1, np.abs(reference))


def test_there_are_five_configurations() -> None:
    assert len(NAMES) == 5


def test_state_dict_has_the_keys_and_shapes_of_lerobot(golden: Golden) -> None:
    stored = zip(golden.stored["keys"].tolist(), golden.stored["shapes"].tolist(), strict=True)
    assert {name: str(tuple(t.shape)) for name, t in golden.policy.state_dict().items()} == dict(stored)


def test_chunk(golden: Golden) -> None:
    chunk = golden.policy.predict_action_chunk(golden.batch).numpy()
    assert close(chunk, golden.stored["chunk"]).all()


def test_losses_and_gradient_norms(golden: Golden) -> None:
    golden.policy.train()
    torch.manual_seed(0)
    loss, metrics = golden.policy(golden.batch)
    loss.backward()
    assert close(loss.detach().numpy(), golden.stored["loss"])
    assert close(metrics["l1_loss"].numpy(), golden.stored["l1_masked"])
    if golden.config.use_vae:
        assert close(metrics["kld_loss"].numpy(), golden.stored["kl"])
    norms = {name: p.grad.norm().item() for name, p in golden.policy.named_parameters() if p.grad is not None}
    names = [str(name) for name in golden.stored["grad_names"]]
    assert set(names) == set(norms)
    ours = np.array([norms[name] for name in names])
    wrong = ~close(ours, golden.stored["grad_norms"])
    assert not wrong.any(), [(names[i], ours[i], golden.stored["grad_norms"][i]) for i in np.flatnonzero(wrong)]


def test_training_actions(golden: Golden) -> None:
    golden.policy.train()
    torch.manual_seed(0)
    actions, _ = golden.policy.model(golden.batch)
    assert close(actions.detach().numpy(), golden.stored["train_actions"]).all()


def test_the_numbers_depend_on_the_padding_mask(golden: Golden) -> None:
    golden.policy.train()
    torch.manual_seed(0)
    unpadded = golden.batch | {"action_is_pad": torch.zeros_like(golden.batch["action_is_pad"])}
    loss, _ = golden.policy(unpadded)
    assert not close(loss.detach().numpy(), golden.stored["loss"])
