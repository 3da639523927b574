"""Delay models and estimated delays as text, for command lines and manifests: `NAME` or `NAME:PARAMETERS`.

Parameters stand in the order of the model's fields or are named, as in `bursty:1,6,enter=0.1,leave=0.5`. A bare
number is a constant delay. `dropped` takes another model as its last parameter, which is everything that follows:
`lossy:0.1,of=uniform:1,6`. `trace:FILE` reads recorded delays. What `describe` returns means the same model.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar

from act_eval.errors import TimingError, UsageError
from act_eval.timing.delays import Bursty, Constant, DelayModel, Lognormal, Lossy, Measured, Trace, Uniform
from act_eval.timing.estimators import ConstantEstimate, Estimator, MaxOfLast, MovingAverage, Oracle, Percentile
from act_eval.timing.traces import read_trace, trace_digest

DELAYS: dict[str, type] = {
    "constant": Constant,
    "uniform": Uniform,
    "lognormal": Lognormal,
    "bursty": Bursty,
    "dropped": Lossy,
    "trace": Trace,
    "measured": Measured,
}
"""Name → delay model."""

TOLD: dict[str, type] = {
    "oracle": Oracle,
    "constant": ConstantEstimate,
    "max": MaxOfLast,
    "percentile": Percentile,
    "average": MovingAverage,
}
"""Name → estimator of the estimated delay."""

_SHORT = {"p95": ("percentile", "95")}
"""Name → (the name it stands for, its first parameters)."""

_Kind = TypeVar("_Kind")


def parse_delay(text: str) -> DelayModel:
    """Return the delay model that a text names.

    Raises:
        TimingError: naming the text, the parameter at fault, and what there is.
    """
    try:
        return _delay(text.strip())
    except UsageError as error:
        raise TimingError(f"delay {text!r}: {error}") from error


def parse_estimator(text: str) -> Estimator:
    """Return the estimator of the estimated delay that a text names: `oracle`, `constant:4`, `max`, `p95`, `average`.

    Raises:
        TimingError: naming the text, the parameter at fault, and what there is.
    """
    try:
        return _build(text.strip(), TOLD)
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
    """Return the text that names an estimator of the estimated delay."""
    text = _describe(estimator, TOLD)
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
            return f"dropped{_number(probability)}-{short_name(of)}"
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
    if table is TOLD and name in _SHORT:
        name, first = _SHORT[name]
        rest = f"{first},{rest}" if rest else first
    if name not in table:
        known = sorted([*table, *(_SHORT if table is TOLD else ())])
        raise TimingError(f"there is no {name!r}; there are: {', '.join(known)}")
    kind = table[name]
    parameters = {f.name: f for f in fields(kind)}
    given = _arguments(rest, name, parameters)
    missing = [n for n, f in parameters.items() if n not in given and _is_required(f)]
    if missing:
        raise TimingError(f"{name} needs {' and '.join(missing)}; it takes {_list(parameters)}")
    return kind(**{n: _value(n, value, parameters[n]) for n, value in given.items()})


def _arguments(text: str, name: str, parameters: Mapping[str, Field[Any]]) -> dict[str, str]:
    """Return parameter → text of its value; one that is itself a model takes all that follows it."""
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
        raise TimingError(f"{name} is {text!r}; it must be {expected}") from None


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
