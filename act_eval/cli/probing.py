"""Carry out a probe and say what it found."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.table import Table

from act_eval.cli import OK
from act_eval.diagnostics import ProbeReport, collect_observations, probe
from act_eval.diagnostics.effects import Effect
from act_eval.errors import ActEvalError, UsageError
from act_eval.results.records import write_atomically
from act_eval.seeding import Purpose, episode_seeds
from act_eval.sources.environments import EnvSource, check_features, env_source
from act_eval.sources.factories import named_values
from act_eval.sources.policies import EXPERT, Network, policy_source
from act_eval.types import ENVIRONMENT_STATE, ChunkPolicy, Executor
from act_eval.types.env_hooks import hooks_of

if TYPE_CHECKING:
    import gymnasium as gym

    from act_eval.cli.probe import Flags

IGNORED_INPUT = 3
"""Exit code: a declared input moves nothing."""
SHORT_EPISODES, SHORT_PER_EPISODE = 4, 4
_CONTROLS = ("goal_input",)  # a probe exchanges coordinates itself, so the environment must tell true ones


def probe_policy(flags: "Flags", stream: TextIO) -> int:
    """Probe as the flags say; return the exit code.

    Raises:
        ActEvalError: with what is wrong with the flags or the checkpoint.
    """
    if flags.policy == EXPERT:
        raise UsageError("the scripted expert declares no inputs; --policy takes a shipped policy or a checkpoint")
    if flags.environment.goal_input not in (None, "exact"):
        raise UsageError(f"--goal-input {flags.environment.goal_input}: a probe changes the coordinates itself")
    console = Console(file=stream, highlight=False, soft_wrap=True, markup=False)  # units stand in brackets
    source = env_source(flags.env, flags.environment.given(), flags.declaration, film=False)
    options = named_values(flags.policy_options, "--policy-options")
    origin = policy_source(flags.policy, options, Network(device=flags.device))
    console.print(f"loading {flags.policy} and {flags.env}")
    policy = origin.load(ready=False)
    env = _env(source)
    try:
        check_features(policy.spec, env)
        who, executor = _actor(flags, policy, env)
        seeds = episode_seeds(Purpose.PROBE, flags.seed, flags.episodes)
        bank = collect_observations(env, executor, seeds, flags.per_episode, flags.every)
        report = probe(policy, bank, hooks_of(env), short=flags.short)
    finally:
        env.close()
    show(report, f"{report.episodes} episodes of {who}, seed {flags.seed}", console)
    if flags.json is not None:
        _write(flags, report)
        console.print(f"numbers {flags.json}")
    return IGNORED_INPUT if report.ignored else OK


def input_warnings(policy: ChunkPolicy, source: EnvSource) -> tuple[str, ...]:
    """Return what an evaluation must say of a policy's inputs: which are ignored, and coordinates that decide little.

    A policy that cannot be probed is no reason not to evaluate it: that says so too.
    """
    try:
        return _warnings(short_probe(policy, source))
    except ActEvalError as error:
        return (f"warning: the inputs could not be probed: {error}",)


def _warnings(report: ProbeReport) -> tuple[str, ...]:
    accused = [v for v in report.verdicts if v.mode == "ignored" or (v.mode == "weak" and v.input == ENVIRONMENT_STATE)]
    return tuple(f"warning: input {verdict.line}" for verdict in accused)


def short_probe(policy: ChunkPolicy, source: EnvSource) -> ProbeReport:
    """Return the short form, on observations that the policy itself meets; takes a few seconds."""
    env = _env(source)
    try:
        seeds = episode_seeds(Purpose.PROBE, 0, SHORT_EPISODES)
        bank = collect_observations(env, _acting(policy, env), seeds, per_episode=SHORT_PER_EPISODE)
        return probe(policy, bank, hooks_of(env), short=True)
    finally:
        env.close()


def _env(source: EnvSource) -> "gym.Env[Any, Any]":
    options = {name: value for name, value in source.options.items() if name not in _CONTROLS}
    return replace(source, options=options, film=False).make()


def _actor(flags: "Flags", policy: ChunkPolicy, env: "gym.Env[Any, Any]") -> tuple[str, Executor]:
    offered = hooks_of(env).privileged is not None
    if flags.bank == "expert" and not offered:
        raise UsageError(f"--bank expert: {flags.env} has no scripted expert; choose --bank policy")
    if flags.bank == "policy" or not offered:
        return "the policy itself", _acting(policy, env)
    return "the expert", _expert(env)


def _expert(env: "gym.Env[Any, Any]") -> Executor:
    from act_eval.envs.expert_executor import ExpertExecutor

    return ExpertExecutor([env])


def _acting(policy: ChunkPolicy, env: "gym.Env[Any, Any]") -> Executor:
    from act_eval.executors import ChunkExecutor
    from act_eval.rollout import hold_of
    from act_eval.timing import Constant, Schedule, Sync

    schedule = Schedule(method=Sync(max(1, policy.spec.chunk // 2)), delay=Constant(0))
    return ChunkExecutor(policy, schedule, hold_of([env]))


def show(report: ProbeReport, origin: str, console: Console) -> None:
    """Print the findings of a probe; the console must not read brackets as markup, for they hold units."""
    open_part = f"; in {report.open} the choice of a block is open" if report.open else ""
    console.print(
        f"bank    {report.observations} observations from the beginnings of {origin}{open_part}", markup=False
    )
    if report.open:
        console.print(f"intact  heads for the named block in {report.to_named} of {report.open}")
    console.print(f"noise   the same question twice: {report.noise_rad:.1e} rad")
    console.print(_table(report))
    for name, values in report.sensitivity.items():
        found = ", ".join(f"{what} {value:.3g}" for what, value in values.items())
        console.print(f"supporting evidence, {name.removeprefix('observation.')}: {found}")
    for verdict in report.verdicts:
        console.print(verdict.line)


def _table(report: ProbeReport) -> Table:
    table = Table("input", "change", "chunk [rad]", "gripper [mm]", "turned to\nanother block", box=None)
    table.add_row("all inputs", report.whole.name, *_numbers(report.whole, report.open))
    for effect in report.effects:
        name = "scene" if effect.input is None else effect.input.removeprefix("observation.")
        table.add_row(name, effect.name, *_numbers(effect, report.open))
    return table


def _numbers(effect: Effect, undecided: int) -> tuple[str, str, str]:
    mm = "" if effect.mm is None else f"{effect.mm:.1f}"
    return f"{effect.rad:.4f}", mm, "" if effect.turned is None else f"{effect.turned} of {undecided}"


def _write(flags: "Flags", report: ProbeReport) -> None:
    assert flags.json is not None
    values: Mapping[str, Any] = {"policy": flags.policy, "env": flags.env, "seed": flags.seed, **report.to_json()}
    flags.json.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(flags.json, (json.dumps(values, indent=2) + "\n").encode())
