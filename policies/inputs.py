"""A policy's declared inputs, read from an observation by their names. Needs numpy alone."""

import numpy as np

from act_eval.errors import FeatureMismatch
from act_eval.types import ENVIRONMENT_STATE, IMAGE_PREFIX, STATE, Observation


def declared(observation: Observation, key: str) -> np.ndarray:
    """Return an input with its N rows, as the environment shows it.

    Args:
        observation: N rows.
        key: `observation.state`, `observation.environment_state` or `observation.images.CAMERA`.

    Raises:
        FeatureMismatch: if the environment does not show it.
    """
    if key == STATE:
        return observation.agent_pos
    if key == ENVIRONMENT_STATE:
        if observation.environment_state is None:
            raise FeatureMismatch(f"the policy reads {key!r}, but the environment has no coordinates")
        return observation.environment_state
    camera = key.removeprefix(IMAGE_PREFIX)
    if camera not in observation.pixels:
        raise FeatureMismatch(f"the policy reads camera {camera!r}; the environment has {sorted(observation.pixels)}")
    return observation.pixels[camera]
