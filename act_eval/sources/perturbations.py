"""Perturbations by name or as objects: a shipped axis, a user's `module:Name`, an instance."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

from act_eval.errors import UsageError
from act_eval.perturbations.base import SEVERITIES, Perturbation, Perturbations, check_together, label_of
from act_eval.perturbations.catalogue import AXES, axes_text, suggestion
from act_eval.sources.factories import definition_local_only, load_factory, named_values, names_factory
from act_eval.user_code import user_code

ALL = "all"
"""Stands for every shipped axis that the environment offers."""


@dataclass(frozen=True, kw_only=True)
class AskedPerturbation:
    """The perturbations of one condition, as asked for."""

    parts: Perturbations
    optional: bool = False
    """Whether it is left out where the environment does not offer it, or it changes nothing; otherwise refused."""

    @property
    def local_only(self) -> str | None:
        """Why it can only run in this process; None if workers can import it."""
        reasons = (definition_local_only(f"perturbation {one.axis}", type(one)) for one in self.parts)
        return next((reason for reason in reasons if reason is not None), None)


def load_perturbations(given: Sequence[Any]) -> tuple[AskedPerturbation, ...]:
    """Return the perturbations that a run is asked for, each once.

    Args:
        given: of each condition, `AXIS=SEVERITY` with several joined by `+` for both at once and several severities
            by commas; options of an axis follow its name (`image_noise:cameras=["wrist"]=2`). AXIS is a shipped name,
            `module:Name` of a class, or `all`. Or instances, several of one condition in a tuple.

    Raises:
        UsageError: naming an unknown axis, severity or option and those that exist; or two axes that write one field.
    """
    found: dict[str, AskedPerturbation] = {}
    for one in given:
        for asked in _parsed(one) if isinstance(one, str) else [_of_objects(one)]:
            _check_names(asked.parts)
            check_together(asked.parts)
            label = label_of(asked.parts)
            if label not in found or found[label].optional:
                found[label] = asked
            elif found[label].parts != asked.parts:
                raise UsageError(f"two perturbations have the same name {label.lstrip('_')!r}; rename the class of one")
    return tuple(found.values())


def stored_perturbations(settings: Mapping[str, Any]) -> Perturbations:
    """Return the perturbations of a condition from its entry in a manifest.

    Raises:
        UsageError: if a class of the user's cannot be imported, or there is no such axis.
    """
    parts = []
    for axis, severity in settings.get("perturbation", {}).items():
        source = settings.get("perturbation_sources", {}).get(axis, {}).get("class", axis)
        kind, _ = _kind(f"{source}={severity}", source)
        given = settings.get("perturbation_options", {}).get(axis, {})
        options = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        parts.append(kind(int(severity), **options))
    return tuple(parts)


def _parsed(text: str) -> Iterable[AskedPerturbation]:
    pieces = text.split("+")
    if pieces[0].partition("=")[0] == ALL:
        if len(pieces) > 1:
            raise UsageError(f"--perturb {text}: `all` stands alone, as in all=3")
        for severity in _severities(text, text.partition("=")[2]):
            yield from (AskedPerturbation(parts=(kind(severity),), optional=True) for kind in AXES.values())
        return
    for parts in product(*(_alternatives(text, piece) for piece in pieces)):
        yield AskedPerturbation(parts=tuple(parts))


def _alternatives(text: str, piece: str) -> list[Perturbation]:
    """Return an axis at each of its severities."""
    head, equals, severities = piece.rpartition("=")
    if not equals:
        raise UsageError(f"--perturb {text}: expected AXIS=SEVERITY, as in light=3; {suggestion(piece)}{axes_text()}")
    kind, options = _kind(text, head)
    with user_code(f"--perturb {text}: making it raised"):
        return [kind(severity, **options) for severity in _severities(text, severities)]


def _kind(text: str, head: str) -> tuple[type[Perturbation], Mapping[str, Any]]:
    name, _, rest = head.partition(":")
    if name in AXES:
        kind = AXES[name]
    else:
        target, _, rest = rest.partition(":")
        if not names_factory(f"{name}:{target}"):
            raise UsageError(f"--perturb {text}: unknown axis {head!r}; {suggestion(name)}{axes_text()}")
        kind = _checked(text, load_factory(f"{name}:{target}", "--perturb"))
    values = named_values(re.split(r",(?=[A-Za-z_]\w*=)", rest) if rest else [], f"--perturb {text}: option")
    offered = [one.name for one in fields(kind)[1:] if one.init]
    if unknown := [name for name in values if name not in offered]:
        raise UsageError(
            f"--perturb {text}: there is no option {unknown[0]!r}; there are: {', '.join(offered) or 'none'}"
        )
    return kind, {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _checked(text: str, kind: Any) -> type[Perturbation]:
    if not (isinstance(kind, type) and issubclass(kind, Perturbation)):
        raise UsageError(f"--perturb {text}: {kind!r} is no subclass of act_eval.perturbations.Perturbation")
    return kind


def _severities(text: str, given: str) -> list[int]:
    numbers = [one.strip() for one in given.strip("[]").split(",")]
    wrong = [one for one in numbers if one not in map(str, SEVERITIES)]
    if wrong:
        raise UsageError(f"--perturb {text}: severity is {wrong[0]!r}; allowed: 1 to 5; {axes_text()}")
    return list(dict.fromkeys(map(int, numbers)))


def _of_objects(given: Any) -> AskedPerturbation:
    parts = tuple(given) if isinstance(given, list | tuple) else (given,)
    for one in parts:
        if not isinstance(one, Perturbation):
            raise UsageError(
                f"perturb has {one!r}; allowed: texts such as 'light=3', instances of "
                "act_eval.perturbations.Perturbation, and tuples of instances for several at once"
            )
    return AskedPerturbation(parts=parts)


def _check_names(parts: Perturbations) -> None:
    for one in parts:
        if not one.shipped and one.axis in AXES:
            raise UsageError(
                f"perturbation {type(one).__name__}: {one.axis!r} is the name of a shipped axis; rename it"
            )
