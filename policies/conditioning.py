"""Goal conditioning of a network beside the plain goal token: one interface, one class per variant.

`token` and `unread` add nothing here. `film`, `strong` and `auxiliary` are modules that the network calls at fixed
points; `contrastive` is a term of the loss; `crop` cuts the overhead camera's image around the target before the
network sees it. With fresh weights every module leaves the network's chunk as the plain token has it.

Legend: `B` batch · `M` images (cameras × batch, camera by camera) · `F` channels · `h`, `w` feature map ·
`N` tokens · `D` width · `E` size of the goal input · `C` chunk · `A` action dim.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from act_eval.policies.act.config import ACTConfig

_FILM_WIDTH = 64
_WIDER = 4  # width of the embedding of `strong`, in model widths

Projection = tuple[float, ...]
"""Homography, row by row (9,): (x, y, 1) on the table [m] → image coordinates (u, v, 1) up to scale, 0 to 1 from the
upper left corner."""


class Conditioning(nn.Module):
    """The plain token, or none: adds nothing. Variants override the methods that they change."""

    def in_stage(self, stage: int, features_MFhw: Tensor, goal_ME: Tensor) -> Tensor:
        """Return a backbone stage's features; called after its first block."""
        return features_MFhw

    def in_layer(self, layer: int, tokens_BND: Tensor, goal_BE: Tensor) -> Tensor:
        """Return the tokens that an encoder layer reads."""
        return tokens_BND

    def for_queries(self, goal_BE: Tensor) -> Tensor | None:
        """Return an offset (B, D) to the positions of all decoder queries of a sample."""
        return None

    def recovered(self, memory_BND: Tensor) -> Tensor | None:
        """Return the goal (B, E) predicted from the encoder's output."""
        return None


class Film(Conditioning):
    """Scale and shift of every channel in every backbone stage (FiLM, arXiv 1709.07871); the identity at first."""

    def __init__(self, goal_size: int, channels: Sequence[int]) -> None:
        """Take E and the channels of each stage."""
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(goal_size, _FILM_WIDTH), nn.ReLU())
        self.stages = nn.ModuleList(_zero_init(nn.Linear(_FILM_WIDTH, 2 * width)) for width in channels)

    def in_stage(self, stage: int, features_MFhw: Tensor, goal_ME: Tensor) -> Tensor:
        scale_MF11, shift_MF11 = self.stages[stage](self.embed(goal_ME))[..., None, None].chunk(2, dim=1)
        return features_MFhw * (1 + scale_MF11) + shift_MF11


class Strong(Conditioning):
    """A wider embedding, added to the tokens before every encoder layer and to the decoder's queries."""

    def __init__(self, goal_size: int, width: int, layers: int) -> None:
        """Take E, D and the number of encoder layers."""
        super().__init__()
        self.embed = nn.Sequential(
            nn.Linear(goal_size, _WIDER * width), nn.ReLU(), nn.Linear(_WIDER * width, width), nn.ReLU()
        )
        self.layers = nn.ModuleList(_zero_init(nn.Linear(width, width)) for _ in range(layers))
        self.queries = _zero_init(nn.Linear(width, width))

    def in_layer(self, layer: int, tokens_BND: Tensor, goal_BE: Tensor) -> Tensor:
        return tokens_BND + self.layers[layer](self.embed(goal_BE))[:, None]

    def for_queries(self, goal_BE: Tensor) -> Tensor:
        return self.queries(self.embed(goal_BE))


class Auxiliary(Conditioning):
    """Predicts the goal from the mean of the encoder's image tokens, for an auxiliary loss."""

    def __init__(self, goal_size: int, width: int, first: int) -> None:
        """Take E, D and the number of tokens before the image tokens."""
        super().__init__()
        self.first = first
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, goal_size))

    def recovered(self, memory_BND: Tensor) -> Tensor:
        return self.head(memory_BND[:, self.first :].mean(dim=1))


def build_conditioning(config: "ACTConfig", channels: Sequence[int]) -> Conditioning:
    """Return the module of a configuration.

    Args:
        config: its `conditioning` is the variant.
        channels: of the backbone's stages; empty without cameras.
    """
    goal = config.env_state_feature
    size = 0 if goal is None else goal.shape[0]
    match config.conditioning:
        case "film":
            return Film(size, channels)
        case "strong":
            return Strong(size, config.dim_model, config.n_encoder_layers)
        case "auxiliary":
            # Latent, goal and, if declared, joint tokens come before the image tokens.
            return Auxiliary(size, config.dim_model, first=3 if config.state_feature else 2)
        case "token" | "unread" | "contrastive" | "crop":
            return Conditioning()


def contrastive_hinge(
    goal_BE: Tensor, chunk_BCA: Tensor, other_goal_BE: Tensor, other_chunk_BCA: Tensor, margin: float
) -> Tensor:
    """Return the hinge loss on chunks that differ too little for the distance of their goals, mean over B.

    Args:
        goal_BE: normalised goals.
        chunk_BCA: chunks predicted with them.
        other_goal_BE: other goals for the same observations.
        other_chunk_BCA: chunks predicted with those.
        margin: smallest mean absolute difference of chunks (normalised) per unit of goal distance (normalised).
    """
    apart_B = torch.linalg.vector_norm(goal_BE - other_goal_BE, dim=-1)
    moved_B = (chunk_BCA - other_chunk_BCA).abs().mean(dim=(1, 2))
    return functional.relu(margin * apart_B - moved_B).mean()


def cut_around(images_B3HW: Tensor, xy_B2: Tensor, projection: Projection, share: float) -> Tensor:
    """Return crops around a point on the table, resized to the size of the images.

    Args:
        images_B3HW: normalised; padded with their mean colour, 0.
        xy_B2: points on the table [m].
        projection: of the camera.
        share: side of the crop, as a share of the image's side.
    """
    homography_33 = xy_B2.new_tensor(projection).view(3, 3)
    uvw_B3 = functional.pad(xy_B2, (0, 1), value=1.0) @ homography_33.T
    centre_B2 = 2 * uvw_B3[:, :2] / uvw_B3[:, 2:] - 1  # grid_sample counts from -1 to 1
    scale_B22 = (share * torch.eye(2, device=xy_B2.device)).expand(len(xy_B2), -1, -1)
    grid_BHW2 = functional.affine_grid(
        torch.cat((scale_B22, centre_B2[:, :, None]), dim=2), list(images_B3HW.shape), align_corners=False
    )
    return functional.grid_sample(images_B3HW, grid_BHW2, align_corners=False)


def _zero_init(layer: nn.Linear) -> nn.Linear:
    """Initialise a layer to an output of zero."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
