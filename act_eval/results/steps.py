"""Per-step arrays of an episode on disk: commands, chunks, delays and simulator states.

Legend: `T` control steps taken · `A` action dim · `S` size of the simulator state · `N` requests · `C` chunk length ·
`K` coordinates · `M` blocks · `J` joints.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from act_eval.errors import ActEvalError, RunFolderError, UnmeasuredRun
from act_eval.results.integrity import digest_of
from act_eval.types import ChunkSwitch, EpisodeRecord, Prediction, StepRecord
from act_eval.types.env_hooks import EnvHooks
from act_eval.types.scene import Motion
from act_eval.types.steps import EpisodeSteps
from act_eval.user_code import Fault


class StepRecorder:
    """An observer that writes the steps of every episode at its end, and keeps them until `take`.

    Args:
        folder: Output folder.
        hooks: Of the environment; they derive motion and scene track from the states.
    """

    def __init__(self, folder: Path, hooks: EnvHooks | None = None) -> None:
        self._folder = folder
        self._hooks = hooks or EnvHooks()
        self._records: dict[int, list[StepRecord]] = {}
        self._terminal: dict[int, NDArray[np.float64]] = {}
        self._finished: dict[int, tuple[EpisodeSteps, str, Motion | None]] = {}
        self.faults: dict[int, Fault] = {}
        """What a hook raised, by episode; its steps then lack what the hook gives."""

    def on_step(self, record: StepRecord) -> None:
        self._records.setdefault(record.episode, []).append(record)

    def on_end_state(self, episode: int, state: NDArray[np.float64]) -> None:
        self._terminal[episode] = state

    def on_episode_end(self, record: EpisodeRecord) -> None:
        episode = record.episode
        steps, motion = collect(self._records.pop(episode, []), self._terminal.pop(episode)), None
        try:
            found, motion = _places(self._hooks, steps.state, record.detail)
            steps = replace(steps, **found)
        except ActEvalError:
            raise
        except Exception as error:  # user code may raise anything
            self.faults[episode] = Fault.of(error)
        self._finished[episode] = steps, save(path_of(self._folder, episode), steps), motion

    def take(self, episode: int) -> tuple[EpisodeSteps, dict[str, str], Motion | None]:
        """Return, once, the steps of an episode that has ended, their file with its digest, and the arm's motion."""
        steps, digest, motion = self._finished.pop(episode)
        return steps, {f"{self._folder.name}/{path_of(self._folder, episode).name}": digest}, motion


def collect(records: Sequence[StepRecord], terminal: NDArray[np.float64]) -> EpisodeSteps:
    """Return the arrays of an episode from its step records and the state after the last step."""
    chunk_switch_effects = [_chunk_switch(record) for record in records]
    predictions = [prediction for record in records for prediction in record.predictions]
    integers = ("chunk", "index", "observed", "estimated_delay", "actual_delay", "in_flight")
    return EpisodeSteps(
        command=np.array([record.command for record in records], np.float32),
        ran=np.array([record.command if record.ran is None else record.ran for record in records], np.float32),
        requested=np.array([record.requested for record in records], np.bool_),
        chunk_switch=np.array([record.chunk_switch for record in records], np.bool_),
        replaced=np.array([change.replaced for change in chunk_switch_effects], np.float32),
        overlap_rmse=np.array([change.overlap_rmse for change in chunk_switch_effects], np.float32),
        state=np.stack([*(record.state for record in records), terminal]).astype(np.float64),
        **{name: np.array([getattr(record, name) for record in records], np.int64) for name in integers},
        **(_requests(predictions) if predictions else {}),
    )


def _requests(predictions: Sequence[Prediction]) -> dict[str, Any]:
    numbers = ("sent", "observation_step", "start", "ready", "estimated", "actual")
    return {
        **{name: np.array([getattr(one, name) for one in predictions], np.int64) for name in numbers},
        "lost": np.array([one.lost for one in predictions], np.bool_),
        "predicted": np.array([one.actions for one in predictions], np.float32),
        "goal_input": np.array([one.goal_input for one in predictions], np.float32),
    }


def _places(
    hooks: EnvHooks, states: NDArray[np.float64], detail: Mapping[str, Any]
) -> tuple[dict[str, Any], Motion | None]:
    """Return the fields that the hooks `motion` and `scene_track` fill, and the motion as it came."""
    found, motion = dict[str, Any](), None
    if states.size and hooks.motion is not None:
        motion = hooks.motion(states)
        found |= {"joints": motion.joints.astype(np.float32), "gripper_xyz": motion.gripper_xyz.astype(np.float32)}
    if states.size and hooks.scene_track is not None:
        track = hooks.scene_track(states, detail)
        found |= {"blocks_xyz": track.blocks_xyz.astype(np.float32), "target": track.target}
    return found, motion


def _chunk_switch(record: StepRecord) -> ChunkSwitch:
    if record.chunk_switch_effect is not None:
        return record.chunk_switch_effect
    nothing = np.full_like(record.command, np.nan)
    return ChunkSwitch(nothing, nothing)


