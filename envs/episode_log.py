"""The log of a running episode, with the outcome rules of its last moment.

The physics of a control step takes a quarter of a millisecond, so the rules must be cheap: placed blocks are computed
once per step, from the last two moments, and only if a block is inside the tray.
"""

from typing import NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

from act_eval.envs import outcomes
from act_eval.scenes.scene import Scene
from act_eval.scenes.workspace import TRAY
from act_eval.types import BoolArray, FloatArray


class Moment(NamedTuple):
    """The quantities of one state that the rules use."""

    blocks: NDArray[np.float64]
    """(K, 3) centres [m]."""
    pinch: NDArray[np.float64]
    """(3,) point between the jaws [m]."""
    touched: BoolArray
    """(K,) whether a jaw touches the block."""
    target: int


class RunningLog:
    """Collects a moment and a command per control step."""

    def __init__(self, scene: Scene, data: mujoco.MjData, target: int) -> None:
        """Begin with the moment after a reset."""
        self._scene = scene
        self._pads: frozenset[int] = frozenset(scene.pad_geom.tolist())
        self._blocks: list[int] = scene.block_geom.tolist()
        self._moments = [self._moment(data, target)]
        self.commands: list[FloatArray] = []
        """Clean commands (6,) [rad]."""
        self._nothing = np.zeros(len(scene.block_geom), np.int64)
        self._placed, self._placed_for = outcomes.placed(self._of(self._moments))[-1], self._nothing

    def copy(self) -> "RunningLog":
        """Return an independent log with the same content."""
        twin = object.__new__(RunningLog)
        twin.__dict__.update(self.__dict__)  # arrays are replaced, never written to
        twin._moments, twin.commands = list(self._moments), list(self.commands)
        return twin

    def add(self, data: mujoco.MjData, target: int) -> None:
        """Append the moment after a control step; its command is in `commands` already."""
        self._moments.append(self._moment(data, target))
        dx, dy = self._scene.config.variation.tray_shift
        if any(TRAY.holds(x - dx, y - dy) for x, y, _ in self.now.blocks.tolist()):
            before, now = self._moments[-2:]
            self._placed = outcomes.placed_now(
                now.blocks, before.blocks, now.pinch, now.touched, now.target, self._scene.config.variation
            )
            self._placed_for = np.where(self._placed, self._placed_for + 1, 0)
        else:
            self._placed = self._placed_for = self._nothing

    @property
    def now(self) -> Moment:
        """The last moment."""
        return self._moments[-1]

    def moved(self, block: int) -> NDArray[np.float64]:
        """Return by how much a block moved in the last control step (3,) [m]; not at all at reset."""
        return self._moments[-1].blocks[block] - self._moments[max(len(self._moments) - 2, 0)].blocks[block]

    @property
    def success(self) -> bool:
        """Whether the target is placed now, even if not yet for the hold time."""
        return bool(self._placed[self.now.target])

    @property
    def decided(self) -> bool:
        """Whether a block has been in the tray for the hold time: success, or the wrong block."""
        return self._placed_for is not self._nothing and int(self._placed_for.max()) >= outcomes.HOLD_STEPS

    def whole(self) -> outcomes.EpisodeLog:
        """Return the episode so far for the outcome rules."""
        return self._of(self._moments)

    def _of(self, moments: list[Moment]) -> outcomes.EpisodeLog:
        blocks, pinch, touched, target = zip(*moments, strict=True)
        commands = self.commands[len(self.commands) - len(moments) + 1 :] if len(moments) > 1 else []
        return outcomes.EpisodeLog(
            block_pos=np.array(blocks),
            pinch_pos=np.array(pinch),
            jaw_contact=np.array(touched),
            commands=np.array(commands, np.float32).reshape(-1, 6),
            target=np.array(target),
            variation=self._scene.config.variation,
        )

    def _moment(self, data: mujoco.MjData, target: int) -> Moment:
        scene = self._scene
        pads = self._pads
        pairs: list[tuple[int, int]] = data.contact.geom.tolist() if data.ncon else []
        at_jaws = {geom for pair in pairs if pair[0] in pads or pair[1] in pads for geom in pair}
        touched = np.array([geom in at_jaws for geom in self._blocks])
        return Moment(data.xpos[scene.block_body], data.site_xpos[scene.pinch_site].copy(), touched, target)
