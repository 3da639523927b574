"""The backbone `vit`.

Legend: `M` images (batch × cameras) · `N` patches · `D` width.
"""

from torch import Tensor, nn
from torchvision.models.vision_transformer import Encoder

from act_eval.policies.act.backbone import InStage, StagedBackbone
from act_eval.policies.act.config import VIT_PATCH, ACTConfig

_HEAD_WIDTH = 64


class ViT(StagedBackbone):
    """torchvision's vision transformer without class token and head: patches → layers → a map of features.

    A layer is a stage, and behind it is "behind its first block".
    """

    def __init__(self, config: ACTConfig, size: tuple[int, int]) -> None:
        super().__init__()
        width = config.vit_width
        self.size = size
        self.conv_proj = nn.Conv2d(3, width, kernel_size=VIT_PATCH, stride=VIT_PATCH)
        self.encoder = Encoder(
            seq_length=self.size[0] * self.size[1],
            num_layers=config.vit_layers,
            num_heads=width // _HEAD_WIDTH,
            hidden_dim=width,
            mlp_dim=4 * width,
            dropout=config.dropout,
            attention_dropout=config.dropout,
        )

    def forward(self, images_M3HW: Tensor, in_stage: InStage | None = None) -> Tensor:
        x_MND = self.conv_proj(images_M3HW).flatten(2).transpose(1, 2)
        x_MND = self.encoder.dropout(x_MND + self.encoder.pos_embedding)
        for number, layer in enumerate(self.encoder.layers):
            x_MND = layer(x_MND)
            if in_stage is not None:
                x_MND = in_stage(number, x_MND.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)
        return self.encoder.ln(x_MND).transpose(1, 2).unflatten(2, self.size)
