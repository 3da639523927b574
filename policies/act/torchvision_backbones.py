"""torchvision's image backbones: ResNets whose norms do not learn, and the backbone `vit`.

Legend: `M` images (batch × cameras) · `F` channels of the feature map · `h`, `w` its height and width · `N` patches ·
`D` width.
"""

from collections import OrderedDict

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import get_model
from torchvision.models.vision_transformer import Encoder
from torchvision.ops import FrozenBatchNorm2d

from act_eval.policies.act.backbone import InStage, StagedBackbone
from act_eval.policies.act.config import VIT_PATCH, ACTConfig

_HEAD_WIDTH = 64
_LAYERS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")


class FrozenNorm(FrozenBatchNorm2d):
    """`FrozenBatchNorm2d` that writes no second copy of a convolution's output.

    On a CPU the memory that two more of them need takes longer than the arithmetic: two images of 480 × 640 through
    ResNet-18 and ACT's transformer take 545 ms in place of 596 ms in float32, 257 in place of 347 ms under bfloat16,
    where the original would also go on in float32 behind every norm. In float32 its results are the same to the bit.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return (M, F, h, w) features normalised; float32 ones in the place of `x`."""
        if x.dtype != torch.float32:
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        scale_F = self.weight * (self.running_var + self.eps).rsqrt()
        offset_F = self.bias - self.running_mean * scale_F
        return x.mul_(scale_F[:, None, None]).add_(offset_F[:, None, None])


def resnet(config: ACTConfig, load_weights: bool) -> nn.Module:
    """Return the ResNet that `config` names, without its head: images (M, 3, H, W) → features (M, F, h, w)."""
    network = get_model(
        config.vision_backbone,
        weights=config.pretrained_backbone_weights if load_weights else None,
        replace_stride_with_dilation=[False, False, config.replace_final_stride_with_dilation],
        norm_layer=FrozenNorm,
    )
    return nn.Sequential(OrderedDict((name, getattr(network, name)) for name in _LAYERS))


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
        x_MND = rearrange(self.conv_proj(images_M3HW), "m d h w -> m (h w) d")
        x_MND = self.encoder.dropout(x_MND + self.encoder.pos_embedding)
        for number, layer in enumerate(self.encoder.layers):
            x_MND = layer(x_MND)
            if in_stage is not None:
                features_MDN = in_stage(number, rearrange(x_MND, "m n d -> m d n")[..., None])[..., 0]
                x_MND = rearrange(features_MDN, "m d n -> m n d")
        return rearrange(self.encoder.ln(x_MND), "m (h w) d -> m d h w", h=self.size[0])
