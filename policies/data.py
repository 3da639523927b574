"""Training samples: one observation and the window of commands that begins with it.

Frame t of an episode gives `o_t`, the commands `a_t … a_{t+T-1}` and `a_{t-1}`. Beyond the end of the episode the
last command is repeated and marked as padding. A data set of corrections holds a window, a delay and a_{t-1} with
every observation. Samples are read from disk on demand.

Legend: `B` samples · `T` commands of a window · `K` commands before it · `A` action dim ·
`H`, `W` image height and width.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from act_eval.datasets import Demonstrations, FrameCache
from act_eval.datasets.layout import CORRECTION, CORRECTION_DELAY, CORRECTION_LENGTH
from act_eval.errors import DatasetError, UsageError
from act_eval.policies.rtc import DELAY
from act_eval.types import (
    ACTION,
    ENVIRONMENT_STATE,
    IMAGE_PREFIX,
    LAST_ACTION,
    PAST_ACTIONS,
    STATE,
    FloatArray,
    IntArray,
)

IS_PAD = "action_is_pad"


class Windows(Dataset[dict[str, Tensor]]):
    """The samples of some episodes of a data set, numbered 0 … len - 1 in the order of the episodes.

    A sample: `observation.state` float32 (J,), `observation.environment_state` float32 as stored,
    `observation.images.NAME` uint8 (3, H, W), `action` float32 (T, A), `action_is_pad` bool (T,), `last_action`
    float32 (A,): a_{t-1}, or the joints of o_0 at t = 0; where asked for `past_actions` float32 (K, A); from
    corrections also `delay` int64. `batch` gives many with a leading dimension B.
    """

    def __init__(
        self,
        data: Demonstrations,
        cache: FrameCache,
        window: int,
        *,
        episodes: Sequence[int] | None = None,
        cameras: Sequence[str] | None = None,
        past: int = 0,
    ) -> None:
        """Choose samples; nothing is read.

        Args:
            data: the data set.
            cache: its frames, from `open_cache`.
            window: T, commands per sample: the chunk, plus the largest delay for a shifted window.
            episodes: which episodes; all by default.
            cameras: which cameras; all by default.
            past: K, commands before the observation.

        Raises:
            UsageError: if T < 1 or an episode does not exist.
            DatasetError: if the data set has no state or no action.
        """
        if window < 1:
            raise UsageError(f"a window has {window} commands; it needs at least 1")
        self.holds_corrections = data.holds_corrections
        lacking = [key for key in (STATE, CORRECTION if self.holds_corrections else ACTION) if key not in data.features]
        if lacking:
            raise DatasetError(f"{data.root} has no {' and no '.join(lacking)}; training needs both")
        if self.holds_corrections and data.features[CORRECTION].width < window * data.features[LAST_ACTION].width:
            held = data.features[CORRECTION].width // data.features[LAST_ACTION].width
            raise DatasetError(
                f"{data.root} holds corrections of {held} commands; this policy learns {window} (chunk and largest "
                "delay): collect them with it or with a policy of its sizes"
            )
        chosen = np.arange(len(data.episodes)) if episodes is None else np.asarray(episodes, np.int64)
        unknown = chosen[(chosen < 0) | (chosen >= len(data.episodes))]
        if len(unknown):
            raise UsageError(f"{data.root} has episodes 0 … {len(data.episodes) - 1}; there is no {unknown.tolist()}")
        if self.holds_corrections and past:
            kept = data.features[PAST_ACTIONS].shape[0] if PAST_ACTIONS in data.features else 0
            kept //= data.features[LAST_ACTION].width
            if past > kept:
                raise DatasetError(
                    f"{data.root} holds corrections with the {kept} commands before each observation; this policy "
                    f"reads {past} (n_past_actions)"
                )
        self.window, self._past = window, past
        self._cache = cache
        self._starts = data.episodes.starts[chosen]
        self._lengths = data.episodes.lengths[chosen]
        self._ends = np.cumsum(self._lengths)
        images = [IMAGE_PREFIX + name for name in (data.cameras if cameras is None else cameras)]
        wanted = [STATE, ENVIRONMENT_STATE, *images]
        data.require({key: data.shapes.get(key, ()) for key in images})
        self._observed = [key for key in wanted if key in cache.shapes]

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, sample: int) -> dict[str, Tensor]:
        return {key: value[0] for key, value in self.batch([sample]).items()}

    def batch(self, frames: Sequence[int] | IntArray) -> dict[str, Tensor]:
        """Return samples as one raw training batch.

        Args:
            frames: (B,) sample numbers.

        Raises:
            IndexError: if a number lies outside 0 … len - 1.
        """
        samples = np.asarray(frames, np.int64)
        if len(samples) and (samples.min() < 0 or samples.max() >= len(self)):
            raise IndexError(f"samples {samples.min()} … {samples.max()} requested; there are {len(self)}")
        episode = np.searchsorted(self._ends, samples, side="right")
        first = self._starts[episode]
        step = samples - (self._ends[episode] - self._lengths[episode])
        last = first + self._lengths[episode] - 1
        batch = {key: torch.from_numpy(self._cache.read(key, first + step)) for key in self._observed}
        if self.holds_corrections:
            return batch | self._corrected(first + step)
        actions, is_pad = self._actions(first + step, last)
        batch[ACTION], batch[IS_PAD] = torch.from_numpy(actions), torch.from_numpy(is_pad)
        before = torch.from_numpy(self._commands_before(first, step, max(1, self._past)))
        batch[LAST_ACTION] = before[:, -1]
        return batch | ({PAST_ACTIONS: before} if self._past else {})

    def _corrected(self, now: IntArray) -> dict[str, Tensor]:
        """Return the stored windows of labelled moments; beyond its length a window repeats its last command."""
        last_action = self._cache.read(LAST_ACTION, now)
        commands = self._cache.read(CORRECTION, now).reshape(len(now), -1, last_action.shape[1])
        length = self._cache.read(CORRECTION_LENGTH, now).astype(np.int64)
        steps = np.arange(self.window)
        taken = np.minimum(steps, length - 1)
        past: dict[str, Tensor] = {}
        if self._past:
            before = self._cache.read(PAST_ACTIONS, now).reshape(len(now), -1, last_action.shape[1])
            past[PAST_ACTIONS] = torch.from_numpy(before[:, -self._past :])
        return past | {
            ACTION: torch.from_numpy(np.take_along_axis(commands, taken[..., None], axis=1)),
            IS_PAD: torch.from_numpy(steps >= length),
            LAST_ACTION: torch.from_numpy(last_action),
            DELAY: torch.from_numpy(self._cache.read(CORRECTION_DELAY, now).astype(np.int64)[:, 0]),
        }

    def _actions(self, now: IntArray, last: IntArray) -> tuple[FloatArray, np.ndarray]:
        targets_BT = now[:, None] + np.arange(self.window)
        clamped_BT = np.minimum(targets_BT, last[:, None])
        flat = self._cache.read(ACTION, clamped_BT.reshape(-1))
        return flat.reshape(*clamped_BT.shape, -1), targets_BT > last[:, None]

    def _commands_before(self, first: IntArray, step: IntArray, count: int) -> FloatArray:
        """Return (B, count, A) commands before the observations, see `PAST_ACTIONS`."""
        steps_BK = np.maximum(step[:, None] + np.arange(-count, 0), 0)
        commands = self._cache.read(ACTION, (first[:, None] + steps_BK).reshape(-1)).reshape(*steps_BK.shape, -1)
        at_start = step == 0
        if at_start.any():
            joints = self._cache.read(STATE, first[at_start])
            if joints.shape[1] != commands.shape[2]:
                raise DatasetError(f"states have {joints.shape[1]} joints, actions {commands.shape[2]} entries")
            commands[at_start] = joints[:, None]
        return commands


class JoinedWindows:
    """The samples of several data sets, one after the other; all show the same features.

    Args:
        parts: demonstrations and corrections.
        correction_share: share of corrections in a batch where there are both.
    """

    def __init__(self, parts: Sequence[Windows], correction_share: float = 0.5) -> None:
        self._parts = tuple(sorted(parts, key=lambda part: part.holds_corrections))
        self._correction_share = correction_share
        self._ends = np.cumsum([len(part) for part in self._parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def groups(self) -> tuple[tuple[int, float], ...]:
        """(samples, share of a batch) of the demonstrations and of the corrections."""
        corrections = sum(len(part) for part in self._parts if part.holds_corrections)
        demonstrations = len(self) - corrections
        share = self._correction_share if demonstrations and corrections else float(corrections > 0)
        return (demonstrations, 1 - share), (corrections, share)

    def batch(self, frames: Sequence[int] | IntArray) -> dict[str, Tensor]:
        """Return samples as one raw training batch, in the requested order; see `Windows.batch`."""
        samples = np.asarray(frames, np.int64)
        if len(samples) and (samples.min() < 0 or samples.max() >= len(self)):
            raise IndexError(f"samples {samples.min()} … {samples.max()} requested; there are {len(self)}")
        owner = np.searchsorted(self._ends, samples, side="right")
        found: dict[str, Tensor] = {}
        for number, part in enumerate(self._parts):
            rows = np.flatnonzero(owner == number)
            if not len(rows):
                continue
            for key, value in part.batch(samples[rows] - (self._ends[number] - len(part))).items():
                # Demonstrations have no delay of their own: -1.
                whole = found.setdefault(key, value.new_full((len(samples), *value.shape[1:]), -1))
                whole[torch.from_numpy(rows)] = value
        return found


def split_episodes(count: int, held_out: float, seed: int) -> tuple[list[int], list[int]]:
    """Split episodes 0 … count - 1 into (trained on, held out), both in rising order.

    At least one episode is held out where the share is above 0, and at least one is trained on.

    Raises:
        UsageError: if the share is not in [0, 1).
    """
    if not 0 <= held_out < 1:
        raise UsageError(f"the held-out share of the episodes is {held_out}; it must be in [0, 1)")
    number = 0 if held_out == 0 else min(max(1, round(count * held_out)), count - 1)
    order = np.random.default_rng(np.random.SeedSequence(seed)).permutation(count)
    return sorted(order[number:].tolist()), sorted(order[:number].tolist())


def iter_episode_vectors(data: Sequence[Demonstrations]) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield (actions (L, A), states (L, J)) of every episode, for statistics of relative actions."""
    for part in data:
        for episode in range(len(part.episodes)):
            vectors = part.vectors(episode, [ACTION, STATE])
            yield vectors[ACTION], vectors[STATE]
