"""Configuration of an ACT network, in LeRobot's field names with act_eval's additions.

A configuration that keeps every added field at its default is LeRobot's `act` and has LeRobot's parameter tree;
any other one carries its own `type`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, get_args

from act_eval.errors import UnknownName, UsageError
from act_eval.types import ACTION, ENVIRONMENT_STATE, IMAGE_PREFIX, STATE

FeatureType = Literal["STATE", "ENV", "VISUAL", "ACTION"]
NormMode = Literal["MEAN_STD", "MIN_MAX", "QUANTILES", "QUANTILE10", "IDENTITY"]
Activation = Literal["relu", "gelu"]
BackboneNorm = Literal["layer", "group"]
ConditioningKind = Literal["token", "unread", "film", "auxiliary", "contrastive", "crop", "strong"]
CropAs = Literal["replace", "add"]

NARROW = "resnet_narrow"
TORCHVISION_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
VIT = "vit"
BACKBONES = (*TORCHVISION_RESNETS, NARROW, VIT)
VIT_PATCH = 16  # pixels, as in torchvision's ViT-B/16
OVERHEAD = IMAGE_PREFIX + "overhead"
"""The camera that conditioning `crop` cuts."""
OVERHEAD_CUT = IMAGE_PREFIX + "overhead_cut"
"""The cut image, where it is a camera of its own."""
_LARGEST, _MOST_PIXELS = 2**20, 2**13
_SIZES = (
    *("chunk_size", "dim_model", "n_heads", "dim_feedforward", "n_encoder_layers", "n_decoder_layers"),
    *("n_vae_encoder_layers", "latent_dim", "vit_width", "vit_layers"),
)
DEFAULT_NORMALIZATION: Mapping[str, NormMode] = {
    "VISUAL": "MEAN_STD",
    "STATE": "MEAN_STD",
    "ENV": "MEAN_STD",  # LeRobot leaves them as they are; here the goal input is connected and normalised
    "ACTION": "MEAN_STD",
}


@dataclass(frozen=True)
class Feature:
    """One input or output: LeRobot's `PolicyFeature`."""

    type: FeatureType
    shape: tuple[int, ...]
    """Images as (3, H, W), vectors as (n,)."""

    def __post_init__(self) -> None:
        most = _MOST_PIXELS if self.type == "VISUAL" else _LARGEST
        if not all(1 <= size <= most for size in self.shape):
            raise UsageError(f"a {self.type} feature has shape {self.shape}; each size must be 1 to {most}")


def check_choices(config: Any, **choices: Any) -> None:
    """Refuse a field's value that is not of its `Literal`.

    Raises:
        UnknownName: naming the field.
    """
    for name, allowed in choices.items():
        if getattr(config, name) not in get_args(allowed):
            raise UnknownName(name, getattr(config, name), get_args(allowed))


