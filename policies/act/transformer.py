"""The transformer of ACT: DETR-style layers with positions added to queries and keys, batch first.

Parameter names are those of `nn.MultiheadAttention` and of LeRobot's layers; the attention itself is PyTorch's fused
one (on a CPU in training: plain matrix products) instead of the path that returns averaged weights.

Legend: `B` batch · `N` memory tokens · `Q` decoder tokens · `D` width · `G` groups of decoder tokens that share one
memory but do not see each other (delays of one sample).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from act_eval.policies.act.config import ACTConfig


class Attention(nn.Module):
    """Multi-head attention with the packed parameters of `nn.MultiheadAttention`."""

    def __init__(self, config: ACTConfig) -> None:
        super().__init__()
        dim = config.dim_model
        self.heads = config.n_heads
        self.dropout = config.dropout if config.attention_dropout is None else config.attention_dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def attend_self(self, x_BND: Tensor, pos_BND: Tensor, ignored_BN: Tensor | None = None, first: int = 0) -> Tensor:
        """Attend among the tokens of each row.

        Args:
            x_BND: tokens.
            pos_BND: their positions.
            ignored_BN: True where a token is padding.
            first: only the tokens from here on ask; all are answered from.
        """
        dim = x_BND.shape[-1]
        qk_weight, v_weight = self.in_proj_weight.split((2 * dim, dim))
        qk_bias, v_bias = self.in_proj_bias.split((2 * dim, dim))
        q, k = functional.linear(x_BND + pos_BND, qk_weight, qk_bias).chunk(2, dim=-1)
        return self._attend(q[:, first:], k, functional.linear(x_BND, v_weight, v_bias), ignored_BN)

    def attend_memory(self, query_BQD: Tensor, memory_BND: Tensor, memory_pos_BND: Tensor) -> Tensor:
        """Attend from queries to a memory."""
        weights = self.in_proj_weight.chunk(3)
        biases = self.in_proj_bias.chunk(3)
        inputs = (query_BQD, memory_BND + memory_pos_BND, memory_BND)
        q, k, v = (functional.linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True))
        return self._attend(q, k, v, None)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, ignored_BN: Tensor | None) -> Tensor:
        mask = None if ignored_BN is None else ~ignored_BN[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        if self.training and q.device.type == "cpu":
            out = _plain_attention(q, k, v, mask, dropout)
        else:
            out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return self.out_proj(out.transpose(1, 2).flatten(2))


def _plain_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Return what the fused attention returns, for training on a CPU.

    There the fused backward pass takes two to five times as long in bfloat16 (32 samples of 75 tokens, forward and
    backward: 57 ms against 11 ms), and as long in float32.
    """
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = functional.dropout(scores.softmax(dim=-1), dropout, training=dropout > 0)
    return torch.matmul(weights.to(v.dtype), v)


