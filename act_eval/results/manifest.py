"""`manifest.json` of a run folder: how the run was made."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from act_eval.decoding import JSON, build, read_json, shown
from act_eval.errors import RunFolderError
from act_eval.results.suites import Suite

SCHEMA = 2
"""Version of the layout and of the manifest's fields."""
MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """How a run was made."""

    suite: Suite
    """What is evaluated on."""
    configuration: Mapping[str, Any]
    """What else decides the records (JSON values): policy, conditions by name, precision, compile mode, video mode."""
    fingerprint: Mapping[str, Any]
    """What the numbers may depend on beyond that (JSON values): versions, CPU, threads, renderer."""
    notes: Mapping[str, Any]
    """What decides nothing (JSON values): command, date, git commit, workers, batch size, `replayable`."""

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the conditions, in their order."""
        return tuple(self.configuration["conditions"])

    @property
    def replayable(self) -> bool:
        """Whether videos can be made again from logged states; older runs do not say so and are taken to be."""
        return self.notes.get("replayable") is not False

    def to_json(self) -> dict[str, Any]:
        """Return the content of `manifest.json`."""
        return {
            "schema": SCHEMA,
            "suite": self.suite.to_json(),
            "configuration": dict(self.configuration),
            "fingerprint": dict(self.fingerprint),
            "notes": dict(self.notes),
        }

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
        return cls(suite=suite, **parts)


@dataclass(frozen=True, kw_only=True)
class _Content:
    """`manifest.json` as it is written."""

    schema: int
    suite: JSON
    configuration: JSON
    fingerprint: JSON
    notes: JSON


def read_versioned(path: Path, schema: int, missing: str) -> JSON:
    """Return the content of a file that says which schema it has.

    Args:
        path: The file.
        schema: The version that can be read.
        missing: The message where the file does not exist.

    Raises:
        RunFolderError: if the file is missing, damaged, or has another schema.
    """
    content = read_json(path, JSON, missing=missing)
    if content.get("schema") != schema or type(content["schema"]) is not int:
        older = "; act_eval 0.1.0 reads it" if content.get("schema") == 1 else ""
        raise RunFolderError(
            f"{path} has schema {shown(content.get('schema'))}; this version reads schema {schema}{older}"
        )
    return content
