"""Supporting evidence on what a network reads: how strongly its output depends on each input, and what it attends to.

Neither is proof: a gradient is local, and attention is paid to tokens that the encoder has already mixed. Probes, which
change an input and look at the output, decide (`act_eval.diagnostics`).

Legend: `N` samples · `M` memory tokens · `Q` queries · `C` chunk · `A` action dim · `D` width.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from act_eval.policies.act.attention import Attention
from act_eval.policies.act.backbone import feature_size
from act_eval.policies.act.config import ACTConfig
from act_eval.policies.act.policy import ACTPolicy
from act_eval.policies.normalize import Processor
from act_eval.policies.rtc import ACTRTCPolicy
from act_eval.types import ACTION, ENVIRONMENT_STATE

_PROJECTIONS = 4  # random directions of the output per gradient: their mean estimates the norm of the whole Jacobian

Policy = ACTPolicy | ACTRTCPolicy


def sensitivity(policy: Policy, processor: Processor, raw: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    """Return for each declared input its `gradient` and, where its tokens are known, its share of `attention`.

    `gradient`: by how much the chunk moves (root mean square [rad]) if every value of the input is disturbed by
    independent noise of one standard deviation of its normalised scale, to first order. What the chunk inherits from
    the joints that its actions are relative to is no part of it. `attention`: share of the decoder's attention to the
    observation, over layers, heads and queries, that goes to the input's tokens.

    Args:
        policy: in evaluation mode.
        processor: its normaliser.
        raw: the declared inputs of N samples, as a data set gives them.
    """
    batch = processor.prepare(raw)
    inputs = {key: batch[key].detach().clone().requires_grad_() for key in policy.config.network_inputs}
    model = getattr(policy.model, "_orig_mod", policy.model)  # compiled graphs keep no attention
    with torch.enable_grad(), _attention_of(model) as weights_NQM:
        chunk_NCA = processor.denormalize(ACTION, _chunk(policy, model, inputs))
        gradient = _gradients(chunk_NCA, inputs)
    shares = _shares(policy.config, weights_NQM)
    return {
        key: {"gradient": gradient[key], **({"attention": shares[key]} if key in shares else {})}
        for key in policy.config.input_features
    }


def _chunk(policy: Policy, model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """Return normalised chunks (N, C, A), without delay."""
    if not isinstance(policy, ACTRTCPolicy):
        return model(inputs)[0]
    first = next(iter(inputs.values()))
    config = policy.config
    delay_N1 = torch.zeros(len(first), 1, dtype=torch.int64, device=first.device)
    prefix_NPA = torch.zeros(len(first), config.rtc_max_delay, config.action_dim, device=first.device)
    return model(inputs, delay_N1, prefix_NPA)[0][:, 0]


def _gradients(chunk_NCA: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the root mean square over outputs and samples of the norm of each output's gradient."""
    generator = torch.Generator().manual_seed(0)
    squares = dict.fromkeys(inputs, 0.0)
    for _ in range(_PROJECTIONS):
        sign_NCA = torch.randint(0, 2, chunk_NCA.shape, generator=generator).to(chunk_NCA) * 2 - 1
        found = torch.autograd.grad(
            (chunk_NCA * sign_NCA).sum(), list(inputs.values()), retain_graph=True, allow_unused=True
        )
        for key, gradient in zip(inputs, found, strict=True):
            squares[key] += 0.0 if gradient is None else float(gradient.square().sum())
    return {key: (square / _PROJECTIONS / chunk_NCA.numel()) ** 0.5 for key, square in squares.items()}


@contextmanager
def _attention_of(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect, while it is open, what the decoder's queries pay to the memory: (N, Q, M), means over the heads."""
    found: list[Tensor] = []
    watched = [module for name, module in model.named_modules() if name.endswith("multihead_attn")]
    attentions = [module for module in watched if isinstance(module, Attention)]
    for module in attentions:
        module.attend_memory = _recording(module, found)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield found
    finally:
        for module in attentions:
            del module.attend_memory


def _recording(module: Attention, found: list[Tensor]):
    attend = module.attend_memory

    def attend_memory(query_NQD: Tensor, memory_NMD: Tensor, memory_pos_NMD: Tensor) -> Tensor:
        (q_weight, k_weight, _), (q_bias, k_bias, _) = module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3)
        with torch.no_grad():
            q = module.split_heads(functional.linear(query_NQD, q_weight, q_bias))
            k = module.split_heads(functional.linear(memory_NMD + memory_pos_NMD, k_weight, k_bias))
            scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
            found.append(scores.softmax(dim=-1).mean(dim=1))
        return attend(query_NQD, memory_NMD, memory_pos_NMD)

    return attend_memory


def _shares(config: ACTConfig, weights_NQM: list[Tensor]) -> dict[str, float]:
    """Return each input's share; empty where the memory is not made of the tokens of `ACT.observation_tokens`."""
    tokens = [("latent", 1)]
    tokens += [(key, 1) for key, feature in config.input_features.items() if feature.type == "STATE"]
    tokens += [(ENVIRONMENT_STATE, 1)] if config.coordinate_token else []
    for key, feature in config.network_images.items():
        height, width = feature_size(config, *feature.shape[1:])
        tokens.append((key, height * width))
    sizes = [size for _, size in tokens]
    if not weights_NQM or any(weights.shape[-1] < sum(sizes) for weights in weights_NQM):
        return {}
    per_token = torch.stack([weights.mean(dim=(0, 1))[: sum(sizes)] for weights in weights_NQM]).mean(dim=0)
    sums = [float(part.sum()) for part in per_token.split(sizes)]
    return {key: value / sum(sums) for (key, _), value in zip(tokens, sums, strict=True) if key != "latent"}
