from typing import Any

from lerobot.processor import (  # pyright: ignore[reportMissingImports]
    AbsoluteActionsProcessorStep,
    AddBatchDimensionProcessorStep,
    DeviceProcessorStep,
    NormalizerProcessorStep,
    PolicyProcessorPipeline,
    RelativeActionsProcessorStep,
    RenameObservationsProcessorStep,
    UnnormalizerProcessorStep,
)
from lerobot.processor.converters import (  # pyright: ignore[reportMissingImports]
    policy_action_to_transition,
    transition_to_policy_action,
)


def make_toy_flow_pre_post_processors(config: Any, dataset_stats: Any = None) -> tuple[Any, Any]:
    relative = RelativeActionsProcessorStep(enabled=True)
    known = {"norm_map": config.normalization_mapping, "stats": dataset_stats}
    before = [
        RenameObservationsProcessorStep(rename_map={}),
        AddBatchDimensionProcessorStep(),
        DeviceProcessorStep(device=config.device),
        relative,
        NormalizerProcessorStep(features={**config.input_features, **config.output_features}, **known),
    ]
    after = [
        UnnormalizerProcessorStep(features=config.output_features, **known),
        AbsoluteActionsProcessorStep(enabled=True, relative_step=relative),
        DeviceProcessorStep(device="cpu"),
    ]
    convert = {"to_transition": policy_action_to_transition, "to_output": transition_to_policy_action}
    return (
        PolicyProcessorPipeline(steps=before, name="policy_preprocessor"),
        PolicyProcessorPipeline(steps=after, name="policy_postprocessor", **convert),
    )
