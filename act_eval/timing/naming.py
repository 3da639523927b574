"""A condition's timing as text: its name, its manifest entry and its printed line."""

import json
import re
from collections.abc import Mapping
from typing import Any

from act_eval.timing.ablation import CommittedPrefix, describe_prefix
from act_eval.timing.custom import source_of
from act_eval.timing.estimators import ConstantEstimate, Oracle
from act_eval.timing.methods import Method, executor_name
from act_eval.timing.parsing import describe, describe_estimator, short_name
from act_eval.timing.schedule import Schedule

_MOST_PERTURBED_LINES = 12


def condition_name(schedule: Schedule) -> str:
    """Return a condition's name, fit for a folder: `rtc_d4_s10`, followed by every setting that is not at its default.

    Schedules that differ in anything that the command line offers have different names.
    """
    parts = [
        method_label(schedule.method),
        short_name(schedule.delay),
        f"s{schedule.method.execution_horizon}",
    ]
    settings = condition_settings(schedule)
    match schedule.estimator:
        case ConstantEstimate(steps) if "delay_estimator" in settings:
            parts.append(f"est{steps}")
        case estimator if "delay_estimator" in settings and schedule.delay_estimator is not None:
            parts.append("est-" + describe_estimator(estimator).translate(_PLAIN))
    if "beyond_max_delay" in settings:
        parts.append(schedule.beyond_max_delay)
    letters = {"timeout": "t", "observation_delay": "o", "actuation_delay": "a"}
    parts += [f"{letter}{settings[key]}" for key, letter in letters.items() if key in settings]
    parts += [str(settings[key]).replace(":", "") for key in ("prefix", "proprio") if key in settings]
    return "_".join(parts)


def method_label(method: Method) -> str:
    """Return a method's name with its options, fit for a folder: `cross_fade-fade6`."""
    options = "".join(f"-{name}{json.dumps(value)}" for name, value in method.options.items())
    return executor_name(method) + re.sub(r"[^A-Za-z0-9_.+-]+", "-", options).rstrip("-")


_PLAIN = str.maketrans(":,=", "---")


def condition_settings(schedule: Schedule) -> dict[str, Any]:
    """Return a condition's entry in a manifest (JSON values), without the settings that are at their default.

    A constant delay is a number and a recorded trace a digest; any other delay is the text that `parse_delay` reads.
    """
    text = describe(schedule.delay)
    has_prefix, ablation = schedule.method.hands_over_prefix, schedule.ablation
    optional = {
        "delay_estimator": describe_estimator(schedule.estimator)
        if schedule.estimates_delay and schedule.estimator != Oracle()
        else None,
        "beyond_max_delay": schedule.beyond_max_delay if has_prefix and schedule.beyond_max_delay != "error" else None,
        "timeout": schedule.timeout,
        "observation_delay": schedule.observation_delay or None,
        "actuation_delay": schedule.actuation_delay or None,
        "prefix": describe_prefix(ablation.prefix) if ablation.prefix != CommittedPrefix() else None,
        "proprio": ablation.proprio if ablation.predicts else None,
    }
    return {
        "executor": executor_name(schedule.method),
        "delay": int(text) if text.isdecimal() else text,
        "execution_horizon": schedule.method.execution_horizon,
        **({"executor_options": schedule.method.options} if schedule.method.options else {}),
        **source_of(schedule.method),
        **{key: value for key, value in optional.items() if value is not None},
    }


def _condition_text(settings: Mapping[str, Any]) -> str:
    """Return a condition's manifest entry as a printed line."""
    if "delay" not in settings:
        return ", ".join(["no inference, no delay", *_perturbation_text(settings)])
    delay = settings["delay"]
    options = settings.get("executor_options", {})
    given = " (" + ", ".join(f"{name} = {value}" for name, value in options.items()) + ")" if options else ""
    parts = [
        f"executor {settings['executor']}{given}",
        f"delay d = {delay}" if isinstance(delay, int) else f"delay {delay}",
        f"execution horizon s = {settings['execution_horizon']}",
    ]
    words = {
        "delay_estimator": "delay estimator {}",
        "beyond_max_delay": "beyond the largest trained delay: {}",
        "timeout": "answers lost after {} steps",
        "observation_delay": "observations {} steps late",
        "actuation_delay": "commands {} steps late",
        "prefix": "prefix {}",
        "proprio": "proprio {}",
    }
    parts += [text.format(settings[key]) for key, text in words.items() if key in settings]
    return ", ".join([*parts, *_perturbation_text(settings)])


def condition_lines(conditions: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a printed line per condition, from the manifest entries; many perturbations share one line."""
    twins = twins_of(conditions)
    grouped = twins if len(twins) > _MOST_PERTURBED_LINES else {}
    lines = [f"condition {name}: {_condition_text(one)}" for name, one in conditions.items() if name not in grouped]
    severities: dict[str, dict[str, None]] = {}  # as sets, in order
    for name in grouped:
        axes = conditions[name]["perturbation"]
        severities.setdefault("+".join(axes), {})["+".join(map(str, axes.values()))] = None
    if severities:
        found = "; ".join(f"{axes} {', '.join(found)}" for axes, found in severities.items())
        lines.append(f"perturbed, {len(grouped)} conditions beside these: {found}")
    return lines


def _perturbation_text(settings: Mapping[str, Any]) -> list[str]:
    found = settings.get("perturbation", {})
    return [f"perturbation {axis}, severity {severity}" for axis, severity in found.items()]


def unperturbed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a condition's manifest entry without its perturbation: that of its twin."""
    return {key: value for key, value in settings.items() if not key.startswith("perturbation")}


def twins_of(conditions: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return perturbed condition → its unperturbed twin, from the conditions' manifest entries."""
    plain = {json.dumps(one, sort_keys=True): name for name, one in conditions.items() if "perturbation" not in one}
    found = {
        name: plain.get(json.dumps(unperturbed(one), sort_keys=True))
        for name, one in conditions.items()
        if "perturbation" in one
    }
    return {name: twin for name, twin in found.items() if twin is not None}


def may_start_elsewhere(settings: Mapping[str, Any]) -> bool:
    """Return whether a condition's initial states, or their digests, may differ from its twin's by declaration.

    The digest of an environment without simulator states covers its first images, which a changed model changes.
    """
    return any(name == "state" or name.startswith("model.") for name in settings.get("perturbation_writes", ()))
