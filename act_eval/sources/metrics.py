"""Metrics by name or as objects: a user's `module:Name`, a function, a class or an instance."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from act_eval.errors import UsageError
from act_eval.metrics import METRICS, EpisodeMetrics, MetricDefinition, OwnMetric
from act_eval.metrics.own import MeasureEpisode
from act_eval.sources.factories import definition_local_only, load_factory, named_values, names_factory
from act_eval.timing import snake_case, source_entry
from act_eval.user_code import user_code


def load_metrics(metrics: Sequence[Any]) -> tuple[OwnMetric, ...]:
    """Return the metrics that a run computes beside the shipped ones.

    Raises:
        UsageError: as `load_metric`, or if two have the same name.
    """
    found = tuple(map(load_metric, metrics))
    names = [one.definition.name for one in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"--metrics: two metrics are called {twice[0]!r}; give one of them another name")
    return found


def load_metric(metric: "str | Callable[..., Any] | OwnMetric") -> OwnMetric:
    """Return a metric, with its definition.

    Args:
        metric: `module:Name`, with options of a class (`mine:Excess:limit=2`), or what it names: a function of
            (record, steps, control_s), or a class or an object with a method `measure` of these. Attributes `unit`,
            `statistic` and `name` of it are optional; the first line of the docstring is its meaning.

    Raises:
        UsageError: if there is none, or it has no such interface.
    """
    if isinstance(metric, OwnMetric):
        return metric
    text, options = _text_of(metric), {}
    if isinstance(metric, str):
        target, rest = _parts(metric)
        options = named_values(re.split(r",(?=[A-Za-z_]\w*=)", rest) if rest else [], f"--metrics {metric}: option")
        metric = load_factory(target, "--metrics")
    if isinstance(metric, type):
        with user_code(f"metric {text}: making it raised"):
            metric = metric(**options)
    elif options:
        raise UsageError(f"metric {text}: only a class takes options")
    measure: Any = getattr(metric, "measure", metric)
    if not callable(measure):
        raise UsageError(f"metric {text}: neither a function nor an object with measure(record, steps, control_s)")
    _check_signature(text, measure)
    defined_by = metric if inspect.isfunction(metric) else type(metric)
    place = source_entry(defined_by)
    definition = MetricDefinition(
        name=getattr(metric, "name", None) or snake_case(defined_by.__name__),
        unit=getattr(metric, "unit", "1"),
        meaning=next(iter((inspect.getdoc(metric) or "").splitlines()), ""),
        statistic=getattr(metric, "statistic", "mean"),
        source=text if ":" in text else place["class"],
        digest=place.get("digest", ""),
    )
    _check_name(definition)
    local_only = definition_local_only(f"metric {text}", defined_by)
    return OwnMetric(definition=definition, measure=cast(MeasureEpisode, measure), local_only=local_only)


def _parts(text: str) -> tuple[str, str]:
    module, _, rest = text.partition(":")
    name, _, options = rest.partition(":")
    if not names_factory(f"{module}:{name}"):
        raise UsageError(f"--metrics {text}: expected module:Name of a function or class")
    return f"{module}:{name}", options


def _check_signature(text: str, measure: Callable[..., Any]) -> None:
    try:
        inspect.signature(measure).bind(None, None, None)
    except TypeError as error:
        raise UsageError(f"metric {text}: it is called with (record, steps, control_s): {error}") from error


def _check_name(definition: MetricDefinition) -> None:
    taken = {metric.name for metric in METRICS} | set(EpisodeMetrics.__dataclass_fields__)
    clash = {definition.name, f"{definition.name}_low", f"{definition.name}_high"} & taken
    if clash:
        raise UsageError(f"metric {definition.source}: {min(clash)!r} is the name of a shipped one; choose another")


def _text_of(metric: Any) -> str:
    if isinstance(metric, str):
        return metric
    named = metric if hasattr(metric, "__qualname__") else type(metric)
    return f"{named.__module__}:{named.__qualname__}"


def manifest_entries(metrics: Sequence[OwnMetric]) -> list[Mapping[str, Any]]:
    """Return the definitions as JSON values."""
    return [dict(vars(one.definition)) for one in metrics]
