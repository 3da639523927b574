"""Properties of ACT: what it reads, what it ignores, what its loss counts."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from tiny_policies import CAMERAS, normalised_batch, tiny_act
from torch import Tensor

from act_eval.errors import FeatureMismatch
from act_eval.policies.act import ACTPolicy
from act_eval.policies.act.backbone import feature_size
from act_eval.policies.act.presets import features, small_act

INPUTS = {
    "all": features(CAMERAS),
    "no state": features(CAMERAS, state=None),
    "no coordinates": features(CAMERAS, environment_state=None),
    "no camera": features({}),
    "coordinates only": features({}, state=None),
    "two resolutions": features({"a": (16, 24), "b": (32, 16), "c": (16, 24)}),
}


@pytest.mark.parametrize("use_vae", [True, False])
@pytest.mark.parametrize("name", INPUTS)
def test_every_declared_input_moves_the_chunk(name: str, use_vae: bool) -> None:
    policy = tiny_act(input_features=INPUTS[name], use_vae=use_vae).eval()
    batch = normalised_batch(policy.config)
    chunk = policy.predict_action_chunk(batch)
    assert chunk.shape == (4, 5, 6)
    for key in policy.config.input_features:
        moved = policy.predict_action_chunk(batch | {key: batch[key] + 1})
        assert (moved - chunk).abs().amax() > 1e-3, key


@pytest.mark.parametrize("use_vae", [True, False])
@pytest.mark.parametrize("name", INPUTS)
def test_a_gradient_reaches_every_parameter_that_can_have_one(name: str, use_vae: bool) -> None:
    policy = tiny_act(input_features=INPUTS[name], use_vae=use_vae).train()
    _wake_zero_initialised(policy)
    policy(normalised_batch(policy.config))[0].backward()
    dead = {n for n, p in policy.named_parameters() if p.grad is None or not bool(p.grad.any())}
    # Queries begin as zeros, so that all values of the first self-attention are its bias: whatever it weighs, their
    # mean is that bias. Without a VAE the latent is zero too, and its projection's matrix has nothing to multiply.
    unread = {"model.decoder.layers.0.self_attn.in_proj_weight"}
    assert dead == (unread if use_vae else unread | {"model.encoder_latent_input_proj.weight"})


def _wake_zero_initialised(policy: torch.nn.Module) -> None:
    for parameter in policy.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.1)


def test_cameras_of_one_resolution_run_as_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny_act(input_features=INPUTS["two resolutions"])
    seen: list[tuple[int, ...]] = []
    policy.model.backbone.register_forward_hook(lambda _, inputs, out: seen.append(tuple(inputs[0].shape)))
    policy.predict_action_chunk(normalised_batch(policy.config))
    assert seen == [(8, 3, 16, 24), (4, 3, 32, 16)]


def test_image_tokens_keep_the_order_of_the_cameras() -> None:
    """A camera that comes last in its resolution's batch still finds its own place among the tokens."""
    policy = tiny_act(input_features=INPUTS["two resolutions"]).eval()
    batch = normalised_batch(policy.config)
    sizes = [
        h * w for h, w in (feature_size(policy.config, *f.shape[1:]) for f in policy.config.image_features.values())
    ]
    with torch.no_grad():
        tokens = policy.model._image_tokens(batch)
        alone = [
            policy.model.encoder_img_feat_input_proj(policy.model.backbone(batch[k]))
            for k in policy.config.image_features
        ]
    for part, features_BDhw in zip(tokens.split(sizes, dim=1), alone, strict=True):
        assert torch.allclose(part, features_BDhw.flatten(2).transpose(1, 2), atol=1e-5)


def test_padded_targets_do_not_count() -> None:
    policy = tiny_act().train()
    batch = normalised_batch(policy.config)
    torch.manual_seed(1)
    loss = policy(batch)[0]
    wild = torch.where(batch["action_is_pad"][..., None], torch.tensor(1e3), batch["action"])
    torch.manual_seed(1)
    assert torch.equal(policy(batch | {"action": wild})[0], loss)


def test_l1_is_the_mean_over_unpadded_entries() -> None:
    policy = tiny_act(use_vae=False).eval()
    batch = normalised_batch(policy.config)
    error = (policy.predict_action_chunk(batch) - batch["action"]).abs()
    valid = ~batch["action_is_pad"]
    assert torch.allclose(policy(batch)[0], error[valid].mean(), atol=1e-6)


def test_evaluation_mode_gives_a_loss_without_the_latent() -> None:
    policy = tiny_act().eval()
    batch = normalised_batch(policy.config)
    loss, metrics = policy(batch)
    assert set(metrics) == {"l1_loss"}
    assert torch.equal(loss, policy(batch)[0])


def test_metrics_are_tensors_without_a_graph() -> None:
    policy = tiny_act().train()
    _, metrics = policy(normalised_batch(policy.config))
    assert set(metrics) == {"l1_loss", "kld_loss"}
    assert all(isinstance(v, Tensor) and not v.requires_grad for v in metrics.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation.state": None}, "the batch has no 'observation.state'; it holds"),
        ({"observation.state": torch.zeros(4, 7)}, r"'observation.state' has shape \(7,\) per sample; .* for \(6,\)"),
        (
            {"observation.images.wrist": torch.zeros(4, 3, 96, 96)},
            r"'observation.images.wrist' has shape \(3, 96, 96\) per sample; the policy was made for \(3, 16, 24\)",
        ),
        ({"action": torch.zeros(4, 6, 6)}, r"'action' has shape \(6, 6\) per sample; training needs \(5, 6\)"),
        ({"action_is_pad": None}, "a training batch needs 'action_is_pad'; it holds"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_by_field(changes: Mapping[str, Any], message: str) -> None:
    policy = tiny_act()
    batch = {k: v for k, v in (normalised_batch(policy.config) | changes).items() if v is not None}
    with pytest.raises(FeatureMismatch, match=message):
        policy(batch)


def test_optimiser_groups_hold_every_parameter_once_with_the_backbones_rate() -> None:
    policy = tiny_act(optimizer_lr_backbone=7e-6)
    rest, backbone = policy.get_optim_params()
    assert backbone["lr"] == 7e-6
    assert {id(p) for p in backbone["params"]} == {id(p) for p in policy.model.backbone.parameters()}
    everything = [id(p) for p in rest["params"] + backbone["params"]]
    assert sorted(everything) == sorted(id(p) for p in policy.parameters())


def test_the_shipped_size() -> None:
    policy = ACTPolicy(small_act(features({"overhead": (96, 96), "wrist": (96, 96)})))
    assert sum(p.numel() for p in policy.parameters()) < 6.5e6
    assert feature_size(policy.config, 96, 96) == (6, 6)
    assert policy.config.type == "act_eval_act"


@pytest.mark.parametrize(
    ("backbone", "dilated"), [("resnet18", False), ("resnet50", False), ("resnet50", True), ("resnet_narrow", False)]
)
def test_positions_have_the_size_of_the_feature_map(backbone: str, dilated: bool) -> None:
    inputs = features({"odd": (50, 71)})
    policy = tiny_act(vision_backbone=backbone, input_features=inputs, replace_final_stride_with_dilation=dilated)
    assert policy.predict_action_chunk(normalised_batch(policy.config)).shape == (4, 5, 6)
