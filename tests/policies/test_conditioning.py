"""Variants of conditioning: what each changes, that each is one graph, and what is refused."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_policies import normalised_batch, raw_batch, stats, tiny_act, tiny_config, tiny_rtc
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from act_eval.errors import CheckpointError, UnknownName, UsageError
from act_eval.policies.act import ACTConfig, ACTPolicy
from act_eval.policies.act.backbone import feature_size, run_stages, stage_channels
from act_eval.policies.act.model import ACT, build_backbone
from act_eval.policies.act.presets import features
from act_eval.policies.checkpoint import export_lerobot, load_pretrained, save_pretrained
from act_eval.policies.conditioning import contrastive_hinge, cut_around
from act_eval.policies.normalize import Processor
from act_eval.policies.rtc import ACTRTCPolicy
from act_eval.types import ENVIRONMENT_STATE

Policy = ACTPolicy | ACTRTCPolicy
OVERHEAD = "observation.images.overhead"
INPUTS = features({"overhead": (32, 32), "wrist": (32, 32)})
FROM_ABOVE = (1.0, 0.0, 0.5, 0.0, -2.0, 0.5, 0.0, 0.0, 1.0)
"""A camera that sees x from -0.5 m at the left to 0.5 m at the right, and y from 0.25 m at the top downwards."""
VARIANTS: dict[str, dict[str, Any]] = {
    "unread": {"conditioning": "unread"},
    "film": {"conditioning": "film"},
    "auxiliary": {"conditioning": "auxiliary"},
    "contrastive": {"conditioning": "contrastive"},
    "crop": {"conditioning": "crop", "crop_projection": FROM_ABOVE},
    "crop added": {"conditioning": "crop", "crop_projection": FROM_ABOVE, "crop_as": "add"},
    "strong": {"conditioning": "strong"},
    "vit": {"vision_backbone": "vit", "vit_width": 64, "vit_layers": 2},
    "vit film": {"vision_backbone": "vit", "vit_width": 64, "vit_layers": 2, "conditioning": "film"},
    "resnet18 film": {"vision_backbone": "resnet18", "conditioning": "film"},
}
KINDS: dict[str, Callable[..., Policy]] = {"act": tiny_act, "rtc": tiny_rtc}


def made(kind: str, name: str, **changes: Any) -> Policy:
    return KINDS[kind](input_features=INPUTS, use_vae=False, **(VARIANTS.get(name, {}) | changes))


def prepared(policy: Policy, seed: int = 0) -> dict[str, Tensor]:
    processor = Processor(policy.config, stats(policy.config))
    return processor.prepare(raw_batch(policy.config, seed=seed))


def network(policy: Policy) -> ACT:
    assert isinstance(policy.model, ACT)
    return policy.model


def awake(policy: Policy) -> Policy:
    """Give the layers that begin at zero some weights."""
    for parameter in network(policy).conditioning.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return policy


def trained(policy: Policy, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take 60 steps on one batch and return the metrics then."""
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        policy(batch)[0].backward()
        optimizer.step()
    return policy(batch)[1]


@pytest.fixture(autouse=True)
def forget_compiled() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


QUICK = [("act", "film"), ("act", "vit"), ("rtc", "auxiliary"), ("rtc", "strong")]
OTHERS = [(kind, name) for kind in KINDS for name in VARIANTS if (kind, name) not in QUICK]


@pytest.mark.parametrize(
    ("kind", "name"),
    [*QUICK, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in OTHERS)],  # a graph takes seconds to trace
)
def test_every_variant_is_one_graph_in_training(kind: str, name: str) -> None:
    policy = awake(made(kind, name)).train()
    batch = prepared(policy)
    torch.manual_seed(0)
    eager, _ = policy(batch)
    counter = CompileCounterWithBackend("eager")
    policy.model = torch.compile(policy.model, backend=counter, fullgraph=True)
    torch.manual_seed(0)
    assert torch.allclose(policy(batch)[0], eager, atol=1e-6)
    policy(prepared(policy, seed=1))  # other data, same shapes: nothing is compiled again
    assert counter.frame_count == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_one_graph_in_inference(kind: str, name: str) -> None:
    policy = awake(made(kind, name))
    batch = prepared(policy)
    eager = policy.predict_action_chunk(batch)
    counter = CompileCounterWithBackend("eager")
    policy.model = torch.compile(policy.model, backend=counter, fullgraph=True)
    assert torch.allclose(policy.predict_action_chunk(batch), eager, atol=1e-6)
    assert counter.frame_count == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["film", "strong", "auxiliary", "contrastive", "resnet18 film"])
def test_with_fresh_weights_the_chunk_is_that_of_the_plain_token(kind: str, name: str) -> None:
    policy, plain = (
        made(kind, name),
        made(kind, "token", vision_backbone=VARIANTS[name].get("vision_backbone", "resnet_narrow")),
    )
    policy.load_state_dict(plain.state_dict(), strict=False)
    batch = prepared(plain)
    assert torch.equal(policy.predict_action_chunk(batch), plain.predict_action_chunk(batch))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["film", "strong", "vit film", "resnet18 film"])
