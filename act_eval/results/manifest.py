"""`manifest.json` of a run folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from act_eval.decoding import JSON, build, read_json
from act_eval.defects import describe_value
from act_eval.errors import RunFolderError
from act_eval.results.integrity import check_condition_name
from act_eval.results.suites import Suite, differences

VideoMode = Literal["all", "failures", "none"]
"""Which episodes are recorded."""

SCHEMA = 2
"""Version of the layout and of the manifest's fields."""
MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The description of a run."""

    suite: Suite
    """The episodes."""
    configuration: Mapping[str, Any]
    """All else that determines the records (JSON values): policy, conditions by name, precision, compile mode, video
    mode."""
    fingerprint: Mapping[str, Any]
    """Further facts that results may depend on (JSON values): versions, CPU, threads, renderer."""
    notes: Mapping[str, Any]
    """Facts that no result depends on (JSON values): command, date, git commit, workers, batch size, `replayable`."""

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the conditions, in their order."""
        return tuple(self.configuration["conditions"])

    @property
    def policy(self) -> Mapping[str, Any]:
        """The policy's entry; its `name` is always present."""
        return {"name": "policy", **(self.configuration.get("policy") or {})}

    @property
    def replayable(self) -> bool:
        """Whether videos can be rendered from logged states; true for runs without this entry."""
        return self.notes.get("replayable") is not False

    @property
    def digested(self) -> bool:
        """Whether the run records digests of its files."""
        return self.notes.get("digests") is True

    @property
    def input_check(self) -> tuple[str, ...]:
        """Findings of the input check, a line each."""
        return tuple(map(str, self.notes.get("input_check", ())))

    @property
    def purity(self) -> Mapping[str, Mapping[str, Any]]:
        """Perturbation → what it changes, as checked before the run; see `act_eval.perturbations.purity`."""
        return self.notes.get("purity", {})

    def with_notes(self, **more: Any) -> "Manifest":
        """Return a manifest with further notes."""
        return replace(self, notes={**self.notes, **more})

    def to_json(self) -> dict[str, Any]:
        """Return the content of `manifest.json`."""
        return {
            "schema": SCHEMA,
            "suite": self.suite.to_json(),
            "configuration": dict(self.configuration),
            "fingerprint": dict(self.fingerprint),
            "notes": dict(self.notes),
        }

    def differences(self, other: "Manifest") -> list[str]:
        """Return one line for each entry that differs and decides the records, with this run's value first."""
        own, others = (json.loads(json.dumps(one.to_json())) for one in (self, other))
        return [
            line
            for name in ("suite", "configuration", "fingerprint")
            for line in differences(own[name], others[name], name)
            if not line.startswith("suite.hash:")
        ]

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of a run folder.

        Raises:
            RunFolderError: if there is none, it is damaged, or it has another schema.
        """
        path = folder / MANIFEST
        content = read_versioned(path, SCHEMA, f"{folder} is not a run folder: it has no {MANIFEST}")
        suite = Suite.from_json(build(_Content, content, str(path)).suite, f"{path}, suite")
        parts = {name: content[name] for name in ("configuration", "fingerprint", "notes")}
        if not isinstance(parts["configuration"].get("conditions"), dict):
            raise RunFolderError(f"{path} names no conditions")
        for name, kind in (("configuration", _Configuration), ("notes", _Notes)):
            build(kind, parts[name], f"{path}, {name}", ignore_unknown=True, use_defaults=True)
        for name in parts["configuration"]["conditions"]:
            check_condition_name(name, str(path))
        return cls(suite=suite, **parts)


@dataclass(frozen=True, kw_only=True)
class _Content:
    """The fields of `manifest.json`."""

    schema: int
    suite: JSON
    configuration: JSON
    fingerprint: JSON
    notes: JSON


@dataclass(frozen=True, kw_only=True)
class _Policy:
    """The fields of the policy's entry that readers rely on."""

    name: str = ""
    digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Configuration:
    """The fields of `configuration` that readers rely on."""

    conditions: dict[str, JSON]
    policy: _Policy | None = None
    video: VideoMode | None = None


@dataclass(frozen=True, kw_only=True)
class _Notes:
    """The fields of `notes` that readers rely on."""

    replayable: bool = True
    digests: bool = False
    input_check: tuple[str, ...] = ()
    purity: JSON = field(default_factory=dict)
    grown: tuple[JSON, ...] = ()


def read_versioned(path: Path, schema: int, missing: str) -> JSON:
    """Return the content of a JSON file with a field `schema`.

    Args:
        path: The file.
        schema: The supported version.
        missing: The message if the file does not exist.

    Raises:
        RunFolderError: if the file is missing, damaged, or has another schema.
    """
    content = read_json(path, JSON, missing=missing)
    if content.get("schema") != schema or type(content["schema"]) is not int:
        older = "; act_eval 0.1.0 reads it" if content.get("schema") == 1 else ""
        raise RunFolderError(
            f"{path} has schema {describe_value(content.get('schema'))}; this version reads schema {schema}{older}"
        )
    return content
