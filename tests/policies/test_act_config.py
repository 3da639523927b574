"""What an ACT configuration refuses, and by which words."""

import dataclasses
from typing import Any

import pytest
from tiny_policies import tiny_config, tiny_rtc_config

from act_eval.errors import UsageError
from act_eval.policies.act import ACTConfig, Feature

INPUTS = {"observation.environment_state": Feature("ENV", (2,))}
OUTPUTS = {"action": Feature("ACTION", (6,))}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_backbone": "resnet19"}, "unknown vision_backbone 'resnet19'; there are: .*resnet18"),
        ({"feedforward_activation": "glu"}, "unknown feedforward_activation 'glu'; there are: gelu, relu"),
        ({"backbone_norm": "batch"}, "unknown backbone_norm 'batch'; there are: group, layer"),
        ({"normalization_mapping": {"STATE": "MEAN"}}, "unknown normalization mode of STATE 'MEAN'"),
        ({"replace_final_stride_with_dilation": True}, "needs a bottleneck ResNet .* not resnet_narrow"),
        ({"n_obs_steps": 2}, "n_obs_steps is 2; ACT reads exactly 1 observation"),
        ({"n_action_steps": 6}, "n_action_steps is 6; allowed: 1 to chunk_size = 5"),
        ({"temporal_ensemble_coeff": 0.01}, "temporal_ensemble_coeff needs n_action_steps = 1, got 3"),
        ({"n_decoder_layers": 0}, "n_decoder_layers is 0; it must be at least 1"),
        ({"dim_model": 30}, "dim_model is 30; it must be a multiple of n_heads = 4 and of 4"),
        ({"dropout": 1.0}, "dropout is 1.0; allowed: 0 up to, not including, 1"),
        ({"output_features": {}}, "output_features needs 'action' of type ACTION"),
        ({"input_features": {}}, "ACT needs a camera or 'observation.environment_state' among its inputs"),
        ({"input_features": {"observation.state": Feature("STATE", (6,))}}, "ACT needs a camera or"),
        (
            {"input_features": {**INPUTS, "observation.target": Feature("STATE", (2,))}},
            "'observation.target' of type STATE would reach no layer; only 'observation.state' is read",
        ),
        (
            {"input_features": {**INPUTS, "observation.goal": Feature("ENV", (2,))}},
            "'observation.goal' of type ENV would reach no layer",
        ),
        ({"input_features": {"observation.images.x": Feature("VISUAL", (96, 96, 3))}}, r"allowed: VISUAL \(3, H, W\)"),
    ],
)
def test_a_wrong_field_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tiny_config(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rtc_max_delay": 0}, "rtc_max_delay is 0; it must be 1 to 65535"),
        (
            {"rtc_window": "same", "rtc_max_delay": 5},
            "rtc_max_delay is 5; window 'same' allows at most chunk_size - 1 = 4",
        ),
        ({"rtc_window": "moved"}, "unknown rtc_window 'moved'; there are: same, shifted"),
        ({"rtc_anchor": "next"}, "unknown rtc_anchor 'next'; there are: last_action, none, state"),
        ({"rtc_prefix_in": "both"}, "unknown rtc_prefix_in 'both'; there are: decoder, encoder"),
        ({"rtc_delay_weights": (1.0, 2.0)}, r"rtc_delay_weights is \(1.0, 2.0\); it needs 4 numbers"),
        ({"rtc_delay_weights": (0.0, 0.0, 0.0, 0.0)}, "not all 0"),
        (
            {"input_features": {**INPUTS, "observation.state": Feature("STATE", (4,))}},
            "rtc_anchor 'state' needs 'observation.state' and 'action' of equal length, got 4 and 6",
        ),
    ],
)
def test_a_wrong_rtc_field_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tiny_rtc_config(**changes)


def test_defaults_are_those_of_lerobot() -> None:
    config = ACTConfig(input_features=INPUTS, output_features=OUTPUTS)
    values = (config.chunk_size, config.dim_model, config.dim_feedforward, config.n_decoder_layers, config.kl_weight)
    assert values == (100, 512, 3200, 1, 10.0)
    assert config.type == "act"
    assert config.beyond_lerobot() == []


@pytest.mark.parametrize("name", ["vision_backbone", "camera_embedding", "attention_dropout"])
def test_what_lerobot_cannot_express_changes_the_type_and_is_named(name: str) -> None:
    lerobot = ACTConfig(input_features=INPUTS, output_features=OUTPUTS)
    value = {"vision_backbone": "resnet_narrow", "camera_embedding": True, "attention_dropout": 0.0}[name]
    beyond = dataclasses.replace(lerobot, **{name: value})
    assert beyond.type == "act_eval_act"
    assert beyond.beyond_lerobot() == [name]


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny_config().chunk_size = 7  # pyright: ignore[reportAttributeAccessIssue]


def test_seed_003_is_constructible() -> None:
    """The configuration of the run that all-delay training was first checked with."""
    config = tiny_rtc_config(
        vision_backbone="resnet34",
        chunk_size=8,
        n_action_steps=8,
        n_decoder_layers=4,
        pre_norm=True,
        use_vae=False,
        rtc_prefix_in="encoder",
        input_features={"observation.images.wrist": Feature("VISUAL", (3, 224, 224))},
    )
    assert (config.delays, config.target_steps, config.type) == (4, 11, "act_rtc")
