"""ACT: configuration, backbone, transformer, model, loss, policy."""

from act_eval.policies.act.config import ACTConfig, Feature
from act_eval.policies.act.policy import ACTPolicy

__all__ = ["ACTConfig", "ACTPolicy", "Feature"]
