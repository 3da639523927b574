"""Baselines: recorded outcomes of a run, with the suite, configuration and fingerprint that determine them.

One file holds one suite and one configuration, with outcomes of one or several machines, each keyed by its numeric
fingerprint. Runs on other machines are paired with the first recording.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from act_eval.decoding import build
from act_eval.errors import RunFolderError, SuiteMismatch
from act_eval.results.manifest import read_versioned
from act_eval.results.records import write_atomically
from act_eval.results.run import read_run
from act_eval.results.suites import Suite, differences
from act_eval.stats import SuccessRate
from act_eval.types import INVALID, OUTCOMES

SCHEMA = 2

_IRRELEVANT = ("act_eval", "scipy", "av")
"""Entries of the fingerprint that no outcome depends on."""
_DECIDING = ("policy", "conditions", "device", "precision", "compile", "rows_per_call")
"""Entries of the configuration that outcomes depend on."""
_HOW = "record one with: act-eval baseline RUN FILE --reason WHY"

Outcomes = Mapping[str, tuple[str, ...]]
"""Condition → outcome of each episode in suite order."""
InitialStates = Mapping[str, tuple[str | None, ...]]
"""Condition → digest of the state in which each episode began, None if it was not recorded."""


def numeric(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a fingerprint that outcomes may depend on."""
    return {name: value for name, value in fingerprint.items() if name not in _IRRELEVANT}


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The outcomes of the same suite and configuration on another machine."""

    reason: str
    fingerprint: Mapping[str, Any]
    outcomes: Outcomes


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Recorded outcomes of a run."""

    reason: str
    """Why this is the baseline."""
    suite: Suite
    configuration: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    outcomes: Outcomes
    initial_states: InitialStates = field(default_factory=dict)
    """Empty if they were not recorded."""
    machines: tuple[Recording, ...] = ()
    """Recordings with other fingerprints."""
    history: tuple[str, ...] = ()
    """Replaced baselines, oldest first: reason and rates."""

    @classmethod
    def of_run(cls, folder: Path, reason: str) -> "Baseline":
        """Return the baseline of a finished run folder.

        Raises:
            RunFolderError: if the folder is not a finished run.
        """
        run = read_run(folder)
        return cls(
            reason=reason,
            suite=run.suite,
            configuration={k: run.configuration[k] for k in _DECIDING if k in run.configuration},
            fingerprint=run.fingerprint,
            outcomes=run.outcomes,
            initial_states=run.initial_states,
        )

    @classmethod
    def read(cls, path: Path) -> "Baseline":
        """Read a baseline.

        Raises:
            RunFolderError: if the file is missing, damaged or of another schema.
        """
        try:
            content = read_versioned(path, SCHEMA, f"{path} does not exist")
            suite = content.get("suite")
            values = {name: value for name, value in content.items() if name != "schema"}
            if isinstance(suite, dict):
                values["suite"] = {name: value for name, value in suite.items() if name != "hash"}
            baseline = build(cls, values, str(path), use_defaults=True)
            Suite.from_json(content["suite"], f"{path}, suite")  # checks the hash
        except RunFolderError as error:
            raise RunFolderError(f"baseline {error}; {_HOW}") from error
        baseline._check(path)
        return baseline

    def write(self, path: Path) -> None:
        """Write the baseline, replacing an existing file.

        Raises:
            RunFolderError: if an episode is invalid, because its true outcome is unknown.
        """
        self._check(path)
        values = {"schema": SCHEMA, **asdict(self), "suite": self.suite.to_json()}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (json.dumps(values, indent=1) + "\n").encode())

    def describe(self) -> str:
        """Return the success rate of each condition, one per line."""
        return "\n".join(f"{condition}: {rate.describe()}" for condition, rate in self._rates().items())

    def replacing(self, earlier: "Baseline") -> "Baseline":
        """Return this baseline with the earlier one in its history."""
        rates = ", ".join(f"{condition} {rate.successes}/{rate.trials}" for condition, rate in earlier._rates().items())
        return replace(self, history=(*earlier.history, f"{earlier.reason} ({rates}; suite {earlier.suite.hash})"))

    def with_machine(self, other: "Baseline") -> "Baseline":
        """Return this baseline with another machine's outcomes, replacing earlier ones of that machine.

        Raises:
            SuiteMismatch: if the other is of another suite or configuration.
        """
        self.check_same(other)
        key = numeric(other.fingerprint)
        if numeric(self.fingerprint) == key:
            return replace(other, machines=self.machines, history=self.history)
        kept = tuple(r for r in self.machines if numeric(r.fingerprint) != key)
        new = Recording(reason=other.reason, fingerprint=other.fingerprint, outcomes=other.outcomes)
        return replace(self, machines=(*kept, new))

    def recorded(self, fingerprint: Mapping[str, Any]) -> Outcomes | None:
        """Return the outcomes recorded with this numeric fingerprint, or None."""
        known = (Recording(reason=self.reason, fingerprint=self.fingerprint, outcomes=self.outcomes), *self.machines)
        key = numeric(fingerprint)
        return next((r.outcomes for r in known if not differences(numeric(r.fingerprint), key, "")), None)

    def check_same(self, run: "Baseline") -> None:
        """Check that a run has the suite and configuration of this baseline.

        Raises:
            SuiteMismatch: naming every field of suite and configuration that differs.
        """
        lines = differences(self.suite.to_json(), run.suite.to_json(), "suite")
        lines += differences(self.configuration, run.configuration, "configuration")
        if lines:
            message = "\n  ".join(line for line in lines if not line.startswith("suite.hash"))
            raise SuiteMismatch(
                f"the run does not match the baseline (baseline against run):\n  {message}\nRecord a new baseline."
            )

    def _rates(self) -> dict[str, SuccessRate]:
        return {condition: SuccessRate.of_outcomes(vector) for condition, vector in self.outcomes.items()}

    def _check(self, path: Path) -> None:
        for outcomes in (self.outcomes, *(recording.outcomes for recording in self.machines)):
            if set(outcomes) != set(self.outcomes):
                raise RunFolderError(f"{path}: its machines recorded different conditions; {_HOW}")
            for condition, vector in outcomes.items():
                place = f"{path}: condition {condition}"
                if len(vector) != len(self.suite.seeds):
                    raise RunFolderError(f"{place} has {len(vector)} outcomes for {len(self.suite.seeds)} seeds")
                if unknown := sorted({str(outcome) for outcome in vector if outcome not in OUTCOMES}):
                    raise RunFolderError(f"{place} has unknown outcomes {unknown}")
                if INVALID in vector:
                    raise RunFolderError(f"{place} has invalid episodes; run them again before recording")


def update(path: Path, run: Baseline, add_machine: bool) -> str:
    """Write a run as the baseline at `path`, or add its machine to an existing one; return a description.

    Raises:
        RunFolderError: if an episode of the run is invalid, or the existing file is damaged.
        SuiteMismatch: if the existing baseline is of another suite or configuration.
    """
    written, text = run, f"written to {path}"
    if path.exists() or add_machine:
        earlier = Baseline.read(path)
        written = earlier.with_machine(run) if add_machine else run.replacing(earlier)
        text += f", replacing:\n{earlier.describe()}\n({earlier.reason})"
    if add_machine:
        text = f"added to {path}, which holds {len(written.machines) + 1} machines"
    written.write(path)
    return f"{run.describe()}\n{text}"