def test_coordinates_reach_the_chunk_even_where_their_token_is_cut_off(kind: str, name: str) -> None:
    policy = awake(made(kind, name))
    torch.nn.init.zeros_(network(policy).encoder_env_state_input_proj.weight)
    batch = prepared(policy)
    elsewhere = {**batch, ENVIRONMENT_STATE: batch[ENVIRONMENT_STATE] + 1}
    assert not torch.allclose(policy.predict_action_chunk(elsewhere), policy.predict_action_chunk(batch), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_unread_coordinates_are_declared_and_change_nothing(kind: str) -> None:
    policy = made(kind, "unread")
    batch = prepared(policy)
    elsewhere = {**batch, ENVIRONMENT_STATE: batch[ENVIRONMENT_STATE] + 100}
    assert torch.equal(policy.predict_action_chunk(elsewhere), policy.predict_action_chunk(batch))
    assert ENVIRONMENT_STATE in policy.config.input_features
    assert not [key for key in policy.state_dict() if "env_state" in key]


@pytest.mark.parametrize("place", ["decoder", "encoder"])
def test_the_encoder_must_give_the_coordinates_back(place: str) -> None:
    policy = made("rtc", "auxiliary", rtc_prefix_in=place, auxiliary_weight=2.0).train()
    batch = prepared(policy)
    loss, metrics = policy(batch)
    assert torch.isclose(loss, metrics["l1_loss"] + 2 * metrics["coordinate_loss"])
    assert metrics["coordinate_loss"] > 0
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network(policy).conditioning.parameters())
    after = trained(policy, batch)
    assert after["coordinate_loss"] < metrics["coordinate_loss"] / 2


def test_a_policy_that_ignores_its_coordinates_pays_the_contrastive_loss_and_learns_not_to() -> None:
    policy = made("rtc", "contrastive", contrastive_margin=0.2).train()
    torch.nn.init.zeros_(network(policy).encoder_env_state_input_proj.weight)
    batch = prepared(policy)
    goal = batch[ENVIRONMENT_STATE]
    _, metrics = policy(batch)
    assert torch.isclose(metrics["contrastive_loss"], 0.2 * (goal - goal.roll(1, 0)).norm(dim=1).mean())
    after = trained(policy, batch)
    assert after["contrastive_loss"] < metrics["contrastive_loss"] / 2


def test_the_hinge_is_the_gap_to_the_margin() -> None:
    goal, other = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.6, 0.8]])
    chunk, moved = torch.zeros(2, 3, 2), torch.full((2, 3, 2), 0.2)
    # 0.1 per unit: 0.5 asked for and 0.2 given; 0.1 asked for and 0.2 given
    assert contrastive_hinge(goal, chunk, other, moved, margin=0.1) == pytest.approx((0.3 + 0.0) / 2)


