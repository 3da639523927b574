"""Per-step arrays of an episode on disk: enough to show it again, frame by frame, and to see who decided each step.

Legend: `T` control steps taken · `A` action dim · `S` size of the simulator state.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from act_eval.errors import RunFolderError
from act_eval.types import BoolArray, FloatArray, IntArray, StepRecord


@dataclass(frozen=True, kw_only=True)
class EpisodeSteps:
    """The steps of one episode; see `act_eval.types.Actions` for the meaning of each field."""

    command: FloatArray
    """(T, A); (0,) without a step"""
    chunk: IntArray
    """(T,)"""
    index: IntArray
    """(T,)"""
    observed: IntArray
    """(T,)"""
    requested: BoolArray
    """(T,)"""
    told_delay: IntArray
    """(T,)"""
    actual_delay: IntArray
    """(T,)"""
    in_flight: IntArray
    """(T,)"""
    seam: BoolArray
    """(T,)"""
    state: NDArray[np.float64]
    """(T + 1, S) simulator states, the terminal one last."""

    @property
    def steps(self) -> int:
        """T."""
        return len(self.command)


def collect(records: Sequence[StepRecord], terminal: NDArray[np.float64]) -> EpisodeSteps:
    """Return the arrays of an episode from its step records and the state after the last step."""
    kinds = {"requested": np.bool_, "seam": np.bool_}
    names = [f.name for f in fields(EpisodeSteps) if f.name not in ("command", "state")]
    return EpisodeSteps(
        command=np.array([record.command for record in records], np.float32),
        state=np.stack([*(record.state for record in records), terminal]).astype(np.float64),
        **{name: np.array([getattr(r, name) for r in records], kinds.get(name, np.int64)) for name in names},
    )


def path_of(folder: Path, episode: int) -> Path:
    """Return where an episode's steps lie in the `steps` folder of an arm."""
    return folder / f"{episode:04d}.npz"


def save(path: Path, steps: EpisodeSteps) -> None:
    """Write an episode's steps; equal steps give equal bytes, and the file appears when it is complete."""
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("wb") as file:
        np.savez_compressed(file, **{f.name: getattr(steps, f.name) for f in fields(EpisodeSteps)})
    unfinished.replace(path)


def load(path: Path) -> EpisodeSteps:
    """Read an episode's steps.

    Raises:
        RunFolderError: if the file is missing or damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return EpisodeSteps(**{f.name: arrays[f.name] for f in fields(EpisodeSteps)})
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} is missing") from error
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise RunFolderError(f"{path} is damaged ({type(error).__name__}: {error})") from error
