from dataclasses import dataclass, field
from typing import Any

from lerobot.configs.policies import PreTrainedConfig  # pyright: ignore[reportMissingImports]
from lerobot.configs.types import NormalizationMode  # pyright: ignore[reportMissingImports]
from lerobot.policies.rtc.configuration_rtc import RTCConfig  # pyright: ignore[reportMissingImports]


@PreTrainedConfig.register_subclass("toy_flow")
@dataclass
class ToyFlowConfig(PreTrainedConfig):
    n_action_steps: int = 4
    rtc_config: RTCConfig | None = None
    normalization_mapping: dict[str, Any] = field(
        default_factory=lambda: dict.fromkeys(("VISUAL", "STATE", "ENV", "ACTION"), NormalizationMode.MEAN_STD)
    )
    observation_delta_indices = None
    action_delta_indices = list(range(8))  # noqa: RUF012
    reward_delta_indices = None

    def get_optimizer_preset(self) -> None:
        return None

    def get_scheduler_preset(self) -> None:
        return None

    def validate_features(self) -> None:
        pass
