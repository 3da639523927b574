"""What can be compared: the arms of a run folder, or the outcomes that a baseline recorded."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from act_eval.comparison.baselines import Baseline
from act_eval.errors import RunFolderError, UnknownName
from act_eval.results import Manifest, RunFolder
from act_eval.results.records import SUCCESS
from act_eval.results.suites import Suite
from act_eval.video import SMALL


@dataclass(frozen=True, kw_only=True)
class Results:
    """Outcomes with everything that says what they are the outcomes of."""

    place: str
    """As the user named it."""
    suite: Suite
    configuration: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    outcomes: Mapping[str, tuple[str, ...]]
    """Arm → outcome of each episode in suite order."""
    folder: Path | None
    """Run folder with the videos; None for a baseline."""
    replayable: bool = True
    """Whether videos can be made again from logged states."""

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Read a finished run folder, or a file of `baseline`.

        Raises:
            RunFolderError: if it is missing, unfinished, damaged or something else.
        """
        if path.is_file():
            return cls._of_baseline(path)
        if not path.exists():
            raise RunFolderError(f"{path} does not exist; name a run folder of evaluate, or a file of baseline")
        manifest = Manifest.read(path)
        run = RunFolder(path, manifest)
        return cls(
            place=str(path),
            suite=manifest.suite,
            configuration=manifest.configuration,
            fingerprint=manifest.fingerprint,
            outcomes={arm: tuple(record.outcome for record in run.episodes(arm)) for arm in manifest.arms},
            folder=path,
            replayable=manifest.replayable,
        )

    @classmethod
    def _of_baseline(cls, path: Path) -> "Results":
        baseline = Baseline.read(path)
        return cls(
            place=str(path),
            suite=baseline.suite,
            configuration=baseline.configuration,
            fingerprint=baseline.fingerprint,
            outcomes=baseline.outcomes,
            folder=None,
        )

    @property
    def policy(self) -> Mapping[str, Any]:
        """What the configuration says of the policy."""
        entry = self.configuration.get("policy")
        return entry if isinstance(entry, Mapping) else {}

    @property
    def policy_name(self) -> str:
        """Name of the policy, or the place where the results lie."""
        return str(self.policy.get("name", self.place))

    def check_arm(self, arm: str) -> str:
        """Return `arm`.

        Raises:
            UnknownName: if there is no such arm.
        """
        if arm not in self.outcomes:
            raise UnknownName(f"arm of {self.place}", arm, self.outcomes)
        return arm


@dataclass(frozen=True)
class Clip:
    """Where the video of an episode lies, or why there is none."""

    path: Path | None
    remark: str = ""

    def __str__(self) -> str:
        return str(self.path) if self.path else self.remark


def clip(results: Results, arm: str, episode: int) -> Clip:
    """Return the video of an episode."""
    if results.folder is None:
        return Clip(None, "a baseline keeps no videos")
    seed, outcome = results.suite.seeds[episode], results.outcomes[arm][episode]
    path = results.folder / arm / "videos" / f"{episode:04d}_seed{seed}_{outcome}.mp4"
    if path.is_file():
        return Clip(path)
    mode = results.configuration.get("video", "none")
    if mode == "none" or (mode == "failures" and outcome == SUCCESS):
        return Clip(None, f"not recorded (--video {mode})")
    if not results.replayable:
        return Clip(None, f"{path} is gone and cannot be made again: it was filmed while the episode ran")
    again = shlex.join(["python", "scripts/render.py", str(results.folder), "--arm", arm, "--episodes", str(episode)])
    return Clip(None, f"{path} is gone; {again} --size {SMALL} makes it again")


def parse_place(text: str) -> tuple[Path, str | None]:
    """Return the path and the arm of `RUN` or `RUN:ARM`."""
    if ":" in text and not Path(text).exists():
        place, _, arm = text.rpartition(":")
        return Path(place), arm
    return Path(text), None
