"""All metrics: the families, the line of an episode (`CONDITION/metrics.jsonl`), and the summary of a condition.

docs/metrics.md and the docstrings of the functions define the metrics. A new family is a file of its own, listed in
`FAMILIES` and among the bases of `EpisodeMetrics`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from act_eval.encoding import OMIT_EMPTY
from act_eval.metrics.ages import TimeUse
from act_eval.metrics.durations import Success, WallClock
from act_eval.metrics.family import MeasuredCondition, MeasuredEpisode, MetricFamily, Summary
from act_eval.metrics.own import MetricDefinition, OwnMetric
from act_eval.metrics.reaction import Reactions
from act_eval.metrics.smoothness import Smoothness
from act_eval.types import INVALID, EpisodeRecord, Motion, Timing
from act_eval.types.steps import EpisodeSteps

FAMILIES: tuple[type[MetricFamily], ...] = (Smoothness, TimeUse, Reactions, Success, WallClock)
"""In the order of tables."""

METRICS = tuple(metric for family in FAMILIES for metric in family.numbers)
"""Every number of a summary, in the order of tables. An undefined value is None, never 0."""


@dataclass(frozen=True, kw_only=True)
class _Identity:
    """The first fields of an episode's line."""

    episode: int
    control_s: float
    """Δt [s]."""


@dataclass(frozen=True, kw_only=True)
class EpisodeMetrics(Reactions, TimeUse, Smoothness, Success, _Identity):
    """The metrics of one episode: the fields of the bases from last to first. Independent of the wall clock."""

    own: Mapping[str, float | None] = field(default_factory=dict, metadata=OMIT_EMPTY)
    """User-defined metric → value."""


def measure(
    record: EpisodeRecord,
    steps: EpisodeSteps,
    control_s: float,
    motion: Motion | None = None,
    actuation_delay: int = 0,
    own: Sequence[OwnMetric] = (),
) -> EpisodeMetrics:
    """Return an episode's metrics.

    Args:
        record: The episode's record.
        steps: Its steps.
        control_s: Δt [s].
        motion: Motion of the arm through the states; None without the hook.
        actuation_delay: a [steps].
        own: User-defined metrics.
    """
    episode = MeasuredEpisode(
        record=record, steps=steps, control_s=control_s, motion=motion, actuation_delay=actuation_delay
    )
    values = {name: value for family in FAMILIES for name, value in family.of_episode(episode).items()}
    values["own"] = {metric.definition.name: metric.value(record, steps, control_s) for metric in own}
    return EpisodeMetrics(episode=record.episode, control_s=control_s, **values)


def summary(
    records: Sequence[EpisodeRecord],
    metrics: Sequence[EpisodeMetrics],
    timings: Sequence[Timing],
    horizon: int,
    own: Sequence[MetricDefinition] = (),
) -> Summary:
    """Return the metrics of a condition.

    Args:
        records: Its records; invalid ones are left out.
        metrics: Of the same episodes in the same order.
        timings: Of the same episodes in the same order.
        horizon: Control steps after which an episode is cut off.
        own: User-defined metrics.
    """
    valid = [i for i, record in enumerate(records) if record.outcome != INVALID]
    condition = MeasuredCondition(
        records=[records[i] for i in valid],
        metrics=[metrics[i] for i in valid],
        timings=[timings[i] for i in valid],
        horizon=horizon,
    )
    found = {name: value for family in FAMILIES for name, value in family.of_condition(condition).items()}
    for definition in own:
        found |= definition.summarise([one.own.get(definition.name) for one in condition.metrics])
    return found
