"""The input check as a job of its own: policy and environment by name or as objects."""

from dataclasses import replace
from typing import Any

from act_eval.config import ProbeConfig
from act_eval.diagnostics import ProbeReport
from act_eval.diagnostics.input_check import check_inputs
from act_eval.errors import UsageError
from act_eval.seeding import Purpose, episode_seeds
from act_eval.sources.environments import NAMES_TARGET, check_features, env_source
from act_eval.sources.factories import named_values
from act_eval.sources.policies import EXPERT, Network, policy_source
from act_eval.types import Executor
from act_eval.types.env_hooks import hooks_of
from act_eval.user_code import user_code


def probe_inputs(config: ProbeConfig) -> ProbeReport:
    """Probe a policy's inputs.

    Raises:
        ActEvalError: with what is wrong with the config, the policy or the environment.
    """
    if isinstance(config.policy, str) and config.policy == EXPERT:
        raise UsageError("the scripted expert declares no inputs; --policy takes a shipped policy or a checkpoint")
    if config.environment.goal_input not in (None, *NAMES_TARGET):
        raise UsageError(f"--goal-input {config.environment.goal_input}: a probe changes the coordinates itself")
    source = env_source(config.env, config.environment.given(), config.declaration, film=False)
    options = named_values(config.policy_options, "--policy-options")
    network = Network(device=config.device)
    policy = policy_source(config.policy, options, network, python=config.policy_python).load(ready=False)
    env = source.for_probe().make()
    try:
        check_features(policy.spec, env)
        scripted = hooks_of(env).expert_action is not None
        if config.bank == "expert" and not scripted:
            raise UsageError(f"--bank expert: {source.label} has no scripted expert; choose --bank policy")
        expert = _expert if scripted and config.bank != "policy" else None
        with user_code(f"{config.policy} in {source.label} raised"):
            seeds = episode_seeds(Purpose.PROBE, config.seed, config.episodes)
            chosen = {name: getattr(config, name) for name in ("per_episode", "every", "short")}
            report = check_inputs(policy, env, seeds, expert=expert, **chosen)
    finally:
        env.close()
    actor = "the policy itself" if expert is None else "the expert"
    return replace(report, collected_by=f"{actor}, seed {config.seed}")


def _expert(env: Any) -> Executor:
    from act_eval.envs.expert_executor import ExpertExecutor

    return ExpertExecutor([env])
