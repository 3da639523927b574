"""The ACT network with LeRobot's parameter tree: encoder over latent, state, goal and image tokens; decoder.

Legend: `B` batch · `V` cameras · `N` memory tokens · `C` chunk · `A` action dim · `D` width · `L` latent ·
`h`, `w` feature map · `M` images · `E` numbers of a coordinate.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from act_eval.policies.act.backbone import NarrowResNet, feature_size, run_stages, stage_channels
from act_eval.policies.act.config import NARROW, VIT, ACTConfig
from act_eval.policies.act.transformer import Decoder, Encoder
from act_eval.policies.conditioning import build_conditioning
from act_eval.types import ACTION, ENVIRONMENT_STATE, STATE

ACTION_IS_PAD = "action_is_pad"
Batch = Mapping[str, Tensor]
_TEMPERATURE = 10000.0  # of the sinusoidal positions

# einops registers a type at its first call: registered within a compiled graph, it has the graph compiled once more.
rearrange(nn.Parameter(torch.empty(1)), "n -> n")


class AuxOutputs(NamedTuple):
    """Outputs beside the chunk, for the loss; None where they are not computed."""

    latent_mean: Tensor | None = None
    """(B, L), of the latent's distribution."""
    latent_log_var: Tensor | None = None
    """(B, L), its log variance."""
    recovered: Tensor | None = None
    """(B, E), normalised goal predicted from the encoder's output."""


