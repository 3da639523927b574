"""Suites: the episodes of a run, hashed, so that two runs can be paired or rejected.

A suite holds everything that determines an episode beside its seed: the environment and its options, the horizon, the
hold rule, the compiled scene and the version of the outcome rules; and the list of seeds. Renderer and library versions
are in a run's fingerprint instead; a difference there is only a warning.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from act_eval.decoding import build
from act_eval.defects import describe_value
from act_eval.errors import RunFolderError, SuiteMismatch, UsageError


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A fixed list of seeded episodes of one environment."""

    env: str
    """Gymnasium id, as in `act_eval/ConfuserPick-v0`."""
    kwargs: Mapping[str, Any]
    """Options of the environment (JSON values)."""
    horizon: int
    """Control steps after which an episode is cut off."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Facts that the environment declares (JSON values): hash of the compiled scene, version of the outcome rules,
    hold rule."""
    seeds: tuple[int, ...]
    """Episode seeds; episode number i is the i-th."""

    def __post_init__(self) -> None:
        if not self.seeds:
            raise UsageError("a suite needs at least one episode; it has no seed")
        if self.horizon < 1:
            raise UsageError(f"a suite needs a horizon of at least one step, got {self.horizon}")
        # Through JSON and back, so that a suite that was just made equals the same suite read from a manifest.
        for name in ("kwargs", "facts"):
            object.__setattr__(self, name, json.loads(_canonical(getattr(self, name))))
        object.__setattr__(self, "seeds", tuple(int(seed) for seed in self.seeds))

    @property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the suite's canonical JSON."""
        return hashlib.sha256(_canonical(asdict(self)).encode()).hexdigest()[:16]

    @property
    def command_unit(self) -> str:
        """Unit of the commands, which an environment may declare among its facts; empty if it is not known."""
        return str(self.facts.get("command_unit", "rad" if self.env.startswith("act_eval/") else ""))

    def to_json(self) -> dict[str, Any]:
        """Return the suite as JSON values, its hash included."""
        return {**asdict(self), "seeds": list(self.seeds), "hash": self.hash}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], place: str) -> "Suite":
        """Return the suite of `to_json`; errors begin with `place`.

        Raises:
            RunFolderError: naming the field that is missing, unknown or of another type, or if the hash does not match
                the fields.
        """
        suite = build(cls, {name: value for name, value in values.items() if name != "hash"}, place)
        if suite.hash != values.get("hash"):
            recorded = describe_value(values.get("hash"))
            raise RunFolderError(
                f"{place} is damaged: its fields hash to {suite.hash}, the recorded hash is {recorded}"
            )
        return suite

    def check_same(self, other: "Suite") -> None:
        """Check that another run has the same suite.

        Raises:
            SuiteMismatch: naming every field that differs, with both values.
        """
        if lines := differences(self.to_json() | {"hash": ""}, other.to_json() | {"hash": ""}, "suite"):
            raise SuiteMismatch("the runs used different suites:\n  " + "\n  ".join(lines))


def differences(first: Any, second: Any, name: str) -> list[str]:
    """Return one line per entry that differs between two JSON values, as in `suite.kwargs.confusers: 1 against 2`."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        keys = sorted(set(first) | set(second))
        missing = "(absent)"
        return [
            line
            for key in keys
            for line in differences(first.get(key, missing), second.get(key, missing), f"{name}.{key}")
        ]
    if first == second and type(first) is type(second):
        return []
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return [_list_difference(first, second, name)]
    return [f"{name}: {_short(first)} against {_short(second)}"]


def warnings_about(seeds: Sequence[int]) -> list[str]:
    """Return a warning if episode seeds repeat."""
    repeated = len(seeds) - len(set(seeds))
    if not repeated:
        return []
    return [f"{repeated} of {len(seeds)} episode seeds repeat another: these episodes are not independent"]


def warnings_about_starts(initial_states: Iterable[str]) -> list[str]:
    """Return a warning if initial states repeat; `initial_states` are digests, one per episode."""
    digests = list(initial_states)
    distinct = len(set(digests))
    if distinct == len(digests):
        return []
    return [f"only {distinct} distinct initial states in {len(digests)} episodes: the intervals are too narrow"]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of a list such as `3,17`.

    Raises:
        UsageError: naming the entry that is not a whole number from 0 to 2**53 - 1.
    """
    return tuple(_parse_seed(entry.strip(), text) for entry in text.split(","))


def _parse_seed(entry: str, text: str) -> int:
    if not (entry.isascii() and entry.isdigit()) or int(entry[:20]) >= 2**53:
        raise UsageError(f"seeds are whole numbers from 0 to 2**53 - 1 with commas between; got {entry!r} in {text!r}")
    return int(entry)


def _canonical(values: Any) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _list_difference(first: Sequence[Any], second: Sequence[Any], name: str) -> str:
    if len(first) != len(second):
        return f"{name}: {len(first)} entries against {len(second)}"
    i = next(i for i, pair in enumerate(zip(first, second, strict=True)) if pair[0] != pair[1])
    return f"{name}: entry {i} is {_short(first[i])} against {_short(second[i])}"


def _short(value: Any) -> str:
    text = str(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