def path_of(folder: Path, episode: int) -> Path:
    """Return the file of an episode's steps in the `steps` folder of a condition."""
    return folder / f"{episode:04d}.npz"


def save(path: Path, steps: EpisodeSteps) -> str:
    """Write an episode's steps atomically, and return the digest of the file; equal steps give equal bytes."""
    file, unfinished = BytesIO(), path.with_name(path.name + ".part")
    np.savez_compressed(file, **{f.name: getattr(steps, f.name) for f in fields(EpisodeSteps)})
    unfinished.write_bytes(file.getvalue())
    unfinished.replace(path)
    return digest_of(file.getvalue())


_DAMAGE = (
    # Errors of zipfile, zlib and numpy on a damaged archive of arrays.
    *(OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error, struct.error),
    *(NotImplementedError, RuntimeError, SyntaxError, MemoryError, OverflowError, TypeError),
)


def load(path: Path, digest: str | None = None) -> EpisodeSteps:
    """Read an episode's steps.

    Args:
        path: The file.
        digest: Of its content when it was written, if known.

    Raises:
        UnmeasuredRun: if the file lacks arrays, written by another version.
        RunFolderError: if the file is missing or damaged.
    """
    try:
        content = path.read_bytes()
        with ZipFile(BytesIO(content)) as archive:
            stored = {name.removesuffix(".npy") for name in archive.namelist()}
            required = [f.name for f in fields(EpisodeSteps) if f.default_factory is MISSING]
            if lacking := [name for name in required if name not in stored]:
                raise UnmeasuredRun(
                    f"{path} was written by another version: it has no {', '.join(lacking)}; "
                    "repeat the run's command with another --out"
                )
            names = [f.name for f in fields(EpisodeSteps) if f.name in stored]
            steps = EpisodeSteps(**{name: _array(archive.read(f"{name}.npy")) for name in names})
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} is missing; repeat the run's command, which runs its episode again") from error
    except _DAMAGE as error:
        raise RunFolderError(f"{path} is damaged ({type(error).__name__}: {error}); {_REMEDY}") from error
    if defect := _defect(steps):
        raise RunFolderError(f"{path} is damaged ({defect}); {_REMEDY}")
    if digest not in (None, found := digest_of(content)):
        raise RunFolderError(f"{path} was changed after the run (digest {found}, recorded {digest}); {_REMEDY}")
    return steps


def _array(content: bytes) -> NDArray[Any]:
    """Return the array of a .npy file. `np.load` takes most of its time to parse the headers, of which there are few.

    Raises:
        ValueError: if it is damaged, or holds objects.
    """
    if not content.startswith(_NPY):
        raise ValueError("an array does not begin as one")
    begin = _NPY_HEADER + int.from_bytes(content[_NPY_HEADER - 2 : _NPY_HEADER], "little")
    shape, by_columns, dtype = _header(content[_NPY_HEADER - 2 : begin])
    array = np.frombuffer(content[begin:], dtype) if len(content) > begin else np.empty(0, dtype)
    return array.reshape(shape, order="F" if by_columns else "C").copy()


_NPY = b"\x93NUMPY\x01\x00"
_NPY_HEADER = len(_NPY) + 2
_header = lru_cache(1024)(lambda content: np.lib.format.read_array_header_1_0(BytesIO(content)))


_REMEDY = "delete it and repeat the run's command, which runs its episode again"
_PER_STEP = ("command", "ran", "chunk", "index", "observed", "requested", "estimated_delay", "actual_delay")
_PER_STEP += ("in_flight", "chunk_switch", "replaced", "overlap_rmse")
_PER_REQUEST = ("observation_step", "start", "ready", "estimated", "actual", "lost")
_PER_STATE = ("joints", "gripper_xyz", "blocks_xyz", "target")


def _defect(steps: EpisodeSteps) -> str | None:
    """Return how arrays do not fit together; None if they do."""
    rows = {name: len(steps.chunk) for name in _PER_STEP} | {"state": len(steps.chunk) + 1}
    if len(steps.sent):
        rows |= {name: len(steps.sent) for name in _PER_REQUEST}
        rows |= {name: len(steps.sent) for name in ("predicted", "goal_input") if getattr(steps, name).size}
    rows |= {name: len(steps.chunk) + 1 for name in _PER_STATE if getattr(steps, name).size}
    for name, count in rows.items():
        array = getattr(steps, name)
        if array.dtype.kind not in "biuf":
            return f"{name} holds no numbers but {array.dtype}"
        if not array.ndim or len(array) != count:
            return f"{name} has shape {array.shape}; it must have {count} rows"
    for name in ("chunk", "index", "observed", "estimated_delay", "actual_delay", "sent", "observation_step", "ready"):
        if getattr(steps, name).ndim != 1 or getattr(steps, name).dtype.kind not in "iu":
            return f"{name} must be a list of whole numbers"
    return None
