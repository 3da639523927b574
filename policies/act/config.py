"""What an ACT network is made of, in LeRobot's field names, and what act_eval adds to them.

A configuration that keeps every added field at its default is LeRobot's `act` and has LeRobot's parameter tree;
any other one carries its own `type`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal, get_args

from act_eval.errors import UnknownName, UsageError
from act_eval.types import ACTION, ENVIRONMENT_STATE, STATE

FeatureType = Literal["STATE", "ENV", "VISUAL", "ACTION"]
NormMode = Literal["MEAN_STD", "MIN_MAX", "IDENTITY"]
Activation = Literal["relu", "gelu"]
BackboneNorm = Literal["layer", "group"]
ConditioningKind = Literal["token", "unread"]

NARROW = "resnet_narrow"
TORCHVISION_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
BACKBONES = (*TORCHVISION_RESNETS, NARROW)
DEFAULT_NORMALIZATION: Mapping[str, NormMode] = {
    "VISUAL": "MEAN_STD",
    "STATE": "MEAN_STD",
    "ENV": "MEAN_STD",  # LeRobot leaves coordinates as they are; connected, normalised coordinates are the point here
    "ACTION": "MEAN_STD",
}


@dataclass(frozen=True)
class Feature:
    """One input or output: LeRobot's `PolicyFeature`."""

    type: FeatureType
    shape: tuple[int, ...]
    """Images as (3, H, W), vectors as (n,)."""


@dataclass(frozen=True, kw_only=True)
class ACTConfig:
    """LeRobot's ACT configuration with the fields that act_eval adds at the end."""

    added_fields: ClassVar[tuple[str, ...]] = (
        "backbone_widths",
        "backbone_norm",
        "camera_embedding",
        "attention_dropout",
        "conditioning",
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
    """Actions of a chunk that `select_action` hands out before it predicts again."""

    vision_backbone: str = "resnet18"
    """A torchvision ResNet with frozen batch norm, or `resnet_narrow`."""
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
    """Weight exp(-coeff · i) of the i-th oldest chunk in `select_action`; needs `n_action_steps` 1."""

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
    conditioning: ConditioningKind = "token"
    """How the coordinates enter: as a token, or not at all although they are declared (`unread`, a control)."""

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
        return ["vision_backbone", *beyond] if self.vision_backbone == NARROW else beyond

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
    def state_feature(self) -> Feature | None:
        """Joint angles."""
        return self.input_features.get(STATE)

    @property
    def env_state_feature(self) -> Feature | None:
        """Coordinates of the target."""
        return next((f for f in self.input_features.values() if f.type == "ENV"), None)

    @property
    def coordinate_token(self) -> Feature | None:
        """The coordinates where they are a token of the encoder's."""
        return None if self.conditioning == "unread" else self.env_state_feature

    def _check_choices(self) -> None:
        if self.conditioning not in get_args(ConditioningKind):
            raise UnknownName("conditioning", self.conditioning, get_args(ConditioningKind))
        if self.vision_backbone not in BACKBONES:
            raise UnknownName("vision_backbone", self.vision_backbone, BACKBONES)
        if self.feedforward_activation not in ("relu", "gelu"):
            # LeRobot accepts "glu", whose halved width its own second linear layer then cannot take.
            raise UnknownName("feedforward_activation", self.feedforward_activation, ("relu", "gelu"))
        if self.backbone_norm not in ("layer", "group"):
            raise UnknownName("backbone_norm", self.backbone_norm, ("layer", "group"))
        for kind, mode in self.normalization_mapping.items():
            if mode not in ("MEAN_STD", "MIN_MAX", "IDENTITY"):
                raise UnknownName(f"normalization mode of {kind}", mode, ("MEAN_STD", "MIN_MAX", "IDENTITY"))
        if self.replace_final_stride_with_dilation and self.vision_backbone in ("resnet18", "resnet34", NARROW):
            raise UsageError(
                "replace_final_stride_with_dilation needs a bottleneck ResNet (resnet50 and up), "
                f"not {self.vision_backbone}"
            )

    def _check_numbers(self) -> None:
        if self.n_obs_steps != 1:
            raise UsageError(f"n_obs_steps is {self.n_obs_steps}; ACT reads exactly 1 observation")
        if not 1 <= self.n_action_steps <= self.chunk_size:
            raise UsageError(f"n_action_steps is {self.n_action_steps}; allowed: 1 to chunk_size = {self.chunk_size}")
        if self.temporal_ensemble_coeff is not None and self.n_action_steps != 1:
            raise UsageError(f"temporal_ensemble_coeff needs n_action_steps = 1, got {self.n_action_steps}")
        for name in ("dim_model", "n_heads", "dim_feedforward", "n_encoder_layers", "n_decoder_layers", "latent_dim"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.dim_model % self.n_heads or self.dim_model % 4:
            raise UsageError(
                f"dim_model is {self.dim_model}; it must be a multiple of n_heads = {self.n_heads} and of 4 "
                "(a quarter of it each for sine and cosine of x and y)"
            )
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
            if feature.type == "STATE" and key != STATE:
                # The mistake behind a "mode collapse": coordinates declared as a second STATE reach no layer.
                raise UsageError(f"input feature {key!r} of type STATE would reach no layer; only {STATE!r} is read")
            if feature.type == "ENV" and key != ENVIRONMENT_STATE:
                raise UsageError(
                    f"input feature {key!r} of type ENV would reach no layer; only {ENVIRONMENT_STATE!r} is read"
                )
        if not self.image_features and self.env_state_feature is None:
            raise UsageError(
                f"ACT needs a camera or {ENVIRONMENT_STATE!r} among its inputs, got {list(self.input_features)}"
            )