class FeedForward(nn.Module):
    """What both kinds of layers share: the feed-forward block, under LeRobot's names `linear1`, `linear2`."""

    def __init__(self, config: ACTConfig) -> None:
        super().__init__()
        self.linear1 = nn.Linear(config.dim_model, config.dim_feedforward)
        self.dropout = nn.Dropout(config.dropout)
        self.linear2 = nn.Linear(config.dim_feedforward, config.dim_model)
        self.activation = functional.relu if config.feedforward_activation == "relu" else functional.gelu
        self.pre_norm = config.pre_norm

    def feed_forward(self, x: Tensor) -> Tensor:
        """Return the residual of the feed-forward block."""
        return self.dropout(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class EncoderLayer(FeedForward):
    """Self-attention and feed-forward."""

    def __init__(self, config: ACTConfig) -> None:
        super().__init__(config)
        self.self_attn = Attention(config)
        self.norm1 = nn.LayerNorm(config.dim_model)
        self.norm2 = nn.LayerNorm(config.dim_model)

    def forward(self, x_BND: Tensor, pos_BND: Tensor, ignored_BN: Tensor | None = None) -> Tensor:
        if self.pre_norm:
            x_BND = x_BND + self.dropout(self.self_attn.attend_self(self.norm1(x_BND), pos_BND, ignored_BN))
            return x_BND + self.feed_forward(self.norm2(x_BND))
        x_BND = self.norm1(x_BND + self.dropout(self.self_attn.attend_self(x_BND, pos_BND, ignored_BN)))
        return self.norm2(x_BND + self.feed_forward(x_BND))


class Encoder(nn.Module):
    """A stack of encoder layers; the final norm exists with `pre_norm` only."""

    def __init__(self, config: ACTConfig, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(layers))
        self.norm = nn.LayerNorm(config.dim_model) if config.pre_norm else nn.Identity()

    def forward(
        self,
        x_BND: Tensor,
        pos_BND: Tensor,
        ignored_BN: Tensor | None = None,
        before: Callable[[int, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Return the tokens behind the last layer; `before` may change what a layer reads, given its number."""
        for number, layer in enumerate(self.layers):
            x_BND = layer(x_BND if before is None else before(number, x_BND), pos_BND, ignored_BN)
        return self.norm(x_BND)


class DecoderLayer(FeedForward):
    """Self-attention within each group, attention to the memory, feed-forward."""

    def __init__(self, config: ACTConfig) -> None:
        super().__init__(config)
        self.self_attn = Attention(config)
        self.multihead_attn = Attention(config)
        self.norm1 = nn.LayerNorm(config.dim_model)
        self.norm2 = nn.LayerNorm(config.dim_model)
        self.norm3 = nn.LayerNorm(config.dim_model)

    def forward(
        self, x_BGQD: Tensor, pos_BGQD: Tensor, memory_BND: Tensor, memory_pos_BND: Tensor, first: int = 0
    ) -> Tensor:
        """Return the tokens of each group from `first` on; those before it are only attended to."""
        seen = self.norm1(x_BGQD) if self.pre_norm else x_BGQD
        attended = self._within_groups(seen, pos_BGQD, first)
        x_BGQD, pos_BGQD = x_BGQD[:, :, first:], pos_BGQD[:, :, first:]
        if self.pre_norm:
            x_BGQD = x_BGQD + self.dropout(attended)
            query = self.norm2(x_BGQD) + pos_BGQD
            x_BGQD = x_BGQD + self.dropout(self._to_memory(query, memory_BND, memory_pos_BND))
            return x_BGQD + self.feed_forward(self.norm3(x_BGQD))
        x_BGQD = self.norm1(x_BGQD + self.dropout(attended))
        attended = self._to_memory(x_BGQD + pos_BGQD, memory_BND, memory_pos_BND)
        x_BGQD = self.norm2(x_BGQD + self.dropout(attended))
        return self.norm3(x_BGQD + self.feed_forward(x_BGQD))

    def _within_groups(self, x_BGQD: Tensor, pos_BGQD: Tensor, first: int) -> Tensor:
        pos_ZQD = pos_BGQD.expand_as(x_BGQD).flatten(0, 1)  # Z = B * G
        return self.self_attn.attend_self(x_BGQD.flatten(0, 1), pos_ZQD, first=first).unflatten(0, x_BGQD.shape[:2])

    def _to_memory(self, query_BGQD: Tensor, memory_BND: Tensor, memory_pos_BND: Tensor) -> Tensor:
        # Groups become more queries of the same sample, so the memory is projected once and never copied.
        attended = self.multihead_attn.attend_memory(query_BGQD.flatten(1, 2), memory_BND, memory_pos_BND)
        return attended.unflatten(1, query_BGQD.shape[1:3])


class Decoder(nn.Module):
    """A stack of decoder layers with a final norm."""

    def __init__(self, config: ACTConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.n_decoder_layers))
        self.norm = nn.LayerNorm(config.dim_model)

    def forward(
        self, x_BGQD: Tensor, pos_BGQD: Tensor, memory_BND: Tensor, memory_pos_BND: Tensor, first: int = 0
    ) -> Tensor:
        """Return the tokens of each group from `first` on: the last layer computes no others."""
        *before, last = self.layers
        for layer in before:
            x_BGQD = layer(x_BGQD, pos_BGQD, memory_BND, memory_pos_BND)
        return self.norm(last(x_BGQD, pos_BGQD, memory_BND, memory_pos_BND, first))
