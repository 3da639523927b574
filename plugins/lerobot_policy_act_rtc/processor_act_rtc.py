"""Statistics and pipelines around ACT-RTC in LeRobot.

LeRobot normalises by a data set's statistics of absolute commands; the network speaks of commands relative to an
anchor, and checkpoints of act_eval keep the statistics of those. Both sides agree once the data set's entry for
`action` is replaced, before any pipeline is built from it: LeRobot hands the data set to the policy at the right
moment. The pipelines go on mapping absolute commands; `modeling_act_rtc` takes the anchor off and puts it on again.
"""

from typing import Any

from lerobot.policies.act.processor_act import (  # pyright: ignore[reportMissingImports]
    make_act_pre_post_processors,
)

from act_eval.datasets import Demonstrations
from act_eval.errors import FeatureMismatch, UsageError
from act_eval.policies.data import iter_episode_vectors
from act_eval.policies.normalize import floored, relative_action_stats
from act_eval.policies.rtc import ACTRTCConfig as OurConfig
from act_eval.types import ACTION
from lerobot_policy_act_rtc.configuration_act_rtc import ACTRTCConfig


class RelativeStatistics(dict[str, Any]):
    """Statistics of commands relative to their anchor; the type is what tells them from a data set's own."""


def make_statistics_relative(config: OurConfig, meta: Any) -> None:
    """Replace a data set's statistics by those that the network is trained with, in place.

    Args:
        config: says what commands are relative to.
        meta: LeRobot's `LeRobotDatasetMetadata`; its folder is read once, commands and joints only.

    Raises:
        DatasetError: if the folder cannot be read.
        FeatureMismatch: if an input has no statistics, or there are not as many joints as commands.
    """
    if isinstance(meta.stats.get(ACTION), RelativeStatistics):
        return
    lacking = [key for key in config.input_features if key not in meta.stats]
    if lacking:
        raise FeatureMismatch(f"the data set in {meta.root} has no statistics of {', '.join(lacking)}")
    relative = relative_action_stats(
        iter_episode_vectors([Demonstrations(meta.root)]), config.rtc_anchor, config.target_steps
    )
    fixed = floored({**{key: meta.stats[key] for key in config.input_features}, ACTION: relative})
    meta.stats.update(fixed)
    meta.stats[ACTION] = RelativeStatistics(fixed[ACTION])


def make_act_rtc_pre_post_processors(
    config: ACTRTCConfig, dataset_stats: dict[str, dict[str, Any]] | None = None
) -> tuple[Any, Any]:
    """Return LeRobot's pipelines before and behind the policy: those of its own ACT, with relative statistics.

    Raises:
        UsageError: if the statistics are missing, or those of absolute commands.
    """
    if dataset_stats is None or not isinstance(dataset_stats.get(ACTION), RelativeStatistics):
        raise UsageError(
            "ACT-RTC is trained on relative commands, and these statistics are not: make the policy first (make_policy "
            "with ds_meta), then its processors with ds_meta.stats; a checkpoint brings its own (pretrained_path)"
        )
    return make_act_pre_post_processors(config, dataset_stats)
