"""ACT-RTC: ACT conditioned on the actions committed during inference, trained over all delays jointly.

Actions are relative to an anchor. With delay d the first d commands after the observation (the prefix) are an input.
The chunk continues after them (window `shifted`: output k is step t + d + k) or covers them, and they are left out of
the loss (window `same`: output k is step t + k).

Legend: `B` batch · `K` delays of a sample · `P` rtc_max_delay · `C` chunk · `A` action dim · `D` width ·
`N` observation tokens · `Q` = P + C decoder tokens.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from act_eval.errors import FeatureMismatch, UsageError
from act_eval.policies.act.config import ACTConfig, Feature, check_choices
from act_eval.policies.act.model import ACT, ACTION_IS_PAD, AuxOutputs, Batch
from act_eval.policies.act.policy import ChunkingPolicy, Metrics, l1_per_delay, masked_l1
from act_eval.types import ACTION, ENVIRONMENT_STATE, PAST_ACTIONS, STATE, Window

Anchor = Literal["state", "last_action", "none"]
PrefixPlace = Literal["encoder", "decoder"]
DELAY = "delay"
"""Key of a prepared batch: the delay (B,) that a sample is for, int64, -1 where it serves every delay; only with
corrections."""
ANCHOR = "anchor"
"""Key of a prepared batch: the (B, A) joint values, not normalised, that its actions are relative to."""


@dataclass(frozen=True, kw_only=True)
class ACTRTCConfig(ACTConfig):
    """ACT's configuration with that of the committed prefix."""

    added_fields: ClassVar[tuple[str, ...]] = (
        *ACTConfig.added_fields,
        *("rtc_max_delay", "rtc_train_all_delays", "rtc_window", "rtc_anchor", "rtc_prefix_in", "rtc_delay_weights"),
        *("rtc_prefix_noise", "rtc_prefix_dropout", "rtc_prefix_hidden", "n_past_actions"),
    )

    rtc_max_delay: int = 8
    """P, the largest delay in control steps."""
    rtc_train_all_delays: bool = True
    """Train delays 0 … P of every sample in one forward pass; otherwise one random delay per sample."""
    rtc_window: Window = "shifted"
    """Which steps a chunk covers."""
    rtc_anchor: Anchor = "state"
    """Reference of relative actions: the observed joints, or the command before the observation; none for actions that
    are no positions, such as velocities and displacements, which stay as they are."""
    rtc_prefix_in: PrefixPlace = "decoder"
    """Location of the prefix tokens: among the encoder's tokens (which then runs once per delay) or the decoder's."""
    rtc_delay_weights: tuple[float, ...] | None = None
    """Weight of each delay 0 … P in the loss; equal if None."""
    rtc_prefix_noise: float = 0.0
    """Perturbation of prefixes in training, at their end [standard deviations of the relative actions].

    A demonstrator's prefix already reacts to events after the observation; a policy's own does not. A policy trained on
    demonstrators' prefixes alone follows its prefix instead of its observation."""
    rtc_prefix_dropout: float = 0.0
    """Share of the training samples whose prefix is hidden; their delay is given."""
    rtc_prefix_hidden: tuple[int, ...] = ()
    """Action dimensions of the prefix that the network does not see, such as the gripper's."""
    n_past_actions: int = 0
    """Commands before the observation that the network reads, relative to the anchor. One image does not show a
    block's velocity; what the arm was told to follow does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.rtc_max_delay < 2**16:
            raise UsageError(f"rtc_max_delay is {self.rtc_max_delay}; it must be 1 to 65535 (for delay 0 only use ACT)")
        if self.rtc_window == "same" and self.rtc_max_delay >= self.chunk_size:
            raise UsageError(
                f"rtc_max_delay is {self.rtc_max_delay}; window 'same' allows at most "
                f"chunk_size - 1 = {self.chunk_size - 1}"
            )
        if not 0 <= self.n_past_actions < 2**16:
            raise UsageError(f"n_past_actions is {self.n_past_actions}; it must be 0 to 65535")
        check_choices(self, rtc_window=Window, rtc_anchor=Anchor, rtc_prefix_in=PrefixPlace)
        state = self.state_feature
        if self.rtc_anchor == "state" and state is not None and state.shape != (self.action_dim,):
            raise UsageError(
                f"rtc_anchor 'state' needs {STATE!r} and {ACTION!r} of equal length, got {state.shape[0]} and "
                f"{self.action_dim}; 'last_action' and 'none' do not"
            )
        weights = self.rtc_delay_weights
        if weights is not None and (len(weights) != self.delays or min(weights) < 0 or sum(weights) <= 0):
            raise UsageError(
                f"rtc_delay_weights is {weights}; it needs {self.delays} numbers >= 0, not all 0 "
                f"(for delays 0 to {self.rtc_max_delay})"
            )
        if not 0 <= self.rtc_prefix_noise < math.inf:
            raise UsageError(f"rtc_prefix_noise is {self.rtc_prefix_noise}; it must be finite and at least 0")
        if not 0 <= self.rtc_prefix_dropout <= 1:
            raise UsageError(f"rtc_prefix_dropout is {self.rtc_prefix_dropout}; it is a share of the samples, 0 to 1")
        if not all(0 <= index < self.action_dim for index in self.rtc_prefix_hidden):
            raise UsageError(
                f"rtc_prefix_hidden is {self.rtc_prefix_hidden}; action dimensions are 0 to {self.action_dim - 1}"
            )

    @property
    def type(self) -> str:
        return "act_rtc"

    @property
    def network_inputs(self) -> dict[str, Feature]:
        if not self.n_past_actions:
            return super().network_inputs
        return super().network_inputs | {PAST_ACTIONS: Feature("ACTION", (self.n_past_actions, self.action_dim))}

    @property
    def delays(self) -> int:
        """Number of delays, P + 1."""
        return self.rtc_max_delay + 1

    @property
    def target_steps(self) -> int:
        return self.chunk_size + (self.rtc_max_delay if self.rtc_window == "shifted" else 0)


class ACTRTC(ACT):
    """ACT with a committed prefix and several delays per sample; cameras and latent are computed once per sample."""

    prefix_slots: Tensor
    seen: Tensor

    def __init__(self, config: ACTRTCConfig, load_backbone_weights: bool = True) -> None:
        super().__init__(config, load_backbone_weights)
        self.rtc = config
        dim, longest = config.dim_model, config.rtc_max_delay
        self.prefix_input_proj = nn.Linear(config.action_dim, dim)
        self.prefix_pad_embed = nn.Parameter(torch.zeros(dim))
        self.prefix_pos_embed = nn.Embedding(longest, dim)
        # Added to the queries' positions: a query belongs to another step under another delay.
        self.delay_embed = nn.Embedding(longest + 1, dim)
        if config.n_past_actions:
            self.past_input_proj = nn.Linear(config.action_dim, dim)
            self.past_pos_embed = nn.Embedding(config.n_past_actions, dim)
        self.register_buffer("prefix_slots", torch.arange(longest), persistent=False)
        seen_A = torch.ones(config.action_dim)
        seen_A[list(config.rtc_prefix_hidden)] = 0
        self.register_buffer("seen", seen_A, persistent=False)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - the prefix is a required input here
        self,
        batch: Batch,
        delay_BK: Tensor,
        prefix_BPA: Tensor,
        noise_BL: Tensor | None = None,
        known_BK: Tensor | None = None,
    ) -> tuple[Tensor, AuxOutputs]:
        """Predict a chunk for each delay of each sample.

        Args:
            batch: as for ACT; actions relative and normalised.
            delay_BK: int64, 0 … P.
            prefix_BPA: committed relative actions of steps t … t + P - 1, normalised; not read from the delay on.
            noise_BL: standard normal noise of the latent; drawn here if None.
            known_BK: int64, how many of the delay's commands are seen; the others are padding. All if None.

        Returns:
            Normalised relative actions (B, K, C, A), and the auxiliary outputs.
        """
        latent_BL, aux = self.latent(batch, noise_BL)
        goal_BE = batch.get(ENVIRONMENT_STATE)
        tokens_BND, pos_1ND = self.observation_tokens(batch, latent_BL)
        prefix_BKPD = self._prefix_tokens(delay_BK if known_BK is None else known_BK, prefix_BPA)
        query_pos_BKCD = self.query_positions(goal_BE)[:, None] + self.delay_embed(delay_BK)[:, :, None]
        if self.rtc.rtc_prefix_in == "encoder":
            memory_BND, out_BKCD = self._prefix_in_encoder(tokens_BND, pos_1ND, prefix_BKPD, query_pos_BKCD, goal_BE)
        else:
            memory_BND, out_BKCD = self._prefix_in_decoder(tokens_BND, pos_1ND, prefix_BKPD, query_pos_BKCD, goal_BE)
        return self.action_head(out_BKCD), self.with_recovered(aux, batch, memory_BND)

    def observation_tokens(self, batch: Batch, latent_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Return the encoder's tokens (B, N, D), those of past commands last, and their positions (1, N, D)."""
        tokens_BND, pos_1ND = super().observation_tokens(batch, latent_BL)
        if not self.rtc.n_past_actions:
            return tokens_BND, pos_1ND
        tokens_BND = torch.cat((tokens_BND, self.past_input_proj(batch[PAST_ACTIONS])), dim=1)
        return tokens_BND, torch.cat((pos_1ND, self.past_pos_embed.weight[None]), dim=1)

    def _prefix_tokens(self, known_BK: Tensor, prefix_BPA: Tensor) -> Tensor:
        known_BKP1 = (self.prefix_slots < known_BK[:, :, None])[..., None]
        tokens_B1PD = self.prefix_input_proj(prefix_BPA * self.seen)[:, None]
        return torch.where(known_BKP1, tokens_B1PD, self.prefix_pad_embed.to(tokens_B1PD.dtype))

    def _prefix_in_encoder(
        self, tokens_BND: Tensor, pos_1ND: Tensor, prefix_BKPD: Tensor, query_pos_BKCD: Tensor, goal_BE: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        delays = prefix_BKPD.shape[1]
        tokens_BKND = repeat(tokens_BND, "b n d -> b k n d", k=delays)
        tokens_ZND = rearrange(torch.cat((tokens_BKND, prefix_BKPD), dim=2), "b k n d -> (b k) n d")  # Z = B * K
        pos_1ND = torch.cat((pos_1ND, self.prefix_pos_embed.weight[None]), dim=1)
        goal_ZE = None if goal_BE is None else repeat(goal_BE, "b e -> (b k) e", k=delays)
        memory_ZND, pos_1ND = self.encode(tokens_ZND, pos_1ND, goal_ZE)
        query_pos_Z1CD = rearrange(query_pos_BKCD, "b k c d -> (b k) 1 c d")
        out_Z1CD = self.decoder(None, query_pos_Z1CD, memory_ZND, pos_1ND)
        memory_BKND = rearrange(memory_ZND, "(b k) n d -> b k n d", k=delays)
        return memory_BKND[:, 0, : tokens_BND.shape[1]], rearrange(out_Z1CD, "(b k) 1 c d -> b k c d", k=delays)

    def _prefix_in_decoder(
        self, tokens_BND: Tensor, pos_1ND: Tensor, prefix_BKPD: Tensor, query_pos_BKCD: Tensor, goal_BE: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        memory_BND, pos_1ND = self.encode(tokens_BND, pos_1ND, goal_BE)
        x_BKQD = nn.functional.pad(prefix_BKPD, (0, 0, 0, self.config.chunk_size))
        pos_BKQD = torch.cat((self.prefix_pos_embed.weight.expand_as(prefix_BKPD), query_pos_BKCD), dim=2)
        return memory_BND, self.decoder(
            x_BKQD, pos_BKQD, memory_BND, pos_1ND, asking=slice(self.rtc.rtc_max_delay, None)
        )


class ACTRTCPolicy(ChunkingPolicy):
    """ACT with real-time chunking by action-prefix conditioning."""

    config: ACTRTCConfig
    all_delays: Tensor
    target_index: Tensor
    in_loss: Tensor
    delay_weight: Tensor

    def __init__(self, config: ACTRTCConfig, load_backbone_weights: bool = True) -> None:
        """Build the policy; `load_backbone_weights` False leaves out a download that a checkpoint would overwrite."""
        super().__init__(config)
        self.model = ACTRTC(config, load_backbone_weights)
        delays = torch.arange(config.delays)
        steps = torch.arange(config.chunk_size)
        shift = delays if config.rtc_window == "shifted" else torch.zeros_like(delays)
        self.register_buffer("all_delays", delays, persistent=False)
        self.register_buffer("target_index", shift[:, None] + steps, persistent=False)
        in_loss = steps >= (delays if config.rtc_window == "same" else torch.zeros_like(delays))[:, None]
        self.register_buffer("in_loss", in_loss, persistent=False)
        weights = config.rtc_delay_weights
        weight_K = torch.ones(config.delays) if weights is None else torch.tensor(weights, dtype=torch.float32)
        self.register_buffer("delay_weight", weight_K, persistent=False)

    def forward(self, batch: Batch, delay_BK: Tensor | None = None) -> tuple[Tensor, Metrics]:
        """Return the loss and its parts.

        Args:
            batch: normalised features with relative `action` (B, T, A) of steps t … t + T - 1, T = `target_steps`,
                `action_is_pad` (B, T), and with corrections `delay` (B,): that of a sample, -1 where it serves all.
            delay_BK: the delays of each sample. If None: the batch's; without those all of them, or in training with
                `rtc_train_all_delays` off one random delay per sample. Evaluation mode always takes all, so that losses
                compare.

        Returns:
            The loss, and `l1_loss`, with a VAE `kld_loss`, and where all delays were run `l1_delay_0` … `l1_delay_P`.
        """
        self.check_batch(batch, ACTION, ACTION_IS_PAD)
        given_B = batch.get(DELAY)
        every = delay_BK is None and given_B is None and (self.config.rtc_train_all_delays or not self.training)
        if delay_BK is None:
            delay_BK = self._delays(len(batch[ACTION])) if given_B is None else self._delays_where_free(given_B)
        prefix_BPA = self._perturb_prefix(batch[ACTION][:, : self.config.rtc_max_delay], given_B)
        noise_BL = self._noise(batch)
        known_BK = self._drop_prefixes(delay_BK)
        predicted_BKCA, aux = self.model(batch, delay_BK, prefix_BPA, noise_BL, known_BK)
        target_BKCA, valid_BKC = self.targets(batch, delay_BK)
        predicted_BKCA = predicted_BKCA.float()
        weight_BK1 = self.delay_weight[delay_BK][..., None]
        l1 = masked_l1(predicted_BKCA, target_BKCA, valid_BKC, weight_BK1, shared=self.training)
        metrics = {"l1_loss": l1.detach()}
        if every:
            per_delay = l1_per_delay(predicted_BKCA.detach(), target_BKCA, valid_BKC, shared=self.training).unbind()
            metrics |= {f"l1_delay_{delay}": value for delay, value in enumerate(per_delay)}

        def predict(other: Batch) -> Tensor:
            return self.model(other, delay_BK, prefix_BPA, noise_BL, known_BK)[0].float().flatten(1, 2)

        return self._whole_loss(l1, batch, aux, predicted_BKCA.flatten(1, 2), predict, metrics), metrics

    def targets(self, batch: Batch, delay_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Return the targets (B, K, C, A) of a batch for some delays, and which of them count (B, K, C)."""
        index_BKC = self.target_index[delay_BK]
        sample_B11 = torch.arange(len(index_BKC), device=index_BKC.device)[:, None, None]
        valid_BKC = ~batch[ACTION_IS_PAD][sample_B11, index_BKC] & self.in_loss[delay_BK]
        return batch[ACTION][sample_B11, index_BKC], valid_BKC

    @torch.no_grad()
    def predict_action_chunk(  # pyright: ignore[reportIncompatibleMethodOverride] - delay and prefix come in addition
        self,
        batch: Batch,
        delay: Tensor | None = None,
        prefix: Tensor | None = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """Return normalised relative chunks (N, C, A).

        The first action belongs to step t + delay (window `shifted`) or t (`same`).

        Args:
            batch: normalised features of N samples.
            delay: (N,) int64 estimated delays, 0 … P; 0 everywhere if None.
            prefix: (N, P, A) committed relative actions, normalised; entries from the delay on are not read.
            known: (N,) int64, how many of them, 0 … delay, are read; the others are padding. All if None.

        Raises:
            UsageError: if a delay or `known` is out of range, or a delay is given without a prefix.
            FeatureMismatch: if `delay`, `prefix` or `known` has another shape.
        """
        self.eval()
        self.check_batch(batch)
        rows = len(batch[next(iter(self.config.input_features))])
        delay_N, prefix_NPA = self._check_prefix(rows, delay, prefix)
        known_N = delay_N if known is None else _checked_known(known, delay_N)
        inputs = {key: batch[key] for key in self.config.network_inputs}
        chunk_N1CA, _ = self.model(inputs, delay_N[:, None], prefix_NPA, known_BK=known_N[:, None])
        return chunk_N1CA[:, 0].float()

    def _perturb_prefix(self, prefix_BPA: Tensor, given_B: Tensor | None) -> Tensor:
        """Return training prefixes with a deviation that grows linearly, random in size and direction per sample.

        A policy's own prefixes, those of corrections, stay as they are.
        """
        if not self.training or self.config.rtc_prefix_noise == 0:
            return prefix_BPA
        steps = prefix_BPA.shape[1]
        ramp_P1 = torch.arange(1, steps + 1, device=prefix_BPA.device)[:, None] / steps
        amount_B11 = torch.rand_like(prefix_BPA[:, :1, :1])
        direction_B1A = torch.randn_like(prefix_BPA[:, :1])
        deviation_BPA = self.config.rtc_prefix_noise * amount_B11 * direction_B1A * ramp_P1
        return prefix_BPA + (deviation_BPA if given_B is None else deviation_BPA * (given_B < 0)[:, None, None])

    def _drop_prefixes(self, delay_BK: Tensor) -> Tensor:
        """Return how many commands of each prefix are seen in training (B, K)."""
        if not self.training or self.config.rtc_prefix_dropout == 0:
            return delay_BK
        kept_B1 = torch.rand(len(delay_BK), 1, device=delay_BK.device) >= self.config.rtc_prefix_dropout
        return delay_BK * kept_B1

    def _delays(self, rows: int) -> Tensor:
        if self.config.rtc_train_all_delays or not self.training:
            return self.all_delays.expand(rows, -1)
        return torch.randint(self.config.delays, (rows, 1), device=self.all_delays.device)

    def _delays_where_free(self, given_B: Tensor) -> Tensor:
        """Return the delay of each sample (B, 1): its own, or a random one for a sample that serves every delay."""
        free_B = torch.randint(self.config.delays, given_B.shape, device=given_B.device)
        return torch.where(given_B < 0, free_B, given_B)[:, None]

    def _check_prefix(self, rows: int, delay: Tensor | None, prefix: Tensor | None) -> tuple[Tensor, Tensor]:
        wanted = (rows, self.config.rtc_max_delay, self.config.action_dim)
        delay = torch.zeros(rows, dtype=torch.int64, device=self.all_delays.device) if delay is None else delay
        if tuple(delay.shape) != (rows,):
            raise FeatureMismatch(f"delay has shape {tuple(delay.shape)}; needed is ({rows},)")
        if rows and (int(delay.min()) < 0 or int(delay.max()) > self.config.rtc_max_delay):
            raise UsageError(
                f"estimated delays are {delay.tolist()}; the policy was trained for 0 to {self.config.rtc_max_delay}"
            )
        if prefix is None:
            if rows and int(delay.max()) > 0:
                raise UsageError(f"estimated delays are {delay.tolist()}, but no committed prefix was given")
            prefix = torch.zeros(wanted, device=delay.device)
        if tuple(prefix.shape) != wanted:
            raise FeatureMismatch(f"prefix has shape {tuple(prefix.shape)}; needed is {wanted}")
        return delay, prefix


def _checked_known(known_N: Tensor, delay_N: Tensor) -> Tensor:
    if known_N.shape != delay_N.shape:
        raise FeatureMismatch(f"known has shape {tuple(known_N.shape)}; needed is {tuple(delay_N.shape)}")
    if bool(((known_N < 0) | (known_N > delay_N)).any()):
        raise UsageError(f"known commands are {known_N.tolist()}; allowed are 0 to the delays {delay_N.tolist()}")
    return known_N
