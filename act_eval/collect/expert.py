"""The environments of act_eval with their scripted expert."""

from collections.abc import Mapping
from typing import Any

from act_eval.collect.recording import Demonstrator
from act_eval.envs.recovery_expert import RecoveryExpert
from act_eval.envs.registration import make
from act_eval.errors import UsageError
from act_eval.scenes.arm import JOINTS


def expert_demonstrator(env_id: str, options: Mapping[str, Any], recovery: float = 0.0) -> Demonstrator:
    """Return an environment of act_eval with its expert.

    Args:
        env_id: Gymnasium id.
        options: options of the environment.
        recovery: share of the episodes that begin with a mistake, which is not recorded.

    Raises:
        UsageError: if the environment does not know an option.
    """
    try:
        env = make(env_id, options)
    except TypeError as error:  # Gymnasium lets the constructor's complaint through
        raise UsageError(f"{env_id} does not take the options {dict(options)}: {error}") from error
    expert = RecoveryExpert(env.unwrapped, recovery)  # pyright: ignore[reportArgumentType]
    return Demonstrator(env, expert, JOINTS, expert.begin)