class ACT(nn.Module):
    """Normalised observation → normalised chunk.

    Everything that depends on shapes only (positions, masks) is a buffer, nothing is read back from the device,
    and no token passes through a Python list, so the whole forward pass is one graph for `torch.compile`.
    """

    vae_encoder_pos_enc: Tensor
    image_positions: Tensor

    def __init__(self, config: ACTConfig, load_backbone_weights: bool = True) -> None:
        """Build the network.

        Args:
            config: sizes and options.
            load_backbone_weights: whether `config.pretrained_backbone_weights` are fetched.
        """
        super().__init__()
        self.config = config
        dim = config.dim_model
        if config.use_vae:
            self._add_vae_encoder()
        if config.image_features:
            self.backbone = build_backbone(config, load_backbone_weights).to(memory_format=torch.channels_last)
        self.encoder = Encoder(config, config.n_encoder_layers)
        self.decoder = Decoder(config)
        if config.state_feature:
            self.encoder_robot_state_input_proj = nn.Linear(config.state_feature.shape[0], dim)
        if config.coordinate_token:
            self.encoder_env_state_input_proj = nn.Linear(config.coordinate_token.shape[0], dim)
        self.encoder_latent_input_proj = nn.Linear(config.latent_dim, dim)
        if config.image_features:
            self.encoder_img_feat_input_proj = nn.Conv2d(stage_channels(config)[-1], dim, kernel_size=1)
            positions = [sinusoid_2d(h, w, dim) for h, w in self._map_sizes()]
            self.register_buffer("image_positions", torch.cat(positions), persistent=False)
        vectors = 1 + sum(f is not None for f in (config.state_feature, config.coordinate_token))
        self.encoder_1d_feature_pos_embed = nn.Embedding(vectors, dim)
        self.decoder_pos_embed = nn.Embedding(config.chunk_size, dim)
        self.action_head = nn.Linear(dim, config.action_dim)
        if config.camera_embedding and config.image_features:
            self.camera_embed = nn.Embedding(len(config.network_images), dim)
        self._cameras_by_resolution: dict[tuple[int, ...], list[str]] = {}
        for key, feature in config.network_images.items():
            self._cameras_by_resolution.setdefault(feature.shape, []).append(key)
        for parameter in (*self.encoder.parameters(), *self.decoder.parameters()):
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        # Built last, so that the other weights are those that the same seed gives without it.
        self.conditioning = build_conditioning(config, stage_channels(config) if config.image_features else ())

    def forward(self, batch: Batch, noise_BL: Tensor | None = None) -> tuple[Tensor, AuxOutputs]:
        """Predict a chunk.

        Args:
            batch: normalised features; in training with a VAE also `action` (B, T, A) and `action_is_pad` (B, T).
            noise_BL: standard normal noise of the latent; drawn here if None.

        Returns:
            Normalised actions (B, C, A), and the auxiliary outputs.
        """
        latent_BL, aux = self.latent(batch, noise_BL)
        goal_BE = batch.get(ENVIRONMENT_STATE)
        memory_BND, pos_1ND = self.encode(*self.observation_tokens(batch, latent_BL), goal_BE)
        query_pos_BCD = self.query_positions(goal_BE)
        out_BGCD = self.decoder(None, query_pos_BCD[:, None], memory_BND, pos_1ND)
        return self.action_head(out_BGCD[:, 0]), self.with_recovered(aux, batch, memory_BND)

    def latent(self, batch: Batch, noise_BL: Tensor | None) -> tuple[Tensor, AuxOutputs]:
        """Return the latent (B, L), zero unless a VAE encodes targets in training, with its distribution."""
        first = batch[next(iter(self.config.input_features))]
        if not (self.config.use_vae and self.training and ACTION in batch):
            return first.new_zeros(first.shape[0], self.config.latent_dim), AuxOutputs()
        chunk = self.config.chunk_size
        tokens = [repeat(self.vae_encoder_cls_embed.weight, "n d -> b n d", b=first.shape[0])]
        if self.config.state_feature:
            tokens.append(self.vae_encoder_robot_state_input_proj(batch[STATE])[:, None])
        tokens.append(self.vae_encoder_action_input_proj(batch[ACTION][:, :chunk]))
        x_BND = torch.cat(tokens, dim=1)
        ignored_BC = batch[ACTION_IS_PAD][:, :chunk]
        ignored_BN = nn.functional.pad(ignored_BC, (len(tokens) - 1, 0))
        encoded_B1D = self.vae_encoder(x_BND, self.vae_encoder_pos_enc, ignored_BN, asking=slice(0, 1))
        mean_BL, log_var_BL = self.vae_encoder_latent_output_proj(encoded_B1D[:, 0]).chunk(2, dim=-1)
        noise_BL = torch.randn_like(mean_BL) if noise_BL is None else noise_BL
        return mean_BL + (log_var_BL / 2).exp() * noise_BL, AuxOutputs(mean_BL, log_var_BL)

    def observation_tokens(self, batch: Batch, latent_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Return the encoder's tokens (B, N, D) and their positions (1, N, D)."""
        vectors = [self.encoder_latent_input_proj(latent_BL)]
        if self.config.state_feature:
            vectors.append(self.encoder_robot_state_input_proj(batch[STATE]))
        if self.config.coordinate_token:
            vectors.append(self.encoder_env_state_input_proj(batch[ENVIRONMENT_STATE]))
        tokens_BND = torch.stack(vectors, dim=1)
        pos_1ND = self.encoder_1d_feature_pos_embed.weight[None]
        if not self.config.image_features:
            return tokens_BND, pos_1ND
        tokens_BND = torch.cat((tokens_BND, self._image_tokens(batch)), dim=1)
        return tokens_BND, torch.cat((pos_1ND, self._image_token_positions()[None]), dim=1)

    def encode(self, tokens_BND: Tensor, pos_BND: Tensor, goal_BE: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the memory (B, N, D) with its positions; `goal_BE` is the goal input if declared."""
        if goal_BE is None:
            return self.encoder(tokens_BND, pos_BND), pos_BND
        before = partial(self.conditioning.in_layer, goal_BE=goal_BE)
        return self.encoder(tokens_BND, pos_BND, before=before), pos_BND

    def query_positions(self, goal_BE: Tensor | None) -> Tensor:
        """Return the positions of the decoder's queries, (1, C, D), or (B, C, D) if the goal changes them."""
        added_BD = None if goal_BE is None else self.conditioning.for_queries(goal_BE)
        query_pos_1CD = self.decoder_pos_embed.weight[None]
        return query_pos_1CD if added_BD is None else query_pos_1CD + added_BD[:, None]

    def with_recovered(self, aux: AuxOutputs, batch: Batch, memory_BND: Tensor) -> AuxOutputs:
        """Return `aux` with the goal predicted from the memory, for the auxiliary loss."""
        recovered_BE = self.conditioning.recovered(memory_BND) if ACTION in batch else None
        return AuxOutputs(aux.latent_mean, aux.latent_log_var, recovered_BE)

    def _image_tokens(self, batch: Batch) -> Tensor:
        by_camera: dict[str, Tensor] = {}
        for cameras in self._cameras_by_resolution.values():
            features = self.encoder_img_feat_input_proj(self._image_features(batch, cameras))
            tokens_VBND = rearrange(features, "(v b) d h w -> v b (h w) d", v=len(cameras))
            by_camera |= dict(zip(cameras, tokens_VBND.unbind(0), strict=True))
        return torch.cat([by_camera[key] for key in self.config.network_images], dim=1)

    def _image_features(self, batch: Batch, cameras: list[str]) -> Tensor:
        # Channels last is the layout that convolutions like best.
        images_M3HW = torch.cat([batch[key] for key in cameras]).contiguous(memory_format=torch.channels_last)
        if self.config.conditioning != "film":
            return self.backbone(images_M3HW)
        goal_ME = repeat(batch[ENVIRONMENT_STATE], "b e -> (v b) e", v=len(cameras))
        return run_stages(
            self.backbone, images_M3HW, lambda stage, x_MFhw: self.conditioning.in_stage(stage, x_MFhw, goal_ME)
        )

    def _image_token_positions(self) -> Tensor:
        if not self.config.camera_embedding:
            return self.image_positions
        embeds = [
            repeat(self.camera_embed.weight[i], "d -> n d", n=h * w) for i, (h, w) in enumerate(self._map_sizes())
        ]
        return self.image_positions + torch.cat(embeds)

    def _add_vae_encoder(self) -> None:
        config, dim = self.config, self.config.dim_model
        self.vae_encoder = Encoder(config, config.n_vae_encoder_layers)
        self.vae_encoder_cls_embed = nn.Embedding(1, dim)
        tokens = 1 + config.chunk_size
        if config.state_feature:
            self.vae_encoder_robot_state_input_proj = nn.Linear(config.state_feature.shape[0], dim)
            tokens += 1
        self.vae_encoder_action_input_proj = nn.Linear(config.action_dim, dim)
        self.vae_encoder_latent_output_proj = nn.Linear(dim, config.latent_dim * 2)
        self.register_buffer("vae_encoder_pos_enc", sinusoid_1d(tokens, dim)[None])

    def _map_sizes(self) -> list[tuple[int, int]]:
        """Return (h, w) of the images' feature maps."""
        return [feature_size(self.config, *image.shape[1:]) for image in self.config.network_images.values()]


def sinusoid_1d(length: int, dim: int) -> Tensor:
    """Return (length, dim) positions of "Attention is all you need", sine and cosine interleaved.

    Computed in double precision like LeRobot's table, then rounded.
    """
    position = torch.arange(length, dtype=torch.float64)[:, None]
    pair = torch.arange(dim, dtype=torch.float64) // 2
    angle = position / _TEMPERATURE ** (2 * pair / dim)
    angle[:, 0::2] = angle[:, 0::2].sin()
    angle[:, 1::2] = angle[:, 1::2].cos()
    return angle.float()


def sinusoid_2d(height: int, width: int, dim: int) -> Tensor:
    """Return (height * width, dim) positions of a feature map: half for y, half for x, each scaled to 2π (DETR)."""
    y = repeat(_axis(height, dim // 2), "h d -> (h w) d", w=width)
    x = repeat(_axis(width, dim // 2), "w d -> (h w) d", h=height)
    return torch.cat((y, x), dim=-1)


def _axis(length: int, dim: int) -> Tensor:
    place = torch.arange(1, length + 1, dtype=torch.float32)
    place = place / (place[-1] + 1e-6) * (2 * math.pi)
    pair = torch.arange(dim, dtype=torch.float32) // 2
    angle = place[:, None] / _TEMPERATURE ** (2 * pair / dim)
    return rearrange([angle[:, 0::2].sin(), angle[:, 1::2].cos()], "part n pair -> n (pair part)")


def build_backbone(config: ACTConfig, load_weights: bool) -> nn.Module:
    """Return a network (M, 3, H, W) → (M, F, h, w).

    Args:
        config: names the backbone.
        load_weights: whether `pretrained_backbone_weights` are fetched; False if a checkpoint follows.
    """
    if config.vision_backbone == NARROW:
        return NarrowResNet(config.backbone_widths, config.backbone_norm)
    if config.vision_backbone == VIT:
        from act_eval.policies.act.torchvision_backbones import ViT

        return ViT(config, feature_size(config, *next(iter(config.image_features.values())).shape[1:]))
    from act_eval.policies.act.torchvision_backbones import resnet

    return resnet(config, load_weights)
