"""Delay models and delay estimators as text, for command lines and manifests: `NAME` or `NAME:PARAMETERS`.

Parameters follow the order of the model's fields or are named, as in `bursty:1,6,enter=0.1,leave=0.5`. A bare
number is a constant delay. The last parameter of `lossy` is another model and takes the rest of the text:
`lossy:0.1,of=uniform:1,6`. `trace:FILE` reads recorded delays. Parsing the text of `describe` returns an equal model.

Trace files are JSON or CSV. JSON: `{"steps": [4, 5, null], "episodes": {"SEED": [4, 5]}}` with either part optional,
or the bare list of steps. CSV: a header with a column `delay` and, for recordings by episode, `seed`; one request a
line, in order. Delays are whole control steps; null or an empty cell is a lost answer.
"""

import csv
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar

from act_eval.decoding import build, read_json, read_text
from act_eval.errors import TimingError, UsageError
from act_eval.timing.delays import Bursty, Constant, DelayModel, Lognormal, Lossy, Measured, Trace, Uniform
from act_eval.timing.estimators import ConstantEstimate, Estimator, MaxOfLast, MovingAverage, Oracle, Percentile

DELAYS: dict[str, type] = {
    "constant": Constant,
    "uniform": Uniform,
    "lognormal": Lognormal,
    "bursty": Bursty,
    "lossy": Lossy,
    "trace": Trace,
    "measured": Measured,
}
"""Name → delay model."""

ESTIMATORS: dict[str, type] = {
    "oracle": Oracle,
    "constant": ConstantEstimate,
    "max": MaxOfLast,
    "percentile": Percentile,
    "average": MovingAverage,
}
"""Name → delay estimator."""

_SHORT = {"p95": ("percentile", "95")}
"""Abbreviation → (full name, first parameters)."""

_Kind = TypeVar("_Kind")


def parse_delay(text: str) -> DelayModel:
    """Return the delay model that a text names.

    Raises:
        TimingError: naming the text, the invalid parameter, and the alternatives.
    """
    if duration := re.fullmatch(r"(\d+(?:\.\d*)?) *(ms|s)", text.strip()):
        ms = float(duration[1]) * (1 if duration[2] == "ms" else 1000)
        raise TimingError(f"delay {text!r}: delays are control steps; milliseconds are --latency-ms {ms:g}")
    try:
        return _delay(text.strip())
    except UsageError as error:
        raise TimingError(f"delay {text!r}: {error}") from error


def parse_estimator(text: str) -> Estimator:
    """Return the delay estimator that a text names: `oracle`, `constant:4`, `max`, `p95`, `average`.

    Raises:
        TimingError: naming the text, the invalid parameter, and the alternatives.
    """
    try:
        return _build(text.strip(), ESTIMATORS)
    except UsageError as error:
        raise TimingError(f"estimated delay {text!r}: {error}") from error


def describe(model: DelayModel) -> str:
    """Return the text that names a delay model; a recorded trace is named by a digest of its delays."""
    match model:
        case Constant(steps):
            return str(steps)
        case Trace():
            return f"trace:{trace_digest(model)}"
        case _:
            return _describe(model, DELAYS)


def describe_estimator(estimator: Estimator) -> str:
    """Return the text that names a delay estimator."""
    text = _describe(estimator, ESTIMATORS)
    return text.replace("percentile", "p95", 1) if "percent=" not in text else text


def short_name(model: DelayModel) -> str:
    """Return a delay model's part of a condition's name, fit for a file name: `d4`, `uniform1-6`, `trace1a2b3c4d`."""
    match model:
        case Constant(steps):
            return f"d{steps}"
        case Trace():
            return f"trace{trace_digest(model)}"
        case Measured(injected_ms):
            return f"measured{_number(injected_ms)}ms" if injected_ms else "measured"
        case Lossy(probability, of):
            return f"lossy{_number(probability)}-{short_name(of)}"
        case _:
            return short_values(_name_of(model, DELAYS), model)


def short_values(name: str, value: Any) -> str:
    """Return a name followed by the numbers of a dataclass instance."""
    return name + "-".join(_number(getattr(value, f.name)) for f in fields(value))


def _delay(text: str) -> DelayModel:
    name, colon, rest = text.partition(":")
    if name == "trace":
        if not rest:
            raise TimingError("trace needs a file, as in trace:delays.json")
        return read_trace(Path(rest))
    if not colon and name[:1] in tuple("+-.0123456789"):
        text = f"constant:{text}"
    return _build(text, DELAYS)


def _build(text: str, table: Mapping[str, type]) -> Any:
    name, _, rest = text.partition(":")
    if table is ESTIMATORS and name in _SHORT:
        name, first = _SHORT[name]
        rest = f"{first},{rest}" if rest else first
    if name not in table:
        known = sorted([*table, *(_SHORT if table is ESTIMATORS else ())])
        raise TimingError(f"there is no {name!r}; there are: {', '.join(known)}")
    kind = table[name]
    parameters = {f.name: f for f in fields(kind)}
    given = _arguments(rest, name, parameters)
    missing = [n for n, f in parameters.items() if n not in given and _is_required(f)]
    if missing:
        raise TimingError(f"{name} needs {' and '.join(missing)}; it takes {_list(parameters)}")
    return kind(**{n: _value(n, value, parameters[n]) for n, value in given.items()})


