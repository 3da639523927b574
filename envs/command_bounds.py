"""Commands outside the action space, counted per episode.

Most environments clip such commands, so that a policy in other units fails without another sign.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from act_eval.types.episodes import OUTSIDE

_TOLERANCE = 1e-5
"""Share of a bound by which a command may lie beyond it: float32 rounding."""


class CommandBounds:
    """Counts the commands of an episode that lie outside a space.

    Args:
        space: Of the actions, (A,).
    """

    def __init__(self, space: spaces.Box) -> None:
        self._low, self._high = space.low.astype(np.float64), space.high.astype(np.float64)
        self._lowest = self._low - _TOLERANCE * np.maximum(1, np.abs(self._low))
        self._highest = self._high + _TOLERANCE * np.maximum(1, np.abs(self._high))
        self.reset()

    def reset(self) -> None:
        """Begin an episode."""
        self._steps, self._farthest, self._worst = 0, 0.0, {}

    def see(self, command: NDArray[Any]) -> None:
        """Receive the command (A,) of a step."""
        if not ((command < self._lowest) | (command > self._highest)).any():
            return
        self._steps += 1
        beyond = np.maximum(self._low - command, command - self._high)
        entry = int(np.argmax(beyond))
        if beyond[entry] > self._farthest:
            self._farthest = float(beyond[entry])
            low, high = (float(b[entry]) if np.isfinite(b[entry]) else None for b in (self._low, self._high))
            self._worst = {"entry": entry, "value": float(command[entry]), "low": low, "high": high}

    def detail(self) -> dict[str, Any]:
        """Return the entry of an episode's record; empty if every command was inside."""
        return {OUTSIDE: {"steps": self._steps, **self._worst}} if self._steps else {}
