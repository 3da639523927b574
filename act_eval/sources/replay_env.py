"""The environment of a finished run, as far as it is needed to look at logged states."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from act_eval.config import EnvDeclaration
from act_eval.errors import RunFolderError
from act_eval.perturbations import PerturbedEnv
from act_eval.results import Manifest
from act_eval.results.suites import Suite
from act_eval.sources.environments import env_source
from act_eval.sources.external_envs import env_label
from act_eval.sources.perturbations import stored_perturbations
from act_eval.types.env_hooks import hooks_of


def replaying_env(suite: Suite, settings: Mapping[str, Any]) -> Any:
    """Return the environment of a suite, one per process, under the perturbations of a condition.

    Args:
        suite: of the run.
        settings: the condition's entry in the manifest.

    Raises:
        RunFolderError: if it cannot show logged states, or builds another scene than the run's.
        UsageError: if a perturbation of the user's cannot be imported.
    """
    options = json.dumps(dict(suite.kwargs), sort_keys=True)
    env = _environment(suite.env, options, suite.facts.get("scene"))
    parts = stored_perturbations(settings)
    return PerturbedEnv(env, parts) if parts else env


@lru_cache(maxsize=1)
def _environment(name: str, options: str, scene: str | None) -> Any:
    env: Any = env_source(name, json.loads(options), EnvDeclaration(), film=False).make().unwrapped
    hooks = hooks_of(env)
    if hooks.render_state is None:
        raise RunFolderError(
            f"{name} cannot show logged states (it has no render_state): the videos that were recorded while the run "
            "went on are all there are"
        )
    env.reset(seed=0)
    here = None if hooks.suite_facts is None else hooks.suite_facts().get("scene")
    if here != scene:
        raise RunFolderError(
            f"{name} builds another scene here than in the run (suite.facts.scene): the version that made the run "
            f"({scene}) can show it, this one builds {here}"
        )
    return env


def title_of(manifest: Manifest) -> str:
    """Return what a run's videos say of it but for the condition."""
    from act_eval.envs.registration import ENVIRONMENTS

    policy = manifest.policy
    env = manifest.suite.env
    short = next((name for name, env_id in ENVIRONMENTS.items() if env_id == env), env)
    return " · ".join([env_label(short), str(policy["name"]), *(["mask_images"] if policy.get("mask_images") else [])])
