"""An executor of your own: cross-fade from the old chunk to the new one over a few steps.

act-eval evaluate --policy act --env moving_pick --delay 0 4 8 --executor own_executor:CrossFade:fade=6
"""

from dataclasses import dataclass

import numpy as np

from act_eval.timing import Method
from act_eval.types import FloatArray


@dataclass(frozen=True)
class CrossFade(Method):
    """Run the old chunk while the new one is computed, then fade over to it along half a cosine."""

    fade: int = 4
    """Steps over which the new chunk takes over."""

    def merge(self, old: FloatArray, new: FloatArray, delay: int) -> FloatArray:
        """Return the actions from this step on, `old` and `new` being what each chunk has for them."""
        count = min(self.fade, len(old), len(new))
        weight = 0.5 - 0.5 * np.cos(np.pi * np.arange(1, count + 1)[:, None] / (count + 1))
        merged = new.copy()
        merged[:count] = weight * new[:count] + (1 - weight) * old[:count]
        return merged
