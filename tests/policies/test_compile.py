"""One graph and no breaks, with `policy.model = torch.compile(policy.model)` as users write it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_policies import CAMERAS, normalised_batch, processor, tiny_act, tiny_rtc
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from act_eval.errors import CompileError, UnknownName
from act_eval.policies.act import ACTPolicy
from act_eval.policies.act.presets import features
from act_eval.policies.checkpoint import save_pretrained
from act_eval.policies.compile import artefact_folder, compile_ready, compiled_module
from act_eval.policies.rtc import ACTRTCPolicy

Policy = ACTPolicy | ACTRTCPolicy
VARIANTS: dict[str, Callable[[], Policy]] = {
    "act": tiny_act,
    "act without vae": lambda: tiny_act(use_vae=False),
    "act without cameras": lambda: tiny_act(input_features=features({})),
    "act without coordinates": lambda: tiny_act(input_features=features(CAMERAS, environment_state=None)),
    "act pre-norm": lambda: tiny_act(pre_norm=True, n_decoder_layers=1),
    "act resnet18": lambda: tiny_act(vision_backbone="resnet18", use_vae=False),
    "rtc": tiny_rtc,
    "rtc encoder": lambda: tiny_rtc(rtc_prefix_in="encoder", use_vae=False),
    "rtc without vae, cameras": lambda: tiny_rtc(use_vae=False, input_features=features({})),
    "rtc one delay": lambda: tiny_rtc(rtc_train_all_delays=False),
}


@pytest.fixture(autouse=True)
def forget_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
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
def test_inference_is_one_graph(name: str) -> None:
    policy = VARIANTS[name]()
    batches = [normalised_batch(policy.config, seed=seed) for seed in range(5)]
    chunks = [policy.predict_action_chunk(batch) for batch in batches]
    counter = compiled(policy)
    for batch, chunk in zip(batches, chunks, strict=True):
        assert torch.allclose(policy.predict_action_chunk(batch), chunk, atol=1e-6)
    assert counter.frame_count == 1


class Watched:
    """A backend that runs graphs as they are and counts how often."""

    def __init__(self) -> None:
        self.graphs = self.runs = 0

    def __call__(self, graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., object]:
        self.graphs += 1

        def run(*inputs: Tensor) -> object:
            self.runs += 1
            return graph(*inputs)

        return run


@pytest.mark.parametrize("make", [tiny_act, tiny_rtc])
def test_the_compiled_graph_is_the_one_that_runs_and_a_new_batch_size_costs_one_more(
    make: Callable[..., Policy],
) -> None:
    policy = make(dropout=0.1).train()
    backend = Watched()
    policy.model = torch.compile(policy.model, backend=backend, fullgraph=True, dynamic=False)
    for seed in range(3):
        policy(normalised_batch(policy.config, rows=4, seed=seed))[0].backward()
    assert (backend.graphs, backend.runs) == (1, 3)
    for seed in range(2):
        policy(normalised_batch(policy.config, rows=3, seed=seed))[0].backward()
    assert (backend.graphs, backend.runs) == (2, 5)


def random_step(policy: Policy, seed: int) -> tuple[Tensor, list[Tensor | None]]:
    policy.train()
    policy.zero_grad()
    torch.manual_seed(seed)
    loss, _ = policy(normalised_batch(policy.config, seed=seed))
    loss.backward()
    return loss.detach(), [p.grad for p in policy.parameters()]


def close(one: Tensor, other: Tensor) -> bool:
    return bool(((one - other).abs() <= 1e-5 * one.abs().clamp(min=1)).all())


@pytest.mark.parametrize("make", [tiny_act, tiny_rtc])
def test_autograd_of_the_graph_gives_eager_numbers_with_dropout_and_noise_on(make: Callable[..., Policy]) -> None:
    policy = make(dropout=0.3, use_vae=True)
    plain = policy.model
    compiled = torch.compile(plain, backend="aot_eager", fullgraph=True)
    losses = []
    for seed in range(3):
        policy.model = plain
        loss, gradients = random_step(policy, seed)
        gradients = [None if g is None else g.clone() for g in gradients]
        policy.model = compiled  # pyright: ignore[reportAttributeAccessIssue]
        other, others = random_step(policy, seed)
        losses.append(float(loss))
        assert close(loss, other)
        for eager, found in zip(gradients, others, strict=True):
            assert (eager is None) == (found is None)
            assert eager is None or (found is not None and close(eager, found))
    assert len(set(losses)) == 3
    first, batch = random_step(policy, 7)[0], normalised_batch(policy.config, seed=7)
    assert abs(first - policy(batch)[0].detach()) > 1e-4  # they are on: without the seed, another loss


def test_a_compiled_policy_saves_the_plain_names(tmp_path: Path) -> None:
    policy = tiny_act()
    names = set(policy.state_dict())
    compiled(policy)
    save_pretrained(tmp_path, policy, processor(policy))
    assert set(load_file(tmp_path / "model.safetensors")) == names


class Breaking(nn.Module):
    """Goes another way for other data, which no graph can hold."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        out = self.inner(*inputs, **named)
        return out if out.sum() > 0 else -out