@dataclass(frozen=True, kw_only=True)
class ACTConfig:
    """LeRobot's ACT configuration with the fields that act_eval adds at the end."""

    added_fields: ClassVar[tuple[str, ...]] = (
        "backbone_widths",
        "backbone_norm",
        "camera_embedding",
        "attention_dropout",
        *("vit_width", "vit_layers"),
        *("conditioning", "auxiliary_weight", "contrastive_weight", "contrastive_margin"),
        *("crop_share", "crop_as", "crop_projection"),
    )

    input_features: Mapping[str, Feature] = field(default_factory=dict)
    """`observation.state`, `observation.environment_state`, `observation.images.NAME`: those that the network reads."""
    output_features: Mapping[str, Feature] = field(default_factory=dict)
    """`action`, (A,)."""
    normalization_mapping: Mapping[str, NormMode] = field(default_factory=lambda: dict(DEFAULT_NORMALIZATION))
    """How each kind of feature is normalised; a kind that is not named stays as it is."""

    n_obs_steps: int = 1
    """Observations per prediction; ACT knows 1 only."""
    chunk_size: int = 100
    """C, actions per prediction."""
    n_action_steps: int = 100
    """Actions of a chunk that run before the next prediction: s, where no flag says otherwise."""

    vision_backbone: str = "resnet18"
    """A torchvision ResNet with frozen batch norm, `resnet_narrow`, or `vit` (torchvision's, from scratch)."""
    pretrained_backbone_weights: str | None = None
    """Name of torchvision weights (downloaded by torchvision), e.g. `ResNet18_Weights.IMAGENET1K_V1`."""
    replace_final_stride_with_dilation: bool = False
    """Stride 16 instead of 32 at the end (bottleneck ResNets only)."""

    pre_norm: bool = False
    """Layer norm before instead of after attention and feed-forward blocks."""
    dim_model: int = 512
    """D, width of a token."""
    n_heads: int = 8
    dim_feedforward: int = 3200
    feedforward_activation: Activation = "relu"
    n_encoder_layers: int = 4
    n_decoder_layers: int = 1
    """1 for the published results: the original code used its first decoder layer only."""

    use_vae: bool = True
    """Whether a variational encoder reads the target actions in training."""
    latent_dim: int = 32
    """L, width of the latent."""
    n_vae_encoder_layers: int = 4

    temporal_ensemble_coeff: float | None = None
    """Weight exp(-coeff · i) of the i-th oldest chunk, where chunks are averaged; needs `n_action_steps` 1."""

    dropout: float = 0.1
    kl_weight: float = 10.0

    optimizer_lr: float = 1e-5
    optimizer_weight_decay: float = 1e-4
    optimizer_lr_backbone: float = 1e-5

    backbone_widths: tuple[int, ...] = (32, 64, 128)
    """Channels of the stages of `resnet_narrow`; n stages end at stride 2^(n+1)."""
    backbone_norm: BackboneNorm = "layer"
    """Norm of `resnet_narrow`: over the channels of a pixel, or over 8 groups of channels of an image."""
    camera_embedding: bool = False
    """Add a learned vector per camera to its tokens' positions (LeRobot's cameras share theirs)."""
    attention_dropout: float | None = None
    """Dropout of attention weights where it is not `dropout`; 0 allows the fused attention kernels in training."""
    vit_width: int = 192
    """Width of `vit`, a multiple of 64 (one head each)."""
    vit_layers: int = 6
    """Layers of `vit`."""
    conditioning: ConditioningKind = "token"
    """Goal conditioning: as a `token` of the encoder; declared but not read (`unread`, a
    control); or as a token and by what `act_eval.policies.conditioning` adds."""
    auxiliary_weight: float = 0.1
    """Weight of the loss of `auxiliary`, the mean absolute error of the goal predicted from the encoder's output."""
    contrastive_weight: float = 1.0
    """Weight of the loss of `contrastive`."""
    contrastive_margin: float = 0.1
    """Smallest change of a chunk per unit of change of the goal, both normalised."""
    crop_share: float = 0.5
    """Side of the cut of `crop`, as a share of the image's side."""
    crop_as: CropAs = "replace"
    """Whether the crop replaces the overhead camera's image or is one more camera."""
    crop_projection: tuple[float, ...] | None = None
    """Homography (9,), row by row: (x, y, 1) on the table [m] to the overhead image, (u, v) from 0 to 1. The
    environment's, filled in when training begins."""

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_numbers()
        self._check_features()

    @property
    def type(self) -> str:
        """Name of this kind of policy in files: `act` as long as LeRobot can express it."""
        return "act_eval_act" if self.beyond_lerobot() else "act"

    def beyond_lerobot(self) -> list[str]:
        """Return the names of the fields whose values LeRobot's ACT cannot express."""
        default = {f.name: f.default for f in fields(self)}
        beyond = [name for name in self.added_fields if getattr(self, name) != default[name]]
        return ["vision_backbone", *beyond] if self.vision_backbone in (NARROW, VIT) else beyond

    @property
    def action_dim(self) -> int:
        """A."""
        return self.output_features[ACTION].shape[0]

    @property
    def target_steps(self) -> int:
        """T, actions per training sample."""
        return self.chunk_size

    @property
    def image_features(self) -> dict[str, Feature]:
        """Cameras in their order."""
        return {key: f for key, f in self.input_features.items() if f.type == "VISUAL"}

    @property
    def network_images(self) -> dict[str, Feature]:
        """Images that the network sees, in their order: the cameras, and what conditioning adds to them."""
        images = self.image_features
        if self.conditioning == "crop" and self.crop_as == "add" and OVERHEAD in images:
            images = images | {OVERHEAD_CUT: images[OVERHEAD]}
        return images

    @property
    def network_inputs(self) -> dict[str, Feature]:
        """Everything that the network is handed: the declared inputs, and what conditioning adds to them."""
        return {**self.input_features, **self.network_images}

    @property
    def state_feature(self) -> Feature | None:
        """Joint angles."""
        return self.input_features.get(STATE)

    @property
    def env_state_feature(self) -> Feature | None:
        """Coordinates of the target."""
        return next((f for f in self.input_features.values() if f.type == "ENV"), None)

    @property
    def coordinate_token(self) -> Feature | None:
        """The goal input if it is a token of the encoder."""
        return None if self.conditioning == "unread" else self.env_state_feature

    def _check_choices(self) -> None:
        # LeRobot accepts "glu" too, whose halved width its own second linear layer then cannot take.
        check_choices(self, conditioning=ConditioningKind, crop_as=CropAs, feedforward_activation=Activation)
        check_choices(self, backbone_norm=BackboneNorm)
        if self.vision_backbone not in BACKBONES:
            raise UnknownName("vision_backbone", self.vision_backbone, BACKBONES)
        for kind, mode in self.normalization_mapping.items():
            if mode not in get_args(NormMode):
                raise UnknownName(f"normalization mode of {kind}", mode, get_args(NormMode))
        if self.replace_final_stride_with_dilation and self.vision_backbone in ("resnet18", "resnet34", NARROW):
            raise UsageError(
                "replace_final_stride_with_dilation needs a bottleneck ResNet (resnet50 and up), "
                f"not {self.vision_backbone}"
            )

    def _check_numbers(self) -> None:
        for name in _SIZES:
            if not 1 <= getattr(self, name) <= _LARGEST:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1, and at most {_LARGEST}")
        if self.n_obs_steps != 1:
            raise UsageError(f"n_obs_steps is {self.n_obs_steps}; ACT reads exactly 1 observation")
        if not 1 <= self.n_action_steps <= self.chunk_size:
            raise UsageError(f"n_action_steps is {self.n_action_steps}; allowed: 1 to chunk_size = {self.chunk_size}")
        if self.temporal_ensemble_coeff is not None and self.n_action_steps != 1:
            raise UsageError(f"temporal_ensemble_coeff needs n_action_steps = 1, got {self.n_action_steps}")
        unit = 8 if self.backbone_norm == "group" else 1
        if not self.backbone_widths or not all(1 <= w <= _LARGEST and w % unit == 0 for w in self.backbone_widths):
            raise UsageError(
                f"backbone_widths is {self.backbone_widths}; it needs one width per stage, a multiple of {unit}"
            )
        if self.dim_model % self.n_heads or self.dim_model % 4:
            raise UsageError(
                f"dim_model is {self.dim_model}; it must be a multiple of n_heads = {self.n_heads} and of 4 "
                "(a quarter of it each for sine and cosine of x and y)"
            )
        for name in ("auxiliary_weight", "contrastive_weight", "contrastive_margin"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be finite and at least 0")
        if not 0 < self.crop_share <= 1:
            raise UsageError(f"crop_share is {self.crop_share}; allowed: above 0 up to 1")
        if self.crop_projection is not None and len(self.crop_projection) != 9:
            raise UsageError(f"crop_projection is {self.crop_projection}; it needs 9 numbers")
        for name in ("dropout", "attention_dropout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise UsageError(f"{name} is {value}; allowed: 0 up to, not including, 1")

    def _check_features(self) -> None:
        action = self.output_features.get(ACTION)
        if action is None or action.type != "ACTION" or len(action.shape) != 1:
            raise UsageError(
                f"output_features needs {ACTION!r} of type ACTION with shape (A,), got {self.output_features}"
            )
        for key, feature in self.input_features.items():
            wanted = 3 if feature.type == "VISUAL" else 1
            if feature.type == "ACTION" or len(feature.shape) != wanted or (wanted == 3 and feature.shape[0] != 3):
                raise UsageError(f"input feature {key!r} is {feature}; allowed: VISUAL (3, H, W), STATE (n,), ENV (n,)")
            # The mistake behind a "mode collapse": coordinates declared as a second STATE reach no layer.
            read = {"STATE": STATE, "ENV": ENVIRONMENT_STATE}.get(feature.type, key)
            if key != read:
                raise UsageError(
                    f"input feature {key!r} of type {feature.type} would reach no layer; only {read!r} is read"
                )
        kind, inputs = self.conditioning, list(self.input_features)
        if kind != "token" and self.env_state_feature is None:
            raise UsageError(f"conditioning {kind!r} needs {ENVIRONMENT_STATE!r} among the inputs")
        if kind in ("film", "auxiliary") and not self.image_features:
            raise UsageError(f"conditioning {kind!r} needs a camera among the inputs, got {inputs}")
        if kind == "crop" and OVERHEAD not in self.image_features:
            raise UsageError(f"conditioning 'crop' needs {OVERHEAD!r} among the inputs, got {inputs}")
        if self.vision_backbone == VIT:
            self._check_vit()
        if not self.image_features and self.env_state_feature is None:
            raise UsageError(f"ACT needs a camera or {ENVIRONMENT_STATE!r} among its inputs, got {inputs}")

    def _check_vit(self) -> None:
        if self.vit_width < 64 or self.vit_width % 64 or self.vit_layers < 1:
            raise UsageError(
                f"vit_width is {self.vit_width}, vit_layers {self.vit_layers}; allowed: a multiple of 64, at least 1"
            )
        if self.pretrained_backbone_weights is not None:
            raise UsageError(
                f"pretrained_backbone_weights is {self.pretrained_backbone_weights!r}; vit is trained from scratch"
            )
        sizes = {feature.shape[1:] for feature in self.image_features.values()}
        if len(sizes) > 1 or any(side % VIT_PATCH for size in sizes for side in size):
            raise UsageError(f"vit needs images of one size, a multiple of {VIT_PATCH} pixels, got {sorted(sizes)}")
