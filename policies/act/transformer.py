"""The transformer of ACT: DETR-style layers with positions added to queries and keys, batch first.

Parameter names are those of LeRobot's layers. No unused output is computed: the last layer of a
stack computes only the requested tokens, and decoder tokens that start as zeros are one vector until their first
attention to the memory.

Legend: `B` batch · `N` memory tokens · `Q` decoder tokens · `D` width · `G` groups of decoder tokens that share one
memory but do not see each other (delays of one sample).
"""

from collections.abc import Callable

from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from act_eval.policies.act.attention import ALL, Attention, Dropout
from act_eval.policies.act.config import ACTConfig


class FeedForward(nn.Module):
    """Feed-forward block of both kinds of layers, under LeRobot's names `linear1`, `linear2`."""

    def __init__(self, config: ACTConfig) -> None:
        super().__init__()
        self.linear1 = nn.Linear(config.dim_model, config.dim_feedforward)
        self.dropout = Dropout(config.dropout)
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

    def forward(self, x_BND: Tensor, pos_BND: Tensor, ignored_BN: Tensor | None = None, asking: slice = ALL) -> Tensor:
        """Return the tokens `asking`; the others are only attended to."""
        seen_BND = self.norm1(x_BND) if self.pre_norm else x_BND
        x_BND = x_BND[:, asking] + self.dropout(self.self_attn.attend_self(seen_BND, pos_BND, ignored_BN, asking))
        if self.pre_norm:
            return x_BND + self.feed_forward(self.norm2(x_BND))
        x_BND = self.norm1(x_BND)
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
        asking: slice = ALL,
    ) -> Tensor:
        """Return the tokens `asking` behind the last layer.

        Args:
            x_BND: tokens.
            pos_BND: their positions.
            ignored_BN: True where a token is padding.
            before: may change what a layer reads, given its number.
            asking: the last layer computes no others.
        """
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            x_BND = x_BND if before is None else before(number, x_BND)
            x_BND = layer(x_BND, pos_BND, ignored_BN, asking if number == last else ALL)
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
        self, x_BGQD: Tensor | None, pos_BGQD: Tensor, memory_BND: Tensor, memory_pos_BND: Tensor, asking: slice = ALL
    ) -> Tensor:
        """Return the tokens `asking` of each group; the others are only attended to. None means zeros."""
        if x_BGQD is None:
            tokens_BGQD = self._begin(pos_BGQD, len(memory_BND))[:, :, asking]
        else:
            seen_BGQD = self.norm1(x_BGQD) if self.pre_norm else x_BGQD
            tokens_BGQD = x_BGQD[:, :, asking] + self.dropout(self._within_groups(seen_BGQD, pos_BGQD, asking))
        pos_BGQD = pos_BGQD[:, :, asking].to(tokens_BGQD.dtype)
        if self.pre_norm:
            query_BGQD = self.norm2(tokens_BGQD) + pos_BGQD
            tokens_BGQD = tokens_BGQD + self.dropout(self._to_memory(query_BGQD, memory_BND, memory_pos_BND))
            return tokens_BGQD + self.feed_forward(self.norm3(tokens_BGQD))
        tokens_BGQD = self.norm1(tokens_BGQD)
        attended_BGQD = self._to_memory(tokens_BGQD + pos_BGQD, memory_BND, memory_pos_BND)
        tokens_BGQD = self.norm2(tokens_BGQD + self.dropout(attended_BGQD))
        return self.norm3(tokens_BGQD + self.feed_forward(tokens_BGQD))

    def _begin(self, pos_BGQD: Tensor, rows: int) -> Tensor:
        """Return what self-attention makes of zeros, with one row or token where all are the same."""
        groups = pos_BGQD.shape[1]
        zeros_D = pos_BGQD.new_zeros(pos_BGQD.shape[-1])
        seen_D = self.norm1(zeros_D) if self.pre_norm else zeros_D
        pos_ZQD = rearrange(pos_BGQD, "b g q d -> (b g) q d")
        attended_ZQD = self.self_attn.attend_alike(seen_D, pos_ZQD, rows * groups)
        same = len(attended_ZQD) == 1
        attended_BGQD = rearrange(attended_ZQD, "(b g) q d -> b g q d", g=1 if same else groups)
        if self.training and self.dropout.share > 0:
            attended_BGQD = attended_BGQD.expand(rows, groups, pos_BGQD.shape[2], -1)
        return self.dropout(attended_BGQD)

    def _within_groups(self, x_BGQD: Tensor, pos_BGQD: Tensor, asking: slice) -> Tensor:
        x_ZQD, pos_ZQD = (rearrange(t, "b g q d -> (b g) q d") for t in (x_BGQD, pos_BGQD.expand_as(x_BGQD)))
        attended_ZQD = self.self_attn.attend_self(x_ZQD, pos_ZQD, asking=asking)
        return rearrange(attended_ZQD, "(b g) q d -> b g q d", g=x_BGQD.shape[1])

    def _to_memory(self, query_BGQD: Tensor, memory_BND: Tensor, memory_pos_BND: Tensor) -> Tensor:
        # Groups become more queries of the same sample, so the memory is projected once and never copied.
        query_BZD = rearrange(query_BGQD, "b g q d -> b (g q) d")
        attended_BZD = self.multihead_attn.attend_memory(query_BZD, memory_BND, memory_pos_BND)
        return rearrange(attended_BZD, "b (g q) d -> b g q d", g=query_BGQD.shape[1])


class Decoder(nn.Module):
    """A stack of decoder layers with a final norm."""

    def __init__(self, config: ACTConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.n_decoder_layers))
        self.norm = nn.LayerNorm(config.dim_model)

    def forward(
        self, x_BGQD: Tensor | None, pos_BGQD: Tensor, memory_BND: Tensor, memory_pos_BND: Tensor, asking: slice = ALL
    ) -> Tensor:
        """Return the tokens `asking` of each group: the last layer computes no others.

        Args:
            x_BGQD: tokens; zeros if None.
            pos_BGQD: their positions; one row if they are the same in all.
            memory_BND: what is attended to.
            memory_pos_BND: its positions.
            asking: the requested tokens.
        """
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            x_BGQD = layer(x_BGQD, pos_BGQD, memory_BND, memory_pos_BND, asking if number == last else ALL)
        assert x_BGQD is not None  # there is at least one layer
        return self.norm(x_BGQD)
