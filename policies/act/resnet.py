"""torchvision's ResNets with LeRobot's parameter names and norms that do not learn."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import get_model
from torchvision.ops import FrozenBatchNorm2d

from act_eval.policies.act.config import ACTConfig

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
