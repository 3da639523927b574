"""Policies of LeRobot by their folder, `lerobot:FOLDER`, each in a process of its own whose Python has LeRobot.

The process (`act_eval.lerobot_process`) serves on this machine only, with a token, and ends with its parent.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act_eval.decoding import JSON, read_json
from act_eval.errors import CheckpointError, UsageError
from act_eval.serving import need_serving
from act_eval.sources.hub import fetched, is_hub_id
from act_eval.sources.network_sources import PolicyFacts, digest, label
from act_eval.types import ChunkPolicy

if TYPE_CHECKING:
    from act_eval.sources.lerobot_client import LeRobotClient

PREFIX = "lerobot:"
_SECONDS = {"start_s": 300.0, "timeout_s": 600.0}
_TEXTS = ("task",)
_MAPS = ("rename_map", "rtc")


@dataclass(frozen=True, kw_only=True)
class LeRobotSource:
    """A policy of LeRobot by its folder."""

    folder: Path
    python: str
    """Path of the interpreter."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """`task`, `rename_map`, `rtc`; `start_s` and `timeout_s`."""
    device: str = "auto"
    rows_per_call: int = 8
    threads: int = 1
    local_only: None = None

    def __post_init__(self) -> None:
        """Refuse options that mean nothing.

        Raises:
            UsageError: naming the option, and those that there are.
        """
        for name, value in self.options.items():
            right = (
                (name in _SECONDS and isinstance(value, int | float) and not isinstance(value, bool) and value > 0)
                or (name in _TEXTS and isinstance(value, str))
                or (name in _MAPS and isinstance(value, Mapping) and all(isinstance(key, str) for key in value))
            )
            if not right:
                raise UsageError(
                    f"--policy-options {name}={value!r}: a LeRobot policy takes task=TEXT, "
                    "rename_map='{\"OURS\": \"THEIRS\"}', rtc='{FIELD: VALUE}' (of LeRobot's RTCConfig), start_s and "
                    "timeout_s (seconds above 0)"
                )

    @property
    def label(self) -> str:
        return label(str(self.folder))

    @property
    def identity(self) -> str:
        """A digest of the folder, the interpreter and the options."""
        return json.dumps([digest(self.folder), self.python, self._meaning()], sort_keys=True)

    def _meaning(self) -> dict[str, Any]:
        return {name: value for name, value in self.options.items() if name not in _SECONDS}

    def load(self, ready: bool = True) -> "LeRobotClient":
        """Start the process and connect.

        Raises:
            UsageError: if the Python lacks a package or cannot be run, or the policy cannot be evaluated.
            CheckpointError: if the folder is no checkpoint of a type that its LeRobot knows.
            RemoteError: if the process fails or does not start in time, with the end of its output.
        """
        need_serving("policies of LeRobot")
        from act_eval.sources.lerobot_client import LeRobotClient, LeRobotProcess

        settings = {"folder": str(self.folder), "device": self.device, "rows_per_call": self.rows_per_call}
        settings |= {"threads": self.threads, **self._meaning()}
        process = LeRobotProcess(self.python, f"{PREFIX}{self.folder}", settings)
        address = process.address(self.options.get("start_s", _SECONDS["start_s"]))
        return LeRobotClient(process, address, float(self.options.get("timeout_s", _SECONDS["timeout_s"])))

    def facts(self, policy: ChunkPolicy) -> PolicyFacts:
        """Return what the process said when it was connected to."""
        about = policy.handshake  # pyright: ignore[reportAttributeAccessIssue]  # what `load` gave
        spec, numbers = about.spec, about.numeric
        told = f", delays {spec.min_delay} to {spec.max_delay}" if spec.takes_prefix else ""
        alone = ", one row at a time" if about.run.get("rows_alone") else ""
        return PolicyFacts(
            spec=spec,
            identity={"digest": digest(self.folder), **about.identity},
            run=about.run,
            numeric=numbers,
            remarks=(
                f"policy  {about.identity['lerobot']} of LeRobot {numbers['lerobot']}, in a process of Python "
                f"{numbers['policy_python']} ({self.python}): {spec.history} observation{'s'[: spec.history > 1]}, "
                f"chunks of {spec.chunk}{told}{alone}",
            ),
        )


def lerobot_source(name: str, python: str | None, options: Mapping[str, Any], **settings: Any) -> LeRobotSource:
    """Return where the policy `lerobot:FOLDER` comes from.

    Args:
        name: With its prefix; a hub id in place of the folder is fetched.
        python: Path or name of the interpreter; None: this one.
        options: See `LeRobotSource`.
        settings: Device, rows per call, threads.

    Raises:
        UsageError: if there is no such interpreter, or an option is wrong.
        CheckpointError: if the folder is no policy of LeRobot.
    """
    found = shutil.which(python) if python else sys.executable
    if found is None:
        raise UsageError(f"--policy-python {python}: there is no program of this path or name that can be run")
    # Absolute, since a worker's directory may be another; links stay, for they tell a virtual environment.
    folder = _checkpoint(name.removeprefix(PREFIX))
    return LeRobotSource(folder=folder, python=os.path.abspath(found), options=options, **settings)


def _checkpoint(name: str) -> Path:
    given = Path(name)
    folders = [folder for folder in (given, given / "pretrained_model") if (folder / "config.json").is_file()]
    if not folders and not given.exists() and is_hub_id(name):
        folders = [fetched(name)]
    if not folders:
        there = "has no config.json" if given.is_dir() else "does not exist" if not given.exists() else "is a file"
        raise CheckpointError(
            f"{PREFIX}{name}: {name} {there}; expected LeRobot's pretrained_model folder, or a hub id"
        )
    try:
        config = read_json(folders[0] / "config.json", JSON, CheckpointError)
    except CheckpointError as error:
        raise CheckpointError(
            f"{PREFIX}{name} is no LeRobot policy's: its configuration is no JSON object: {error}"
        ) from error
    if not isinstance(config.get("type"), str):
        raise CheckpointError(f'{PREFIX}{name}: {folders[0] / "config.json"} is no LeRobot policy\'s: it has no "type"')
    return folders[0].absolute()
