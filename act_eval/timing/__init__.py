"""Time in control steps: methods of running chunks, delay models, estimated delays and their bounds."""

from act_eval.timing.ablation import (
    Ablation,
    CommittedPrefix,
    ExpertPrefix,
    PadPrefix,
    PrefixAblation,
    Proprio,
    ShuffledPrefix,
    WrongDelay,
    describe_prefix,
    parse_prefix,
)
from act_eval.timing.custom import CustomExecutor, source_entry
from act_eval.timing.delays import (
    Bursty,
    Constant,
    DelayModel,
    Draw,
    Lognormal,
    Lossy,
    Measured,
    Trace,
    Uniform,
    draws,
    extremes,
    steps_of_latency,
)
from act_eval.timing.estimators import (
    ConstantEstimate,
    Estimator,
    MaxOfLast,
    MovingAverage,
    Oracle,
    Percentile,
    estimated_delay,
)
from act_eval.timing.methods import (
    EXECUTORS,
    METHODS,
    RTC,
    Blend,
    Ensemble,
    Method,
    Naive,
    Sync,
    check_executor,
    is_shipped,
    kept,
    snake_case,
)
from act_eval.timing.naming import (
    condition_lines,
    condition_name,
    condition_settings,
    may_start_elsewhere,
    method_label,
    twins_of,
)
from act_eval.timing.parsing import (
    describe,
    describe_estimator,
    parse_delay,
    parse_estimator,
    read_trace,
    recorded_trace,
    write_trace,
)
from act_eval.timing.schedule import BeyondMaxDelay, Schedule, first_request

__all__ = [
    "EXECUTORS", "METHODS", "RTC", "Ablation", "BeyondMaxDelay", "Blend", "Bursty", "CommittedPrefix", "Constant",
    "ConstantEstimate", "CustomExecutor", "DelayModel", "Draw", "Ensemble", "Estimator", "ExpertPrefix", "Lognormal",
    "Lossy", "MaxOfLast", "Measured", "Method", "MovingAverage", "Naive", "Oracle", "PadPrefix", "Percentile",
    "PrefixAblation", "Proprio", "Schedule", "ShuffledPrefix", "Sync", "Trace", "Uniform", "WrongDelay",
    "check_executor", "condition_lines", "condition_name", "condition_settings", "describe", "describe_estimator",
    "describe_prefix", "draws", "estimated_delay", "extremes", "first_request", "is_shipped", "kept",
    "may_start_elsewhere", "method_label", "parse_delay", "parse_estimator", "parse_prefix", "read_trace",
    "recorded_trace", "snake_case", "source_entry", "steps_of_latency", "twins_of", "write_trace",
]  # fmt: skip
