"""The sides of a comparison: a run, or a baseline."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from act_eval.comparison.baselines import Baseline, InitialStates, Outcomes
from act_eval.errors import RunFolderError, UnknownName
from act_eval.results.run import StoredRun, read_run, video_name
from act_eval.results.suites import Suite
from act_eval.types import SUCCESS
from act_eval.video import SMALL


@dataclass(frozen=True, kw_only=True)
class Side:
    """Outcomes with their suite, configuration and fingerprint."""

    place: str
    """Path as given by the user."""
    suite: Suite
    configuration: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    outcomes: Outcomes
    initial_states: InitialStates
    run: StoredRun | None
    """Run with the videos; None for a baseline."""

    @classmethod
    def read(cls, place: Path | StoredRun) -> "Side":
        """Read a finished run folder, or a file of `baseline`.

        Raises:
            RunFolderError: if it is missing, unfinished, damaged or neither of both.
        """
        if isinstance(place, StoredRun):
            source = place
        elif place.is_file():
            source = Baseline.read(place)
        elif place.exists():
            source = read_run(place)
        else:
            raise RunFolderError(f"{place} does not exist; name a run folder of evaluate, or a file of baseline")
        return cls(
            place=str(place.folder if isinstance(place, StoredRun) else place),
            suite=source.suite,
            configuration=source.configuration,
            fingerprint=source.fingerprint,
            outcomes=source.outcomes,
            initial_states=source.initial_states,
            run=source if isinstance(source, StoredRun) else None,
        )

    @property
    def policy(self) -> Mapping[str, Any]:
        """The configuration's entry on the policy."""
        entry = self.configuration.get("policy")
        return entry if isinstance(entry, Mapping) else {}

    @property
    def policy_name(self) -> str:
        """Name of the policy, or the path of the results if there is none."""
        return str(self.policy.get("name", self.place))

    def check_condition(self, condition: str) -> str:
        """Return `condition`.

        Raises:
            UnknownName: if there is no such condition.
        """
        if condition not in self.outcomes:
            raise UnknownName(f"condition of {self.place}", condition, self.outcomes)
        return condition


@dataclass(frozen=True)
class Clip:
    """The video of an episode, or why there is none."""

    path: Path | None
    remark: str = ""

    def __str__(self) -> str:
        return str(self.path) if self.path else self.remark


def clip(side: Side, condition: str, episode: int) -> Clip:
    """Return the video of an episode."""
    if side.run is None:
        return Clip(None, "a baseline keeps no videos")
    record = side.run.conditions[condition].records[episode]
    path = side.run.conditions[condition].folder / "videos" / video_name(record)
    if path.is_file():
        return Clip(path)
    mode = side.configuration.get("video", "none")
    if mode == "none" or (mode == "failures" and record.outcome == SUCCESS):
        return Clip(None, f"not recorded (--video {mode})")
    if not side.run.manifest.replayable:
        return Clip(None, f"{path} is missing and cannot be rendered: it was recorded during the episode")
    words = ("render", str(side.run.folder), "--condition", condition, "--episodes", str(episode))
    again = shlex.join(["act-eval", *words])
    return Clip(None, f"{path} is missing; {again} --size {SMALL} renders it")


def parse_place(text: str) -> tuple[Path, str | None]:
    """Return the path and the condition of `RUN` or `RUN:CONDITION`."""
    if ":" in text and not Path(text).exists():
        place, _, condition = text.rpartition(":")
        return Path(place), condition
    return Path(text), None
