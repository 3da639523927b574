"""Multi-head attention with the parameters of `nn.MultiheadAttention`, batch first, and dropout.

The attention is PyTorch's fused one (on a CPU in training: plain matrix products), not the path that returns averaged
weights. `asking` selects the query tokens: only their outputs are computed.

`torch.nn.functional.dropout` draws one Bernoulli number per element, which takes 8 ns each on one CPU core. Here one
64-bit number serves four elements, 3.4 ns each. The dropped share is a multiple of 2⁻¹⁶, and the scale is that of the
share that is kept, so the mean stays unchanged.

Legend: `B` batch · `N` tokens or memory tokens · `Q` query tokens · `D` width · `H` heads · `E` = D / H.
"""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from act_eval.policies.act.config import ACTConfig

ALL = slice(None)
_LEVELS = 2**16


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

    def attend_self(
        self, x_BND: Tensor, pos_BND: Tensor, ignored_BN: Tensor | None = None, asking: slice = ALL
    ) -> Tensor:
        """Attend among the tokens of each row.

        Args:
            x_BND: tokens.
            pos_BND: their positions.
            ignored_BN: True where a token is padding.
            asking: the tokens that are queries; all are keys and values.
        """
        qk_weight, v_weight, qk_bias, v_bias = self._split()
        placed_BND = x_BND + pos_BND.to(x_BND.dtype)
        if asking == ALL:
            q, k = functional.linear(placed_BND, qk_weight, qk_bias).chunk(2, dim=-1)
        else:
            q, k = _linears((placed_BND[:, asking], placed_BND), qk_weight, qk_bias)
        return self._attend(q, k, functional.linear(x_BND, v_weight, v_bias), ignored_BN)

    def attend_alike(self, token_D: Tensor, pos_BND: Tensor, rows: int) -> Tensor:
        """Attend among tokens that differ only in their positions, so that all values are the same.

        Queries and keys have no effect then, unless dropout removes some of the attention weights.

        Args:
            token_D: all tokens of all rows.
            pos_BND: their positions; one row if they are the same in all.
            rows: R, number of rows.

        Returns:
            (R, N, D), or (1, 1, D) where nothing depends on row and position.
        """
        qk_weight, v_weight, qk_bias, v_bias = self._split()
        value_D = functional.linear(token_D, v_weight, v_bias)
        share = self.dropout if self.training else 0.0
        if share == 0:
            return self.out_proj(value_D)[None, None]
        q, k = functional.linear(token_D + pos_BND, qk_weight, qk_bias).chunk(2, dim=-1)
        weights_BHNN = _weights(self.split_heads(q), self.split_heads(k), None)
        kept_RHN = dropout(weights_BHNN.expand(rows, -1, -1, -1), share).sum(dim=-1)
        value_HE = rearrange(value_D, "(h e) -> h e", h=self.heads)
        answers_DH = (rearrange(self.out_proj.weight, "d (h e) -> d h e", h=self.heads) * value_HE).sum(dim=-1)
        return functional.linear(rearrange(kept_RHN, "r h n -> r n h").to(answers_DH), answers_DH, self.out_proj.bias)

    def attend_memory(self, query_BQD: Tensor, memory_BND: Tensor, memory_pos_BND: Tensor) -> Tensor:
        """Attend from queries, one row of them if they are the same in all, to a memory."""
        inputs = (query_BQD, memory_BND + memory_pos_BND.to(memory_BND.dtype), memory_BND)
        q, k, v = _linears(inputs, self.in_proj_weight, self.in_proj_bias)
        return self._attend(q.expand(len(k), -1, -1), k, v, None)

    def split_heads(self, x_BND: Tensor) -> Tensor:
        """Return queries, keys or values (B, N, D) by head, (B, H, N, E)."""
        return rearrange(x_BND, "b n (h e) -> b h n e", h=self.heads)

    def _split(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the weights of queries and keys, those of values, and their biases."""
        dim = self.in_proj_weight.shape[1]
        qk_weight, v_weight = self.in_proj_weight.split((2 * dim, dim))
        qk_bias, v_bias = self.in_proj_bias.split((2 * dim, dim))
        return qk_weight, v_weight, qk_bias, v_bias

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, ignored_BN: Tensor | None) -> Tensor:
        mask = None if ignored_BN is None else ~ignored_BN[:, None, None, :]
        share = self.dropout if self.training else 0.0
        q, k, v = (self.split_heads(x) for x in (q, k, v))
        if self.training and q.device.type == "cpu":
            # The fused backward pass takes two to five times as long in bfloat16 (32 samples of 75 tokens, forward
            # and backward: 57 ms against 11 ms), and as long in float32.
            out = torch.matmul(dropout(_weights(q, k, mask), share).to(v.dtype), v)
        else:
            out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=share)
        return self.out_proj(rearrange(out, "b h n e -> b n (h e)"))


def _linears(inputs: tuple[Tensor, ...], weight: Tensor, bias: Tensor) -> list[Tensor]:
    parts = zip(inputs, weight.chunk(len(inputs)), bias.chunk(len(inputs)), strict=True)
    return [functional.linear(x, w, b) for x, w, b in parts]


def _weights(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1, dtype=torch.float32)


class Dropout(nn.Module):
    """`nn.Dropout`, without its choice of inplace."""

    def __init__(self, share: float) -> None:
        """Set the share of elements that become zero in training."""
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.share if self.training else 0.0)


def dropout(x: Tensor, share: float) -> Tensor:
    """Return `x` with a random `share` of its elements set to zero and the others scaled up."""
    if share == 0:
        return x
    if x.device.type != "cpu":
        return functional.dropout(x, share)
    dropped = round(share * _LEVELS)
    # Drawn with an explicit range: `random_()` would leave out the sign, and with it one of the 64 bits.
    words = torch.randint(-(2**63), 2**63 - 1, (-(-x.numel() // 4),))
    levels = words.view(torch.int16)[: x.numel()].view(x.shape)
    return x * (levels >= dropped - _LEVELS // 2) * (_LEVELS / (_LEVELS - dropped))