@pytest.mark.parametrize("size", [32, 48])
def test_the_cut_has_its_place_in_the_middle_and_its_share_of_the_image(size: int) -> None:
    xy = torch.tensor([[0.25, 0.125], [-0.25, -0.125]])  # three quarters right, a quarter down; and the reverse
    image = torch.zeros(2, 3, size, size)
    image[0, :, size // 4, 3 * size // 4] = 1
    image[1, :, 3 * size // 4, size // 4] = 1
    cut = cut_around(image, xy, FROM_ABOVE, share=0.5)
    assert cut.shape == image.shape
    for row in cut:
        brightest = row[0].flatten().argmax().item()
        assert abs(brightest // size - size // 2) <= 1
        assert abs(brightest % size - size // 2) <= 1
        assert (row[0] > 0.3).sum() <= 9  # a pixel becomes about two by two
    ramp = torch.linspace(0, 1, size).expand(2, 3, size, size)
    span = cut_around(ramp, torch.zeros(2, 2), FROM_ABOVE, share=0.5)[0, 0, 0]
    assert span[-1] - span[0] == pytest.approx(0.5, abs=0.03)
    assert torch.allclose(cut_around(ramp, torch.zeros(2, 2), FROM_ABOVE, share=1.0), ramp, atol=1e-5)


@pytest.mark.parametrize("as_what", ["replace", "add"])
def test_the_cut_follows_the_coordinates_as_they_are_in_metres(as_what: str) -> None:
    policy = made("act", "crop", crop_as=as_what)
    processor = Processor(policy.config, stats(policy.config))
    raw = raw_batch(policy.config)
    raw[ENVIRONMENT_STATE] = torch.tensor([[0.1, 0.05]]).repeat(4, 1)
    batch = processor.prepare(raw)
    whole = processor.normalize(OVERHEAD, raw[OVERHEAD])
    cut = cut_around(whole, raw[ENVIRONMENT_STATE], FROM_ABOVE, share=0.5)
    key = OVERHEAD if as_what == "replace" else "observation.images.overhead_cut"
    assert torch.equal(batch[key], cut)
    assert as_what == "replace" or torch.equal(batch[OVERHEAD], whole)
    assert list(policy.config.input_features) == list(INPUTS)  # what an environment is asked for stays the same
    elsewhere = processor.prepare({**raw, ENVIRONMENT_STATE: raw[ENVIRONMENT_STATE] + 0.1})
    elsewhere[ENVIRONMENT_STATE] = batch[ENVIRONMENT_STATE]
    assert not torch.equal(policy.predict_action_chunk(elsewhere), policy.predict_action_chunk(batch))


def test_a_cut_without_projection_says_what_is_missing() -> None:
    policy = made("act", "crop", crop_projection=None)
    with pytest.raises(UsageError, match="'crop' needs crop_projection, the overhead camera's projection"):
        Processor(policy.config, stats(policy.config)).prepare(raw_batch(policy.config))


@pytest.mark.parametrize("name", ["vit", "film", "resnet18 film"])
def test_stages_give_what_the_backbone_gives_and_each_is_asked_once(name: str) -> None:
    config = tiny_config(input_features=INPUTS, **VARIANTS[name])
    torch.manual_seed(0)
    backbone = build_backbone(config, load_weights=False).eval()
    images = torch.randn(2, 3, 32, 32)
    seen: list[tuple[int, int]] = []

    def note(stage: int, features_MFhw: Tensor) -> Tensor:
        seen.append((stage, features_MFhw.shape[1]))
        return features_MFhw

    with torch.no_grad():
        assert torch.equal(run_stages(backbone, images, note), backbone(images))
    assert seen == list(enumerate(stage_channels(config)))
    assert backbone(images).shape == (2, stage_channels(config)[-1], *feature_size(config, 32, 32))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "resnet18 film"])
def test_a_checkpoint_holds_the_variant(kind: str, name: str, tmp_path: Path) -> None:
    policy = awake(made(kind, name)).eval()
    processor = Processor(policy.config, stats(policy.config))
    save_pretrained(tmp_path, policy, processor)
    loaded, theirs = load_pretrained(tmp_path)
    assert loaded.config == policy.config
    raw = raw_batch(policy.config)
    ours = policy.predict_action_chunk(processor.prepare(raw))
    assert torch.equal(loaded.predict_action_chunk(theirs.prepare(raw)), ours)


@pytest.mark.parametrize("name", [name for name in VARIANTS if "vit" not in name])
def test_no_variant_passes_for_lerobots(name: str, tmp_path: Path) -> None:
    fields = {"vision_backbone": "resnet18", **VARIANTS[name]}
    policy = ACTPolicy(ACTConfig(input_features=INPUTS, output_features=tiny_config().output_features, **fields))
    kind = fields["conditioning"]
    with pytest.raises(CheckpointError, match=f"'act_eval_act' is no LeRobot ACT: conditioning = '{kind}'"):
        export_lerobot(tmp_path, policy, Processor(policy.config, stats(policy.config)))
    save_pretrained(tmp_path, policy, Processor(policy.config, stats(policy.config)))
    assert json.loads((tmp_path / "config.json").read_text())["type"] == "act_eval_act"


NO_CAMERAS, NO_COORDINATES = features({}), features({"overhead": (32, 32)}, environment_state=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"conditioning": "gating"},
            "unknown conditioning 'gating'; there are: auxiliary, contrastive, crop, film, strong, token, unread",
        ),
        ({"crop_as": "both"}, "unknown crop_as 'both'; there are: add, replace"),
        ({"conditioning": "film", "input_features": NO_CAMERAS}, "conditioning 'film' needs a camera"),
        (
            {"conditioning": "strong", "input_features": NO_COORDINATES},
            "'strong' needs 'observation.environment_state'",
        ),
        (
            {"conditioning": "unread", "input_features": NO_COORDINATES},
            "'unread' needs 'observation.environment_state'",
        ),
        (
            {"conditioning": "crop", "input_features": features({"wrist": (32, 32)})},
            "conditioning 'crop' needs 'observation.images.overhead' among the inputs",
        ),
        ({"crop_projection": (1.0, 2.0)}, r"crop_projection is \(1.0, 2.0\); it needs 9 numbers"),
        ({"crop_share": 0.0}, "crop_share is 0.0; allowed: above 0 up to 1"),
        ({"auxiliary_weight": -1.0}, "auxiliary_weight is -1.0; it must be finite and at least 0"),
        ({"vision_backbone": "vit", "vit_width": 100}, "vit_width is 100, .* a multiple of 64"),
        ({"vision_backbone": "vit", "input_features": features({"a": (32, 40)})}, r"vit needs .* got \[\(32, 40\)\]"),
        (
            {"vision_backbone": "vit", "pretrained_backbone_weights": "W"},
            "pretrained_backbone_weights is 'W'; vit is trained from scratch",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((UsageError, UnknownName), match=message):
        tiny_config(**({"input_features": INPUTS} | changes))


def test_the_batch_that_a_variant_reads_is_checked() -> None:
    policy = made("act", "crop added")
    batch = normalised_batch(policy.config)
    with pytest.raises(UsageError, match=r"the batch has no 'observation\.images\.overhead_cut'"):
        policy.predict_action_chunk(batch)
