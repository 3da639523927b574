"""A baseline: the outcomes of one run, with everything that says when they can be expected again.

Where the numeric fingerprint of a new run is the recorded one, its outcome vector must be the recorded one to the
last episode. Elsewhere (another processor, renderer or library version) floating-point noise may flip an episode;
then the paired test judges, which fails only when a drop is shown.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from act_eval.errors import RunFolderError, SuiteMismatch
from act_eval.records import INVALID, OUTCOMES, SUCCESS, read_episodes, write_atomically
from act_eval.runs import Manifest
from act_eval.stats import PairedTable, SuccessRate, holm, minimum_detectable_drop
from act_eval.suites import Suite, differences

SCHEMA = 1
ALPHA = 0.05
"""Level of the paired test, over all arms of a baseline together."""

_NO_MATTER = ("act_eval", "scipy", "av")
"""Entries of the fingerprint that no outcome depends on."""
_DECIDING = ("policy", "arms", "device", "precision", "compile", "rows_per_call")
"""Entries of the configuration that outcomes depend on."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Recorded outcomes of a run."""

    reason: str
    """Why this is the baseline, for whoever reads its history."""
    suite: Suite
    configuration: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    outcomes: Mapping[str, tuple[str, ...]]
    """Arm → outcome of each episode in suite order."""

    @classmethod
    def of_run(cls, folder: Path, reason: str) -> "Baseline":
        """Return the baseline that a finished run folder makes.

        Raises:
            RunFolderError: if the folder is no finished run.
        """
        manifest = Manifest.read(folder)
        outcomes = {
            arm: tuple(record.outcome for record in read_episodes(folder / arm / "episodes.jsonl"))
            for arm in manifest.arms
        }
        return cls(
            reason=reason,
            suite=manifest.suite,
            configuration={k: manifest.configuration[k] for k in _DECIDING if k in manifest.configuration},
            fingerprint=manifest.fingerprint,
            outcomes=outcomes,
        )

    @classmethod
    def read(cls, path: Path) -> "Baseline":
        """Read a baseline.

        Raises:
            RunFolderError: if the file is missing, damaged or of another schema.
        """
        try:
            values = json.loads(path.read_bytes())
            if values["schema"] != SCHEMA:
                raise RunFolderError(f"{path} has schema {values['schema']}; this version reads schema {SCHEMA}")
            outcomes = {arm: tuple(vector) for arm, vector in values["outcomes"].items()}
            baseline = cls(
                reason=values["reason"],
                suite=Suite.from_json(values["suite"]),
                configuration=dict(values["configuration"]),
                fingerprint=dict(values["fingerprint"]),
                outcomes=outcomes,
            )
        except FileNotFoundError as error:
            raise RunFolderError(f"baseline {path} does not exist") from error
        except (ValueError, KeyError, TypeError, AttributeError, SuiteMismatch) as error:
            raise RunFolderError(f"baseline {path} is damaged ({type(error).__name__}: {error})") from error
        baseline._check(path)
        return baseline

    def write(self, path: Path) -> None:
        """Write the baseline, in place of an earlier one.

        Raises:
            RunFolderError: if an episode is invalid: what it would have been is unknown.
        """
        self._check(path)
        values = {
            "schema": SCHEMA,
            "reason": self.reason,
            "suite": self.suite.to_json(),
            "configuration": dict(self.configuration),
            "fingerprint": dict(self.fingerprint),
            "outcomes": {arm: list(vector) for arm, vector in self.outcomes.items()},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (json.dumps(values, indent=1) + "\n").encode())

    def describe(self) -> str:
        """Return one line per arm: its success rate."""
        rates = {arm: SuccessRate(vector.count(SUCCESS), len(vector)) for arm, vector in self.outcomes.items()}
        return "\n".join(f"{arm}: {rate.describe()}" for arm, rate in rates.items())

    def _check(self, path: Path) -> None:
        for arm, vector in self.outcomes.items():
            if len(vector) != len(self.suite.seeds):
                raise RunFolderError(f"{path}: arm {arm} has {len(vector)} outcomes for {len(self.suite.seeds)} seeds")
            if unknown := set(vector) - set(OUTCOMES):
                raise RunFolderError(f"{path}: arm {arm} has unknown outcomes {sorted(unknown)}")
            if INVALID in vector:
                raise RunFolderError(f"{path}: arm {arm} has invalid episodes; run them again before recording")


@dataclass(frozen=True)
class Judgement:
    """What a new run says against its baseline."""

    passed: bool
    exact: bool
    """Whether outcome vectors were compared episode by episode; otherwise the paired test judged."""
    text: str


def judge(baseline: Baseline, run: Baseline) -> Judgement:
    """Judge a new run, given as `Baseline.of_run` returns it.

    Raises:
        SuiteMismatch: if suite or configuration differ: then the baseline says nothing about the run.
    """
    lines = differences(baseline.suite.to_json(), run.suite.to_json(), "suite")
    lines += differences(baseline.configuration, run.configuration, "configuration")
    if lines:
        told = "\n  ".join(line for line in lines if not line.startswith("suite.hash"))
        raise SuiteMismatch(f"the run is not one of the baseline's (there, against here):\n  {told}\nRecord it anew.")
    noise = differences(_numeric(baseline.fingerprint), _numeric(run.fingerprint), "fingerprint")
    return _judge_paired(baseline, run, noise) if noise else _judge_exactly(baseline, run)


def _judge_exactly(baseline: Baseline, run: Baseline) -> Judgement:
    flips = [
        f"{arm}, episode {i} (seed {run.suite.seeds[i]}): {before} before, {now} now"
        for arm, vector in baseline.outcomes.items()
        for i, (before, now) in enumerate(zip(vector, run.outcomes[arm], strict=True))
        if before != now
    ]
    count = sum(map(len, baseline.outcomes.values()))
    head = f"same numeric fingerprint, {count} outcomes compared one by one: "
    return Judgement(not flips, True, head + ("; ".join(flips) if flips else "all equal"))


def _judge_paired(baseline: Baseline, run: Baseline, noise: Sequence[str]) -> Judgement:
    """Fail where an arm's success rate is shown to have dropped; an invalid episode counts as failed."""
    tables = {
        arm: PairedTable.count([o == SUCCESS for o in vector], [o == SUCCESS for o in run.outcomes[arm]])
        for arm, vector in baseline.outcomes.items()
    }
    adjusted = dict(zip(tables, holm([table.mcnemar() for table in tables.values()]), strict=True))
    dropped = [arm for arm, table in tables.items() if table.difference < 0 and adjusted[arm] < ALPHA]
    lines = [f"not the recorded machine ({'; '.join(noise)}): paired test instead of equality"]
    for arm, table in tables.items():
        before, now = table.both + table.only_first, table.both + table.only_second
        lines.append(
            f"{arm}: {before}/{table.pairs} before, {now}/{table.pairs} now, {table.only_first} lost, "
            f"{table.only_second} won, McNemar p = {adjusted[arm]:.3f} (Holm), {_resolution(before, table.pairs)}"
        )
    return Judgement(not dropped, False, "\n".join(lines))


def _resolution(successes: int, pairs: int) -> str:
    drop = minimum_detectable_drop(pairs, successes / pairs)
    return "no drop detectable with so few pairs" if drop is None else f"detectable drop {drop:.2f}"


def _numeric(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fingerprint.items() if name not in _NO_MATTER}
