"""ACT-RTC's configuration under LeRobot's base class: the same fields, the same checks, `config.json` of either side.

LeRobot finds the policy by the names of this module and class: `configuration_X` → `modeling_X`, `XConfig` → `XPolicy`.
"""

import dataclasses
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lerobot.configs.policies import PreTrainedConfig  # pyright: ignore[reportMissingImports]
from lerobot.configs.types import NormalizationMode  # pyright: ignore[reportMissingImports]
from lerobot.optim.optimizers import AdamWConfig  # pyright: ignore[reportMissingImports]
from lerobot.optim.schedulers import LRSchedulerConfig  # pyright: ignore[reportMissingImports]
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from act_eval.errors import UsageError
from act_eval.policies import rtc
from act_eval.policies.act.config import Feature
from act_eval.policies.act.presets import features, small_act_rtc
from act_eval.policies.optim import OptimConfig, rate_factor

_THEIRS = ("input_features", "output_features", "normalization_mapping", "n_obs_steps")
"""Fields that LeRobot's base class has, or gives types of its own."""
_SHIPPED = small_act_rtc(features({"overhead": (96, 96)}))  # the features are the data set's and stay unused
_NETWORK = tuple(f.name for f in dataclasses.fields(rtc.ACTRTCConfig) if f.name not in _THEIRS)


def _declared() -> list[tuple[str, Any, Any]]:
    """Return the fields that make the network, with the shipped recipe's values."""
    hints = typing.get_type_hints(rtc.ACTRTCConfig)
    plain = {name: str if typing.get_origin(hints[name]) is typing.Literal else hints[name] for name in _NETWORK}
    return [(name, plain[name], field(default=getattr(_SHIPPED, name))) for name in _NETWORK]


_Network = dataclasses.make_dataclass("_Network", _declared(), bases=(PreTrainedConfig,))


@PreTrainedConfig.register_subclass("act_rtc")
@dataclass
class ACTRTCConfig(_Network):
    """Configuration of `--policy.type=act_rtc`: see `act_eval.policies.rtc.ACTRTCConfig`, field by field."""

    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: {kind: NormalizationMode(mode) for kind, mode in _SHIPPED.normalization_mapping.items()}
    )

    rtc_clip_delay: bool = False
    """Whether an inference delay above `rtc_max_delay` is taken for that one, with a warning, instead of refused."""

    def ours(self) -> rtc.ACTRTCConfig:
        """Return the configuration as act_eval has it.

        Raises:
            UsageError: or a child of it, naming the field whose value is not allowed.
        """
        if self.n_past_actions:
            raise UsageError(
                f"n_past_actions is {self.n_past_actions}; LeRobot hands no past commands to a policy, so it must be 0"
            )
        return rtc.ACTRTCConfig(
            input_features=_features(self.input_features),
            output_features=_features(self.output_features),
            normalization_mapping={_plain(kind): _plain(mode) for kind, mode in self.normalization_mapping.items()},
            n_obs_steps=self.n_obs_steps,
            **{name: getattr(self, name) for name in _NETWORK},
        )

    def validate_features(self) -> None:
        """Refuse inputs and outputs that the network cannot read or give."""
        self.ours()

    @property
    def observation_delta_indices(self) -> None:
        """One observation, the present one."""

    @property
    def action_delta_indices(self) -> list[int]:
        """Steps of the commands of a training sample, counted from the observation."""
        first = -1 if self.rtc_anchor == "last_action" else 0
        shifted = self.rtc_max_delay if self.rtc_window == "shifted" else 0
        return list(range(first, self.chunk_size + shifted))

    @property
    def reward_delta_indices(self) -> None:
        """Rewards are not read."""

    def get_optimizer_preset(self) -> AdamWConfig:
        """Return the default optimiser of `lerobot-train`."""
        return AdamWConfig(
            lr=self.optimizer_lr, weight_decay=self.optimizer_weight_decay, grad_clip_norm=OptimConfig.clip
        )

    def get_scheduler_preset(self) -> LRSchedulerConfig:
        """Return the learning rate's course."""
        return OneCycle()


@LRSchedulerConfig.register_subclass("act_eval_one_cycle")
@dataclass
class OneCycle(LRSchedulerConfig):
    """The learning rate's course of `act-eval train`: climbs for a tenth of all steps, then half a cosine."""

    num_warmup_steps: int | None = None
    """Not read: the climb is a share of the steps."""

    def build(self, optimizer: Optimizer, num_training_steps: int) -> LambdaLR:
        """Return the scheduler of a training of that many steps."""
        course: Callable[[int], float] = lambda step: rate_factor(OptimConfig(), step, num_training_steps)  # noqa: E731
        return LambdaLR(optimizer, course)


def _features(declared: dict[str, Any] | None) -> dict[str, Feature]:
    return {key: Feature(_plain(feature.type), tuple(feature.shape)) for key, feature in (declared or {}).items()}


def _plain(value: Any) -> Any:
    """Return the text of LeRobot's enumerations, which may also come as text."""
    return getattr(value, "value", value)
