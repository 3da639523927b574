"""Gradient and attention as evidence: the numbers are those of the network, and asking for them leaves it as it was."""

import pytest
import torch
from tiny_policies import processor, raw_batch, tiny_act, tiny_rtc

from act_eval.policies.sensitivity import sensitivity
from act_eval.types import ACTION, ENVIRONMENT_STATE, STATE

MAKERS = [tiny_act, tiny_rtc, lambda: tiny_rtc(rtc_anchor="last_action", rtc_prefix_in="encoder")]


@pytest.fixture(params=MAKERS, ids=["act", "act_rtc", "act_rtc, prefix in the encoder"])
def policy(request):
    return request.param().eval()


def asked(policy):
    config = policy.config
    raw = {k: v for k, v in raw_batch(config, rows=3).items() if k in config.input_features or k == "last_action"}
    return sensitivity(policy, processor(policy), raw)


def test_gradient_is_the_norm_of_the_jacobian(policy):
    """With tiny networks the whole Jacobian is affordable; four random directions come near to it."""
    prepare = processor(policy)
    raw = {k: v for k, v in raw_batch(policy.config, rows=1).items() if k in policy.config.input_features}
    batch = prepare.prepare(raw | {"last_action": torch.zeros(1, 6)})

    def chunk(goal):
        inputs = {key: batch[key] for key in policy.config.input_features} | {ENVIRONMENT_STATE: goal}
        if policy.config.type != "act_rtc":
            return prepare.denormalize(ACTION, policy.model(inputs)[0])
        nothing = torch.zeros(1, policy.config.rtc_max_delay, 6)
        return prepare.denormalize(ACTION, policy.model(inputs, torch.zeros(1, 1, dtype=torch.int64), nothing)[0])

    jacobian = torch.autograd.functional.jacobian(chunk, batch[ENVIRONMENT_STATE])
    outputs = jacobian[..., 0].numel()
    exact = float((jacobian.square().sum() / outputs).sqrt())
    found = sensitivity(policy, prepare, raw | {"last_action": torch.zeros(1, 6)})
    assert exact > 0
    assert found[ENVIRONMENT_STATE]["gradient"] == pytest.approx(exact, rel=0.6)


def test_inputs_that_reach_nothing_have_no_gradient(policy):
    with torch.no_grad():
        policy.model.encoder_env_state_input_proj.weight.zero_()
    found = asked(policy)
    assert found[ENVIRONMENT_STATE]["gradient"] == 0
    assert all(values["gradient"] > 0 for key, values in found.items() if key != ENVIRONMENT_STATE)


def test_attention_is_shared_among_the_inputs(policy):
    shares = {key: values["attention"] for key, values in asked(policy).items()}
    assert set(shares) == set(policy.config.input_features)
    assert all(share > 0 for share in shares.values())
    assert 0.5 < sum(shares.values()) < 1  # the latent has the rest


def test_asking_changes_nothing(policy):
    config = policy.config
    batch = processor(policy).prepare(raw_batch(config, rows=2))
    before = policy.predict_action_chunk(batch)
    asked(policy)
    torch.testing.assert_close(policy.predict_action_chunk(batch), before, rtol=0, atol=0)
    assert not any("attend_memory" in vars(module) for module in policy.modules())
    assert all(parameter.grad is None for parameter in policy.parameters())


def test_a_compiled_model_is_asked_as_the_plain_one(policy):
    plain = asked(policy)

    class Compiled(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self._orig_mod = inner

        def forward(self, *arguments, **named):
            raise AssertionError("the compiled graph keeps no attention")

    policy.model = Compiled(policy.model)
    assert asked(policy) == plain
    assert plain[STATE]["gradient"] > 0
