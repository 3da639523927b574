"""Raw to normalised and back; statistics of relative actions."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny_policies import raw_batch, stats, tiny_config, tiny_rtc_config

from act_eval.errors import FeatureMismatch
from act_eval.policies.normalize import IMAGENET, Processor, anchors, floored, relative_action_stats
from act_eval.policies.rtc import Anchor


@pytest.mark.parametrize("mode", ["MEAN_STD", "MIN_MAX", "IDENTITY"])
def test_restoring_undoes_normalising(mode: str) -> None:
    config = tiny_config(normalization_mapping={"ACTION": mode})
    processor = Processor(config, stats(config))
    actions = torch.randn(3, 5, 6)
    assert torch.allclose(processor.restore(processor.normalize("action", actions)), actions, atol=1e-5)


def test_normalised_features_have_the_closed_form() -> None:
    config = tiny_config()
    given = stats(config)
    raw = raw_batch(config)
    batch = Processor(config, given).prepare(raw)
    image = raw["observation.images.wrist"].double().numpy() / 255
    wanted = (image - IMAGENET["mean"]) / IMAGENET["std"]
    assert np.allclose(batch["observation.images.wrist"], wanted, atol=1e-5)
    for key in ("observation.state", "observation.environment_state", "action"):
        wanted = (raw[key].numpy() - given[key]["mean"]) / given[key]["std"]
        assert np.allclose(batch[key], wanted, atol=1e-5), key
    assert torch.equal(batch["action_is_pad"], raw["action_is_pad"])
    assert "last_action" not in batch


def test_float_images_are_taken_as_scaled_already() -> None:
    config = tiny_config()
    processor = Processor(config, stats(config))
    raw = raw_batch(config)
    scaled = raw | {key: raw[key].float() / 255 for key in config.image_features}
    for key in config.image_features:
        assert torch.equal(processor.prepare(raw)[key], processor.prepare(scaled)[key])


@pytest.mark.parametrize("anchor", ["state", "last_action", "none"])
def test_relative_actions_have_the_anchor_taken_off_and_put_back(anchor: Anchor) -> None:
    config = tiny_rtc_config(rtc_anchor=anchor)
    given = stats(config)
    raw = raw_batch(config)
    processor = Processor(config, given)
    batch = processor.prepare(raw)
    of_anchor = {"state": raw["observation.state"], "last_action": raw["last_action"], "none": torch.zeros(4, 6)}
    origin = of_anchor[anchor]
    relative = raw["action"].numpy() - origin[:, None].numpy()
    assert np.allclose(batch["action"], (relative - given["action"]["mean"]) / given["action"]["std"], atol=1e-5)
    assert torch.equal(batch["anchor"], origin)
    assert torch.allclose(processor.restore(batch["action"], origin), raw["action"], atol=1e-5)
    assert torch.allclose(processor.prepare_prefix(raw["action"][:, :3], origin), batch["action"][:, :3])


def test_the_state_may_be_the_anchor_without_being_an_input() -> None:
    config = tiny_rtc_config()
    without = {k: v for k, v in config.input_features.items() if k != "observation.state"}
    config = tiny_rtc_config(input_features=without)
    raw = raw_batch(config) | {"observation.state": torch.randn(4, 6)}
    batch = Processor(config, stats(config)).prepare(raw)
    assert "observation.state" not in batch
    assert torch.equal(batch["anchor"], raw["observation.state"])


def test_a_feature_that_never_moved_gives_moderate_inputs() -> None:
    given = {
        "observation.environment_state": {
            **{"mean": [0.2, 0.1], "std": [0.0, 0.05], "min": [0.2, 0], "max": [0.2, 0.2]},
            **{"q01": [0.2, 0], "q99": [0.2, 0.2]},
        }
    }
    config = tiny_config(
        input_features={"observation.environment_state": tiny_config().input_features["observation.environment_state"]}
    )
    for mode in ("MEAN_STD", "MIN_MAX", "QUANTILES"):
        config = tiny_config(input_features=config.input_features, normalization_mapping={"ENV": mode})
        processor = Processor(config, floored(given))
        batch = processor.prepare({"observation.environment_state": torch.tensor([[0.2, 0.1], [0.25, 0.15]])})
        values = batch["observation.environment_state"]
        assert bool(values.isfinite().all())
        assert float(values.abs().max()) <= 5.001


def test_flooring_leaves_ordinary_statistics_and_images_alone() -> None:
    given = {
        "action": {"mean": [0.0], "std": [0.5], "min": [-1.0], "max": [1.0]},
        "image": {"std": np.full((3, 1, 1), 1e-6)},
    }
    result = floored(given)
    assert result["action"]["std"] == 0.5
    assert (result["action"]["min"], result["action"]["max"]) == (-1, 1)
    assert np.array_equal(result["image"]["std"], given["image"]["std"])
    assert given["action"]["std"] == [0.5]


@pytest.mark.parametrize("anchor", ["state", "last_action", "none"])
def test_relative_statistics_equal_those_of_all_pairs(anchor: Anchor) -> None:
    rng = np.random.default_rng(0)
    episodes = [(rng.normal(size=(n, 6)), rng.normal(size=(n, 6))) for n in (9, 1, 4)]
    pairs = []
    for actions, states in episodes:
        for t in range(len(actions)):
            origin = states[t] if anchor == "state" or t == 0 else actions[t - 1]
            origin = 0 * origin if anchor == "none" else origin
            pairs += [actions[t + k] - origin for k in range(5) if t + k < len(actions)]
    found = relative_action_stats(iter(episodes), anchor, steps=5)
    assert found["count"].tolist() == [len(pairs)]
    for name, wanted in (
        ("mean", np.mean(pairs, 0)),
        ("std", np.std(pairs, 0)),
        ("min", np.min(pairs, 0)),
        ("max", np.max(pairs, 0)),
    ):
        assert np.allclose(found[name], wanted), name


def test_the_first_command_is_anchored_on_the_joints() -> None:
    actions, states = np.arange(12.0).reshape(2, 6), np.full((2, 6), 7.0)
    assert np.array_equal(anchors(actions, states, "last_action"), np.stack((states[0], actions[0])))
    assert np.array_equal(anchors(actions, states, "state"), states)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "there are no statistics 'mean' of 'observation.state'; given are none"),
        (
            {"observation.state": {"mean": np.zeros(6), "min": np.zeros(6)}},
            r"no statistics 'std' of 'observation.state'; given are \['mean', 'min'\]",
        ),
        (
            {"observation.state": {"mean": np.zeros(5), "std": np.ones(5)}},
            r"'mean' of 'observation.state' has shape \(5,\); needed is \(6,\)",
        ),
    ],
)
def test_statistics_that_do_not_fit_are_refused_by_feature(given: dict[str, Any], message: str) -> None:
    with pytest.raises(FeatureMismatch, match=message):
        Processor(tiny_config(), given)


def test_what_is_missing_is_named() -> None:
    config = tiny_rtc_config(rtc_anchor="last_action")
    processor = Processor(config, stats(config))
    raw = raw_batch(config)
    with pytest.raises(FeatureMismatch, match=r"the batch has no 'observation\.images\.wrist', which the policy reads"):
        processor.prepare({k: v for k, v in raw.items() if k != "observation.images.wrist"})
    with pytest.raises(FeatureMismatch, match="the batch has no 'last_action'"):
        processor.prepare({k: v for k, v in raw.items() if k != "last_action"})
    with pytest.raises(
        FeatureMismatch, match="actions of this policy are relative to last_action, but no anchor was given"
    ):
        processor.restore(raw["action"])
    with pytest.raises(FeatureMismatch, match="relative to nothing, but an anchor was given"):
        Processor(tiny_config(), stats(tiny_config())).restore(raw["action"], raw["last_action"])
    with pytest.raises(FeatureMismatch, match=r"actions are \(3, 6\), states \(3, 5\)"):
        anchors(np.zeros((3, 6)), np.zeros((3, 5)), "state")
    assert not anchors(np.ones((3, 6)), np.zeros((3, 5)), "none").any()
    with pytest.raises(FeatureMismatch, match="at least one episode"):
        relative_action_stats([], "state", 5)
