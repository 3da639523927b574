"""One graph and no breaks, with `policy.model = torch.compile(policy.model)` as users write it."""

from collections.abc import Callable, Iterator

import pytest
import torch
from tiny_policies import CAMERAS, normalised_batch, tiny_act, tiny_rtc
from torch._dynamo.testing import CompileCounterWithBackend

from act_eval.errors import UnknownName
from act_eval.policies.act import ACTPolicy
from act_eval.policies.act.presets import features
from act_eval.policies.compile import compile_policy
from act_eval.policies.rtc import ACTRTCPolicy

Policy = ACTPolicy | ACTRTCPolicy
VARIANTS: dict[str, Callable[[], Policy]] = {
    "act": tiny_act,
    "act without vae": lambda: tiny_act(use_vae=False),
    "act without cameras": lambda: tiny_act(input_features=features({})),
    "act without coordinates": lambda: tiny_act(input_features=features(CAMERAS, environment_state=None)),
    "act resnet18": lambda: tiny_act(vision_backbone="resnet18", use_vae=False),
    "rtc": tiny_rtc,
    "rtc encoder": lambda: tiny_rtc(rtc_prefix_in="encoder", use_vae=False),
    "rtc one delay": lambda: tiny_rtc(rtc_train_all_delays=False),
}


@pytest.fixture(autouse=True)
def forget_compiled() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def compiled(policy: Policy) -> CompileCounterWithBackend:
    counter = CompileCounterWithBackend("eager")
    policy.model = torch.compile(policy.model, backend=counter, fullgraph=True)
    return counter


@pytest.mark.parametrize("name", VARIANTS)
def test_training_is_one_graph_with_equal_loss_and_gradients(name: str) -> None:
    results = []
    for compile_it in (False, True):
        policy = VARIANTS[name]().train()
        counter = compiled(policy) if compile_it else None
        for seed in (1, 2):  # other data, same shapes: nothing is compiled again
            policy.zero_grad()
            torch.manual_seed(seed)
            loss, _ = policy(normalised_batch(policy.config, seed=seed))
            loss.backward()
        results.append((loss, [p.grad for p in policy.parameters()]))
        if counter is not None:
            assert counter.frame_count == 1
    assert torch.allclose(results[0][0], results[1][0], atol=1e-6)
    for eager, other in zip(results[0][1], results[1][1], strict=True):
        assert (eager is None) == (other is None)
        assert eager is None or torch.allclose(eager, other, atol=1e-6)


@pytest.mark.parametrize("name", VARIANTS)
def test_inference_is_one_graph_and_select_action_works(name: str) -> None:
    policy = VARIANTS[name]()
    batches = [normalised_batch(policy.config, seed=seed) for seed in range(5)]
    played = [policy.select_action(batch) for batch in batches]
    policy.reset()
    counter = compiled(policy)
    for batch, action in zip(batches, played, strict=True):
        assert torch.allclose(policy.select_action(batch), action, atol=1e-6)
    assert counter.frame_count == 1


@pytest.mark.slow  # compiles C++
@pytest.mark.parametrize("make", [tiny_act, tiny_rtc])
def test_inductor_gives_the_eager_chunk(make: Callable[[], Policy]) -> None:
    policy = make()
    batch = normalised_batch(policy.config)
    chunk = policy.predict_action_chunk(batch)
    assert compile_policy(policy, "default") == "default"
    assert torch.allclose(policy.predict_action_chunk(batch), chunk, atol=1e-5)


def test_optimiser_groups_survive_compiling() -> None:
    policy = tiny_act()
    sizes = [len(group["params"]) for group in policy.get_optim_params()]
    compiled(policy)
    assert [len(group["params"]) for group in policy.get_optim_params()] == sizes


def test_auto_leaves_a_cpu_policy_alone_and_says_so() -> None:
    policy = tiny_act()
    model = policy.model
    assert compile_policy(policy, "auto", "cpu") == "off"
    assert compile_policy(policy, "off", "cpu") == "off"
    assert policy.model is model


def test_an_unknown_mode_lists_what_exists() -> None:
    with pytest.raises(
        UnknownName, match=r"unknown compile mode 'fast'; there are: auto, default, max-autotune, .*off"
    ):
        compile_policy(tiny_act(), "fast")  # pyright: ignore[reportArgumentType]
