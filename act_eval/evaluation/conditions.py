"""The conditions of an evaluation: one schedule per delay and per ablation of the policy's input."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from act_eval.config import EvaluateConfig
from act_eval.errors import UsageError
from act_eval.perturbations import Perturbations, label_of
from act_eval.sources.environments import EnvFacts
from act_eval.sources.executors import ExecutorSource, load_executor
from act_eval.timing import (
    Ablation,
    DelayModel,
    Ensemble,
    ExpertPrefix,
    Schedule,
    condition_name,
    describe_prefix,
    extremes,
    parse_estimator,
    parse_prefix,
)
from act_eval.types import PolicySpec


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The conditions that run, and those that cannot."""

    schedules: Mapping[str, Schedule]
    """Name → schedule, in running order."""
    left_out: tuple[str, ...]
    """Conditions that cannot run, with the reason."""
    timing: tuple[str, ...]
    """What the checkpoint says of executor and execution horizon, and what became of it, for the screen."""


def conditions_of(config: EvaluateConfig, spec: PolicySpec, delays: Sequence[DelayModel], env: EnvFacts) -> Conditions:
    """Return the conditions of a config.

    An ablation that cannot run at one delay is left out there, provided that it can run at another.

    Args:
        config: of the evaluation.
        spec: the policy's.
        delays: one condition each.
        env: facts of the environment.

    Raises:
        UsageError: naming the flag and the allowed values.
    """
    if env.gripper_dims is None and "predicted" in config.proprio:
        raise UsageError(
            f"--proprio predicted keeps the observed gripper, and {config.env} declares no gripper_dims (an attribute, "
            "as in [-1]); predicted-with-gripper predicts all joints"
        )
    if not env.has_lookahead and any(isinstance(one.prefix, ExpertPrefix) for one in _ablations(config)):
        raise UsageError(f"--prefix expert needs an environment with the scripted expert; {config.env} has none")
    executor, horizon, timing = _timing(config, spec, delays)
    schedules: dict[str, Schedule] = {}
    refused: dict[str, tuple[Ablation, str]] = {}
    for delay in delays:
        for ablation in _ablations(config):
            schedule = _schedule(config, delay, ablation, executor, horizon)
            if ablation == Ablation():
                schedule.check(spec)
            if reason := schedule.refusal(spec):
                refused[condition_name(schedule)] = ablation, reason
            else:
                schedules[condition_name(schedule)] = schedule
    running = {schedule.ablation for schedule in schedules.values()}
    for ablation, reason in refused.values():
        if ablation not in running:
            raise UsageError(reason)
    left_out = tuple(f"{name}: {reason}" for name, (_, reason) in refused.items())
    return Conditions(schedules=schedules, left_out=left_out, timing=timing)


def _timing(
    config: EvaluateConfig, spec: PolicySpec, delays: Sequence[DelayModel]
) -> tuple[ExecutorSource, int, tuple[str, ...]]:
    """Return executor and execution horizon: the flags', the checkpoint's where every condition can run so, or default.

    Returns:
        Also the line that says what became of the checkpoint's.
    """
    executor = load_executor(config.executor or ("rtc" if spec.takes_prefix else "naive"))
    given = config.execution_horizon or executor.horizon
    default = executor, given or max(1, spec.chunk // 2)
    text, coeff = spec.checkpoint_timing, spec.temporal_ensemble_coeff
    if text is None or spec.n_action_steps is None:
        return *default, ()
    own, refusal = None, None
    try:
        if coeff is not None and config.executor is None:
            executor = load_executor(f"ensemble:decay={coeff},newest_only=[]")  # LeRobot averages every dimension
        own = executor, given or spec.n_action_steps
        schedules = [_schedule(config, d, a, *own) for d in delays for a in _ablations(config)]
        refusal = next((reason for one in schedules if (reason := one.refusal(spec)) is not None), None)
    except UsageError as error:
        refusal = str(error)
    if refusal is not None and own != default:
        runs = f"{default[0].name}, s = {default[1]}, runs instead"
        return *default, (f"warning: the checkpoint sets {text}, which cannot run here ({refusal}): {runs}",)
    own = own or default
    flags = [flag for flag, value in (("--executor", config.executor), ("--execution-horizon", given)) if value]
    decided = f", decided by {' and '.join(flags)}" if flags else ""
    return *own, (f"policy  its checkpoint sets {text}; here {executor.name}, s = {own[1]}{decided}",)


def _schedule(
    config: EvaluateConfig, delay: DelayModel, ablation: Ablation, executor: ExecutorSource, horizon: int
) -> Schedule:
    conditioned = executor.example.hands_over_prefix
    if not conditioned and config.beyond_max_delay != "error":
        raise UsageError(f"--beyond-max-delay is for rtc, which conditions on a delay; the executor is {executor.name}")
    if not conditioned and config.delay_estimator is not None and not ablation.predicts:
        raise UsageError(
            f"--delay-estimator is for rtc and for predicted joint positions; the executor is {executor.name}"
        )
    return Schedule(
        method=executor.build(horizon),
        delay=delay,
        delay_estimator=None if config.delay_estimator is None else parse_estimator(config.delay_estimator),
        beyond_max_delay=config.beyond_max_delay,
        timeout=config.timeout,
        observation_delay=config.observation_delay,
        actuation_delay=config.actuation_delay,
        ablation=ablation,
    )


def with_perturbations(
    schedules: Mapping[str, Schedule | None], perturbations: Iterable[Perturbations]
) -> tuple[dict[str, Schedule | None], dict[str, Perturbations]]:
    """Return every condition followed by its perturbed ones, and the perturbations of these."""
    conditions: dict[str, Schedule | None] = {}
    found: dict[str, Perturbations] = {}
    every = list(perturbations)
    for name, schedule in schedules.items():
        conditions[name] = schedule
        for parts in every:
            conditions[name + label_of(parts)], found[name + label_of(parts)] = schedule, parts
    return conditions, found


def schedule_remarks(env: EnvFacts, schedules: Iterable[Schedule | None], hold_undeclared: bool) -> Iterable[str]:
    """Yield lines about what the conditions assume of the environment: its hold rule, and the gripper's dimensions."""
    given = [one for one in schedules if one is not None]
    if hold_undeclared and any(extremes(one.delay)[1] != 0 for one in given):
        yield (
            "warning: no hold rule is declared: a robot that waits for its chunk repeats the last command, which is "
            "right for absolute positions; --hold zero is for velocities and displacements, --hold repeat ends this "
            "warning"
        )
    for newest in dict.fromkeys(one.method.newest_only for one in given if isinstance(one.method, Ensemble)):
        dims = list((env.gripper_dims or ()) if newest is None else newest)
        kept = f"; dimensions {dims} come from the newest chunk" if dims else " in every dimension"
        yield f"ensemble averages actions{kept}"


def _ablations(config: EvaluateConfig) -> list[Ablation]:
    """Return the ablations of the policy's input, each once."""
    prefixes = {describe_prefix(prefix): prefix for prefix in map(parse_prefix, config.prefix)}
    return [
        Ablation(prefix=one, proprio=proprio) for one in prefixes.values() for proprio in dict.fromkeys(config.proprio)
    ]
