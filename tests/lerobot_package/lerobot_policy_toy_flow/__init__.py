"""A policy of LeRobot's kind, small enough to test its real-time chunking of flow policies without a download."""

from lerobot_policy_toy_flow.configuration_toy_flow import ToyFlowConfig

__all__ = ["ToyFlowConfig"]
