"""Executors by name or as objects: a shipped name, a user's `module:Name`, a class, an instance."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import Any

from act_eval.errors import UsageError
from act_eval.sources.factories import definition_local_only, load_factory, named_values, names_factory
from act_eval.timing import EXECUTORS, CustomExecutor, Method, check_executor, is_shipped, method_label
from act_eval.user_code import user_code


@dataclass(frozen=True, kw_only=True)
class ExecutorSource:
    """Builds an executor's method from the execution horizon."""

    text: str
    """As the user gave it, for messages."""
    build: Callable[[int], Method]
    """s → method."""
    name: str
    """With its options, as in the names of conditions: `cross_fade-fade6`."""
    horizon: int | None = None
    """s of an instance; None if the executor has none of its own."""
    local_only: str | None = None
    """Why it can only run in this process; None if workers can import it."""
    example: Method = field(repr=False)
    """Built for s = 1, to ask for its properties."""


def load_executor(executor: "str | type | Method | Callable[..., Any] | ExecutorSource") -> ExecutorSource:
    """Return what builds an executor's method.

    Args:
        executor: A name (`rtc`), with options (`ensemble:decay=0.1`); `module:Name` of a subclass of
            `act_eval.timing.Method` or of a class with the interface of `act_eval.types.Executor`, with options
            (`mine:CrossFade:fade=6`); such a class, a `functools.partial` of one, or an instance of a method.

    Raises:
        UsageError: if there is no such executor, it has no such option, or its class is neither.
    """
    if isinstance(executor, ExecutorSource):
        return executor
    if isinstance(executor, str):
        return _named(executor)
    if isinstance(executor, Method):
        return _source(type(executor).__name__, partial(_with_horizon, executor), executor.execution_horizon)
    target, options = (executor.func, executor.keywords) if isinstance(executor, partial) else (executor, {})
    given = ",".join(f"{name}={value}" for name, value in options.items())
    text = f"{_text_of(target)}:{given}" if given else _text_of(target)
    return _source(text, _builder(text, target, options))


def _named(text: str) -> ExecutorSource:
    name, _, rest = text.partition(":")
    if name in EXECUTORS:
        return _source(text, _builder(text, EXECUTORS[name], _options(text, rest)))
    target, _, rest = rest.partition(":")
    if not target or not names_factory(f"{name}:{target}"):
        check_executor(text)
    found = load_factory(f"{name}:{target}", "--executor")
    return _source(text, _builder(text, found, _options(text, rest)))


def _options(text: str, rest: str) -> dict[str, Any]:
    parts = re.split(r",(?=[A-Za-z_]\w*=)", rest) if rest else []
    values = named_values(parts, f"--executor {text}: option")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _builder(text: str, target: Any, options: Mapping[str, Any]) -> Callable[[int], Method]:
    kind = target.func if isinstance(target, partial) else target
    if isinstance(kind, type) and issubclass(kind, Method):
        offered = [f.name for f in fields(kind) if f.name not in ("execution_horizon", *_fixed(target))]
        unknown = [name for name in options if name not in offered]
        if unknown:
            raise UsageError(
                f"executor {text}: there is no option {unknown[0]!r}; there are: {', '.join(offered) or 'none'}"
            )
        return partial(target, **options)
    if isinstance(kind, type) and hasattr(kind, "act") and hasattr(kind, "wants_observation"):
        return partial(CustomExecutor, factory=kind, arguments=tuple(options.items()))
    raise UsageError(
        f"executor {text}: {kind!r} is neither a subclass of act_eval.timing.Method nor a class with the methods of "
        "act_eval.types.Executor"
    )


def _fixed(target: Any) -> tuple[str, ...]:
    return tuple(target.keywords) if isinstance(target, partial) else ("clock",)


def _source(text: str, build: Callable[[int], Method], horizon: int | None = None) -> ExecutorSource:
    with user_code(f"executor {text}: building it with s = 1 raised"):
        example = build(1)
    if not is_shipped(example) and example.name in EXECUTORS:
        raise UsageError(f"executor {text}: {example.name!r} is the name of a shipped executor; rename the class")
    local_only = definition_local_only(f"executor {text}", example.defined_by)
    return ExecutorSource(
        text=text, build=build, name=method_label(example), horizon=horizon, local_only=local_only, example=example
    )


def _with_horizon(method: Method, execution_horizon: int) -> Method:
    return replace(method, execution_horizon=execution_horizon) if is_dataclass(method) else method


def _text_of(target: Any) -> str:
    return getattr(target, "__qualname__", None) or repr(target)