def broken() -> ACTPolicy:
    policy = tiny_act()
    policy.model.encoder = Breaking(policy.model.encoder)
    return policy


def test_a_failure_names_the_part_of_the_model() -> None:
    policy = broken()
    plain, batch = policy.model, normalised_batch(policy.config)
    with pytest.raises(
        CompileError, match=r"torch.compile \(mode 'default'\) failed in model.encoder \(Breaking\): .*; --compile off"
    ):
        compile_ready(policy, "default", "cpu", lambda: policy.predict_action_chunk(batch))
    assert policy.model is plain


def test_only_auto_falls_back_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = broken()
    plain, batch = policy.model, normalised_batch(policy.config)
    monkeypatch.setattr("act_eval.policies.compile.resolve_mode", lambda _mode, _device: "default")  # as with a GPU
    found = compile_ready(policy, "auto", "cpu", lambda: policy.predict_action_chunk(batch))
    assert found.mode == "off"
    assert found.failure is not None
    assert "failed in model.encoder (Breaking)" in found.failure
    assert policy.model is plain


def test_artefacts_lie_where_they_outlive_a_restart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert artefact_folder() == tmp_path / "act_eval" / "compiled"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "mine"))
    assert artefact_folder() == tmp_path / "mine"
    compiled_module(nn.Linear(2, 2), "default")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "mine")


@pytest.mark.slow  # compiles C++
@pytest.mark.skipif(torch.__version__ < "2.14", reason="needs PyTorch's own kernels within Inductor's graph")
@pytest.mark.parametrize("make", [tiny_act, tiny_rtc])
def test_inductor_gives_eager_loss_and_gradients_with_dropout_and_noise_on(make: Callable[..., Policy]) -> None:
    policy = make(dropout=0.3, use_vae=True)
    plain = policy.model
    compiled = compiled_module(plain, "default", same_numbers=True)
    for seed in range(3):
        policy.model = plain
        loss, gradients = random_step(policy, seed)
        gradients = [None if g is None else g.clone() for g in gradients]
        policy.model = compiled
        other, others = random_step(policy, seed)
        assert close(loss, other)
        for eager, found in zip(gradients, others, strict=True):
            assert eager is None or (found is not None and close(eager, found))


@pytest.mark.slow  # compiles C++
@pytest.mark.parametrize("make", [tiny_act, tiny_rtc])
def test_inductor_gives_the_eager_chunk(make: Callable[[], Policy]) -> None:
    policy = make()
    batch = normalised_batch(policy.config)
    chunk = policy.predict_action_chunk(batch)
    policy.model = compiled_module(policy.model, "default")
    assert torch.allclose(policy.predict_action_chunk(batch), chunk, atol=1e-5)


def test_optimiser_groups_survive_compiling() -> None:
    policy = tiny_act()
    sizes = [len(group["params"]) for group in policy.get_optim_params()]
    compiled(policy)
    assert [len(group["params"]) for group in policy.get_optim_params()] == sizes


def test_auto_leaves_a_cpu_policy_alone_and_says_so() -> None:
    policy = tiny_act()
    model = policy.model
    for mode in ("auto", "off"):
        assert compile_ready(policy, mode, "cpu", lambda: None).mode == "off"
    assert policy.model is model


def test_an_unknown_mode_lists_what_exists() -> None:
    with pytest.raises(
        UnknownName, match=r"unknown compile mode 'fast'; there are: auto, default, max-autotune, .*off"
    ):
        compile_ready(tiny_act(), "fast", "cpu", lambda: None)
