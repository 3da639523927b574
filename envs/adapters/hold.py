"""Hold rules of external environments: the command of steps that no chunk covers.

The right rule depends on the controller. Absolute position targets: the last command again. Velocities and
displacements: zero; repeating them continues the motion. Torques: neither holds; zero lets the robot go limp.
"""

import numpy as np

from act_eval.errors import UsageError
from act_eval.types import FloatArray
from act_eval.types.env_hooks import HoldActionHook

REPEAT, ZERO, OWN = "repeat", "zero", "hold_action of the environment"


def hold_rule(declared: str | None, own: HoldActionHook | None, action_dim: int) -> tuple[str, HoldActionHook]:
    """Return the name of the rule, and the rule: last command (A,) → command (A,).

    Args:
        declared: `repeat`, `zero`, or one entry per action dim; None: the environment's method `hold_action`, or
            `repeat` without one.
        own: That method, if there is one.
        action_dim: A.

    Raises:
        UsageError: if the text is none of these.
    """
    if declared is None and own is not None:
        return OWN, own
    if declared in (None, REPEAT):
        return REPEAT, _repeat
    entries = ["0"] * action_dim if declared == ZERO else [entry.strip() for entry in declared.split(",")]
    fixed = np.array([_entry(entry, declared) for entry in entries], np.float32)
    if len(fixed) != action_dim:
        raise UsageError(f"hold is {declared!r}, which has {len(fixed)} entries; an action has {action_dim}")

    def hold(last_command: FloatArray) -> FloatArray:
        return np.where(np.isnan(fixed), last_command, fixed).astype(np.float32)

    return declared, hold


def _repeat(last_command: FloatArray) -> FloatArray:
    return last_command.copy()


def _entry(text: str, declared: str) -> float:
    """Return a fixed value, NaN for `repeat`."""
    if text == REPEAT:
        return np.nan
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise UsageError(
            f"hold is {declared!r}; allowed: {REPEAT} (absolute positions), {ZERO} (velocities, displacements), or "
            "one entry per action dim with commas between, each a number or 'repeat'"
        )
    return value
