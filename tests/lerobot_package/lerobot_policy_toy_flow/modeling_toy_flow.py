from typing import Any

import torch
from lerobot.policies.common.flow_matching import euler_integrate, sample_noise  # pyright: ignore[reportMissingImports]
from lerobot.policies.pretrained import PreTrainedPolicy  # pyright: ignore[reportMissingImports]
from lerobot.policies.rtc.modeling_rtc import RTCProcessor  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn

from lerobot_policy_toy_flow.configuration_toy_flow import ToyFlowConfig

CHUNK, DIM = 8, 6


class ToyFlowPolicy(PreTrainedPolicy):
    config_class = ToyFlowConfig
    name = "toy_flow"

    def __init__(self, config: ToyFlowConfig, **kwargs: Any) -> None:
        super().__init__(config)
        self.velocity = nn.Sequential(nn.Linear(CHUNK * DIM + 9, 64), nn.Tanh(), nn.Linear(64, CHUNK * DIM))
        self.fixed_noise: Tensor | None = None
        self.init_rtc_processor()

    def init_rtc_processor(self) -> None:
        self.rtc_processor = None if self.config.rtc_config is None else RTCProcessor(self.config.rtc_config)

    def supports_rtc(self) -> bool:
        return True

    def get_optim_params(self) -> Any:
        return self.parameters()

    def reset(self) -> None:
        pass

    def forward(self, batch: dict[str, Tensor]) -> Any:
        raise NotImplementedError

    def select_action(self, batch: dict[str, Tensor], **kwargs: Any) -> Tensor:
        raise NotImplementedError

    def predict_action_chunk(self, batch: dict[str, Tensor], **kwargs: Any) -> Tensor:
        seen = torch.cat((batch["observation.state"], batch["observation.environment_state"]), dim=1)
        noise = sample_noise((len(seen), CHUNK, DIM), seen.device) if self.fixed_noise is None else self.fixed_noise

        def velocity(chunk: Tensor, time: Tensor) -> Tensor:
            inputs = torch.cat((chunk.flatten(1), seen, time[:, None]), dim=1)
            return self.velocity(inputs).reshape(chunk.shape)

        config = self.config.rtc_config
        enabled = config is not None and config.enabled
        return euler_integrate(velocity, noise, 5, rtc_processor=self.rtc_processor, rtc_enabled=enabled, **kwargs)