def _arguments(text: str, name: str, parameters: Mapping[str, Field[Any]]) -> dict[str, str]:
    """Return parameter → text of its value; one that is itself a model takes the rest of the text."""
    given: dict[str, str] = {}
    order, named = list(parameters), False
    rest: str | None = text or None
    while rest is not None:
        key, equals, value = rest.partition("=")
        if equals and key.isidentifier():
            named = True
        elif named:
            raise TimingError(f"{rest.partition(',')[0]!r} has no name and follows a parameter that has one")
        elif len(given) == len(order):
            raise TimingError(f"{rest!r} is too much; {name} takes {_list(parameters)}")
        else:
            key, value = order[len(given)], rest
        if key not in parameters:
            raise TimingError(f"there is no parameter {key!r}; {name} takes {_list(parameters)}")
        if key in given:
            raise TimingError(f"{key} is given twice")
        if parameters[key].type in (int, float):
            given[key], comma, after = value.partition(",")
            rest = after if comma else None
        else:
            given[key], rest = value, None
    return given


def _value(name: str, text: str, parameter: Field[Any]) -> Any:
    if parameter.type is int:
        return _converted(int, name, text, "a whole number of control steps")
    if parameter.type is float:
        return _converted(float, name, text, "a number")
    return _delay(text)


def _converted(kind: type[_Kind], name: str, text: str, expected: str) -> _Kind:
    try:
        return kind(text)  # pyright: ignore[reportCallIssue]
    except ValueError:
        raise TimingError(f"{name} is {text[:40]!r}; it must be {expected}") from None


def _is_required(parameter: Field[Any]) -> bool:
    return parameter.default is MISSING and parameter.default_factory is MISSING


def _list(parameters: Mapping[str, Field[Any]]) -> str:
    return ", ".join(parameters) or "no parameters"


def _describe(value: Any, table: Mapping[str, type]) -> str:
    given = [f"{f.name}={_text(getattr(value, f.name))}" for f in fields(value) if getattr(value, f.name) != f.default]
    name = _name_of(value, table)
    return f"{name}:{','.join(given)}" if given else name


def _text(value: Any) -> str:
    return _number(value) if isinstance(value, int | float) else describe(value)


def _number(value: float) -> str:
    """Return a number's shortest text that reads back as the same number."""
    return str(int(value)) if value == int(value) else repr(value)


def _name_of(value: Any, table: Mapping[str, type]) -> str:
    return next(name for name, kind in table.items() if type(value) is kind)


def recorded_trace(episodes: Mapping[int, Sequence[int | None]]) -> Trace:
    """Return the trace that replays recorded episodes; other episodes cycle through all of their delays.

    Args:
        episodes: Episode seed → actual delays of its requests, the first chunk's left out; None for a lost answer.
    """
    together = tuple(delay for delays in episodes.values() for delay in delays)
    return Trace(steps=together, episodes={seed: tuple(delays) for seed, delays in episodes.items()})


def write_trace(path: Path, trace: Trace) -> None:
    """Write a trace as JSON; the file appears when it is complete."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(_to_json(trace))
    unfinished.replace(path)


def trace_digest(trace: Trace) -> str:
    """Return a short digest of a trace's delays, independent of the file that they come from."""
    return hashlib.sha256(_to_json(trace).encode()).hexdigest()[:8]


def _to_json(trace: Trace) -> str:
    episodes = {str(seed): delays for seed, delays in sorted(trace.episodes.items())}
    return json.dumps({"steps": trace.steps, "episodes": episodes}) + "\n"


def read_trace(path: Path) -> Trace:
    """Read a trace from a `.json` or `.csv` file.

    Raises:
        TimingError: if the file is missing, has another suffix or is malformed; the message names the place.
    """
    if path.suffix not in (".json", ".csv"):
        raise TimingError(f"delay trace {path} ends in {path.suffix!r}; it must end in .json or .csv")
    missing = f"delay trace {path} cannot be read: No such file"
    if path.suffix == ".json":
        values = read_json(path, object, TimingError, missing=missing)
        recorded = {"steps": values} if isinstance(values, list) else values
        return build(Trace, recorded, str(path), TimingError, use_defaults=True)
    text = read_text(path, TimingError, missing)
    try:
        return _from_csv(text)
    except (TimingError, csv.Error) as error:
        raise TimingError(f"{path}: {error}") from error


def _from_csv(text: str) -> Trace:
    lines = csv.DictReader(text.splitlines())
    if "delay" not in (lines.fieldnames or ()):
        raise TimingError(f"the header has no column 'delay'; its columns are {list(lines.fieldnames or ())}")
    steps: list[int | None] = []
    episodes: dict[int, list[int | None]] = {}
    for line in lines:
        cell = (line["delay"] or "").strip()
        delay = None if not cell else _converted(int, f"the delay in line {lines.line_num}", cell, "a whole number")
        if "seed" in line:
            seed = _converted(int, f"the seed in line {lines.line_num}", line["seed"] or "", "a whole number")
            episodes.setdefault(seed, []).append(delay)
        else:
            steps.append(delay)
    return Trace(steps=tuple(steps), episodes={seed: tuple(delays) for seed, delays in episodes.items()})
