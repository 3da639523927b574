"""Image backbones: torchvision's ResNets with LeRobot's parameter names, its ViT, and a narrow ResNet for small images.

torchvision is imported where a network needs it: it takes as long as half of torch, and the narrow ResNet none of it.

Legend: `M` images (batch × cameras) · `F` channels of the feature map · `h`, `w` its height and width.
"""

from collections.abc import Callable
from typing import cast

from einops import rearrange
from torch import Tensor, nn

from act_eval.policies.act.config import NARROW, VIT, VIT_PATCH, ACTConfig, BackboneNorm

_STAGES = {"layer1": 0, "layer2": 1, "layer3": 2, "layer4": 3}

InStage = Callable[[int, Tensor], Tensor]
"""(stage number, features (M, F, h, w) after its first block) → features of the next block."""


class StagedBackbone(nn.Module):
    """A backbone that applies an `InStage` by itself."""

    def forward(self, images_M3HW: Tensor, in_stage: InStage | None = None) -> Tensor:
        """Return the (M, F, h, w) features."""
        raise NotImplementedError


def run_stages(backbone: nn.Module, images_M3HW: Tensor, in_stage: InStage) -> Tensor:
    """Return what the backbone returns, with `in_stage` applied behind the first block of every stage."""
    if isinstance(backbone, StagedBackbone):
        return backbone(images_M3HW, in_stage)
    x = images_M3HW
    for name, module in backbone.named_children():
        if name not in _STAGES:
            x = module(x)
            continue
        first, *others = cast(nn.Sequential, module)
        x = in_stage(_STAGES[name], first(x))
        for block in others:
            x = block(x)
    return x


def stage_channels(config: ACTConfig) -> tuple[int, ...]:
    """Return the channels of each stage."""
    match config.vision_backbone:
        case "resnet18" | "resnet34":
            return (64, 128, 256, 512)
        case name if name == NARROW:
            return config.backbone_widths
        case name if name == VIT:
            return (config.vit_width,) * config.vit_layers
        case _:
            return (256, 512, 1024, 2048)


def feature_size(config: ACTConfig, height: int, width: int) -> tuple[int, int]:
    """Return (h, w): every halving rounds up."""
    if config.vision_backbone == VIT:
        return height // VIT_PATCH, width // VIT_PATCH
    return -(-height // _stride(config)), -(-width // _stride(config))


def narrows_to_one_pixel(config: ACTConfig) -> bool:
    """Return whether the last convolution that halves the images of a ResNet reads features one pixel wide."""
    widths = [width for _, _, width in (feature.shape for feature in config.image_features.values())]
    return config.vision_backbone != VIT and any(width <= _stride(config) // 2 for width in widths)


def _stride(config: ACTConfig) -> int:
    of_resnet = 4 if config.replace_final_stride_with_dilation else 5
    return 2 ** (len(config.backbone_widths) + 1 if config.vision_backbone == NARROW else of_resnet)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel.

    On a CPU in bfloat16 it takes half the time of a group norm (a training step of the backbone on 64 images of
    96 × 96: 54 ms against 110 ms), and it keeps the images of a batch independent, which batch norm would not.
    """

    def forward(self, input: Tensor) -> Tensor:
        return rearrange(super().forward(rearrange(input, "m f h w -> m h w f")), "m h w f -> m f h w")


def _norm(kind: BackboneNorm, channels: int) -> nn.Module:
    return ChannelNorm(channels) if kind == "layer" else nn.GroupNorm(8, channels)


class NarrowResNet(StagedBackbone):
    """A ResNet of basic blocks, two per stage, trained from scratch.

    The stem has stride 4, every stage after the first one halves.
    """

    def __init__(self, widths: tuple[int, ...], norm: BackboneNorm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], kernel_size=7, stride=2, padding=3, bias=False)
        self.norm1 = _norm(norm, widths[0])
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        stages = []
        for stage, width in enumerate(widths):
            before = widths[max(stage - 1, 0)]
            stages += [_BasicBlock(before, width, 1 if stage == 0 else 2, norm), _BasicBlock(width, width, 1, norm)]
        self.blocks = nn.Sequential(*stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images_M3HW: Tensor, in_stage: InStage | None = None) -> Tensor:
        x = self.maxpool(self.relu(self.norm1(self.conv1(images_M3HW))))
        if in_stage is None:
            return self.blocks(x)
        for number, block in enumerate(self.blocks):
            x = block(x)
            x = in_stage(number // 2, x) if number % 2 == 0 else x  # two blocks per stage
        return x


class _BasicBlock(nn.Module):
    def __init__(self, before: int, width: int, stride: int, norm: BackboneNorm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.norm1 = _norm(norm, width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = _norm(norm, width)
        self.relu = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or before != width:
            self.downsample = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), _norm(norm, width))
        # A block starts as the identity, so that depth does not hurt at the beginning of training.
        nn.init.zeros_(cast(Tensor, self.norm2.weight))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        return self.relu(y + self.downsample(x))
