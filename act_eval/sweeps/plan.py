"""From a config to a list of planned runs: the grid, and one run per policy and environment."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from act_eval.config import SweepConfig
from act_eval.errors import FeatureMismatch, UsageError
from act_eval.evaluation.plan import (
    PlannedRun,
    launcher_of,
    local_only_reason,
    planned_run,
    shard_of,
)
from act_eval.evaluation.worker import Job
from act_eval.launch import Launcher, cores_of
from act_eval.metrics import OwnMetric
from act_eval.perturbations import label_of
from act_eval.results import Shard, episodes_of
from act_eval.seeding import Purpose, episode_seeds
from act_eval.sources.env_declaration import as_dict
from act_eval.sources.environments import EnvSource, check_features, env_source
from act_eval.sources.executors import ExecutorSource, load_executor
from act_eval.sources.lerobot import PREFIX
from act_eval.sources.metrics import load_metrics, manifest_entries
from act_eval.sources.network_sources import CheckpointSource, NetworkSource, PolicySource, check_network
from act_eval.sources.perturbations import AskedPerturbation, load_perturbations
from act_eval.sources.policies import EXPERT, Network, policy_entry, policy_source
from act_eval.sources.policy_sources import ObjectSource
from act_eval.sources.workers import PolicyWorkerSource, WorkerFacts
from act_eval.sweeps.grid import Expansion, Grid, expand, parse_rule, shared_refusals
from act_eval.sweeps.survey import Survey
from act_eval.timing import (
    ConstantEstimate,
    Estimator,
    ExpertPrefix,
    describe_estimator,
    describe_prefix,
    parse_estimator,
    parse_prefix,
)

_MOST = 10_000  # steps of delay; a larger number is a typing error


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """A config with checked names and numbers."""

    grid: Grid
    policies: Mapping[str, PolicySource]
    """Name in the sweep's folders → source."""
    envs: Mapping[str, EnvSource]
    """Short name → source."""
    seeds: tuple[int, ...]
    drawn: str
    """How the seeds were drawn, for the summary."""
    launcher: Launcher
    metrics: tuple[OwnMetric, ...]
    """User-defined metrics."""
    perturbations: tuple[AskedPerturbation, ...]
    """Requested perturbations."""
    local_only: str | None
    """Why the sweep can only run in this process; None if workers can import all of it."""
    workers: int
    batch: int
    shard: Shard | None
    """Shard to run here; None: all episodes."""
    out: Path
    axes: Mapping[str, Any]
    """The grid as JSON values, for `sweep.json`."""

    @property
    def episodes(self) -> int:
        """Episodes per cell to run here."""
        return len(episodes_of(self.shard, len(self.seeds)))


@dataclass(frozen=True, kw_only=True)
class SweepRun:
    """One policy in one environment: one run folder."""

    policy: str
    env: str
    control_s: float
    default_executor: str
    expansion: Expansion
    run: PlannedRun

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.run.job.folder


def plan_sweep(config: SweepConfig) -> SweepPlan:
    """Check a config as far as it needs neither policy nor environment.

    Raises:
        UsageError: naming the flag and the allowed values.
        CheckpointError: if a policy's folder holds no checkpoint.
    """
    grid = Grid(
        delays=tuple(dict.fromkeys(map(_delay, config.delays))),
        rules=tuple(dict.fromkeys(map(parse_rule, config.execution_horizon))),
        executors=_executors(config.executors),
        delay_estimator=dict(map(_estimated, config.delay_estimator)),
        prefixes={describe_prefix(one): one for one in map(parse_prefix, config.prefix)},
        proprio=tuple(dict.fromkeys(config.proprio)),
        beyond_max_delay=config.beyond_max_delay,
    )
    shard = shard_of(config.launch)
    launcher = launcher_of(config.launch)
    check_network(config.compile, config.launch.local_device(config.device))
    purpose = Purpose.HELD_OUT if config.held_out else Purpose.EVALUATE
    policies, envs = _policies(config), _environments(config)
    perturbations = load_perturbations(config.perturb)
    metrics, axes = load_metrics(config.metrics), _axes(config, grid, policies, envs)
    local_only = local_only_reason(
        [*policies.values(), *envs.values(), *grid.executors, *metrics, *perturbations], config.launch, config.workers
    )
    return SweepPlan(
        grid=grid,
        policies=policies,
        envs=envs,
        seeds=tuple(episode_seeds(purpose, config.seed, config.episodes)),
        drawn=f"seed {config.seed}{' held-out' if config.held_out else ''}",
        launcher=launcher,
        workers=1
        if local_only
        else min(config.workers or cores_of(launcher), len(episodes_of(shard, config.episodes))),
        local_only=local_only,
        metrics=metrics,
        perturbations=perturbations,
        batch=config.batch,
        shard=shard,
        out=config.out or _default_folder(config, axes, policies, envs),
        axes=axes,
    )


def plan_runs(plan: SweepPlan, facts: Survey) -> list[SweepRun]:
    """Return the runs of a sweep, in the order of environments and policies.

    Raises:
        FeatureMismatch: naming a policy and an environment that do not fit.
        UsageError: if no cell can run, with the reasons.
    """
    runs = [_run(plan, facts, policy, env) for env in plan.envs for policy in plan.policies]
    if not any(one.run.job.conditions for one in runs):
        reasons = [
            f"  {one.policy}, {one.env}: {cells}: {reason}"
            for one in runs
            for cells, reason in shared_refusals(one.expansion.refused)
        ]
        raise UsageError("no cell of the grid can run:\n" + "\n".join(reasons))
    return runs


def _run(plan: SweepPlan, facts: Survey, policy: str, env: str) -> SweepRun:
    about, place = facts.policies[policy], facts.envs[env]
    try:
        check_features(about.spec, place)
    except FeatureMismatch as error:
        raise FeatureMismatch(f"{policy} in {env}: {error}") from error
    if not place.has_lookahead and any(isinstance(one, ExpertPrefix) for one in plan.grid.prefixes.values()):
        raise UsageError(f"--prefix expert needs an environment with the scripted expert; {env} has none")
    checked = facts.perturbations.get((policy, env), ())
    expansion = expand(plan.grid, about.spec, [one.parts for one in checked])
    schedules = {setting.condition: setting.schedule for setting in expansion.settings}
    folder = plan.out / f"{policy}_{env}"
    batch = 1 if plan.envs[env].made else plan.batch
    job = Job(
        folder=folder,
        seeds=plan.seeds,
        title=f"{env} · {policy}",
        conditions=schedules,
        perturbations={one.condition: one.perturbation for one in expansion.settings if one.perturbation},
        batch=batch,
        video="none",
        metrics=plan.metrics,
    )
    build = PolicyWorkerSource(env=plan.envs[env], policy=plan.policies[policy], slots=min(batch, plan.episodes))
    both, entry = WorkerFacts(env=place, policy=about, perturbations=checked), policy_entry(policy, about)
    planned = planned_run(job, build, plan.envs[env].env_id, both, entry, plan.workers, label=f"{folder.name}/")
    return SweepRun(
        policy=policy,
        env=env,
        control_s=place.control_ms / 1000,
        default_executor="rtc" if about.spec.takes_prefix else "naive",
        expansion=expansion,
        run=planned,
    )


def _delay(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text[:9]) > _MOST:
        raise UsageError(
            f"--delays has {text!r}; delays are whole control steps from 0 to {_MOST}, with spaces between"
        )
    return int(text)


def _executors(given: Sequence[Any]) -> tuple[ExecutorSource, ...]:
    """Return the executors, after checking that their names are distinct."""
    found: dict[str, ExecutorSource] = {}
    for one in map(load_executor, given):
        if one.name in found and found[one.name].text != one.text:
            raise UsageError(f"--executors: {found[one.name].text} and {one.text} have the same name {one.name}")
        found[one.name] = one
    return tuple(found.values())


def _estimated(text: str) -> tuple[str, Estimator]:
    """Return an estimator with its name in tables and plots: a constant is named by its number."""
    estimator = parse_estimator(f"constant:{text}" if text.isdecimal() else text)
    name = str(estimator.steps) if isinstance(estimator, ConstantEstimate) else describe_estimator(estimator)
    return name, estimator


def _policies(config: SweepConfig) -> dict[str, PolicySource]:
    """Return the policies by distinct names that are valid folder names."""
    found: dict[str, PolicySource] = {}
    network = Network(device=config.device, compile=config.compile)
    for given in config.policies:
        if isinstance(given, str) and given == EXPERT:
            raise UsageError("the expert acts in every step without inference: there is no delay to sweep")
        foreign = isinstance(given, str) and given.startswith(PREFIX)
        source = policy_source(given, {}, network, python=config.policy_python if foreign else None)
        if source in found.values():
            continue
        name = source.label
        found[name if name not in found else f"{name}-{_distinction(source)}"] = source
    return found


def _environments(config: SweepConfig) -> dict[str, EnvSource]:
    """Return the environments by distinct names that are valid folder names."""
    found: dict[str, EnvSource] = {}
    for given in config.envs:
        source = env_source(given, config.environment.given(), config.declaration, film=False)
        if source.tasks > 1:
            raise UsageError(f"--envs: {given} names {source.tasks} tasks; a sweep takes a name for each of them")
        if found.get(source.label, source) != source:
            first = found[source.label].env_id
            raise UsageError(f"--envs: {first} and {source.env_id} have the same name {source.label}")
        found[source.label] = source
    return found


def _distinction(source: PolicySource) -> str:
    """Return a suffix for policies of the same name; that of a checkpoint depends on its content, not its path."""
    if isinstance(source, CheckpointSource | NetworkSource | ObjectSource):
        return source.identity[:6]
    return hashlib.sha256(repr(source).encode()).hexdigest()[:6]


def _axes(
    config: SweepConfig, grid: Grid, policies: Mapping[str, PolicySource], envs: Mapping[str, EnvSource]
) -> dict[str, Any]:
    return {
        "policies": _names(config.policies, policies),
        "envs": _names(config.envs, envs),
        "delays": list(grid.delays),
        "execution_horizon": [str(rule) for rule in grid.rules],
        "executors": [one.text for one in grid.executors],
        "delay_estimator": list(grid.delay_estimator),
        "prefix": list(grid.prefixes),
        "proprio": list(grid.proprio),
        "beyond_max_delay": grid.beyond_max_delay,
        "episodes": config.episodes,
        "seed": config.seed,
        "held_out": config.held_out,
        **(
            {"perturb": [label_of(one.parts).lstrip("_") for one in load_perturbations(config.perturb)]}
            if config.perturb
            else {}
        ),
        **({"metrics": manifest_entries(load_metrics(config.metrics))} if config.metrics else {}),
        "env_options": config.environment.given(),
        **as_dict(config.declaration),
    }


def _names(given: Sequence[Any], sources: Mapping[str, Any]) -> list[str]:
    """Return the names as given; the labels of the sources if an object is given."""
    return [*given] if all(isinstance(one, str) for one in given) else [*sources]


def _default_folder(
    config: SweepConfig, axes: Mapping[str, Any], policies: Mapping[str, PolicySource], envs: Mapping[str, EnvSource]
) -> Path:
    """Return a folder whose name depends on the grid."""
    objects = [one.identity for one in policies.values() if isinstance(one, NetworkSource | ObjectSource)]
    objects += [one.identity[0] for one in envs.values() if one.given is not None]
    content = json.dumps([axes, objects, config.compile, config.device], sort_keys=True)
    names = "_".join([*envs, *policies])
    return Path("outputs") / "sweep" / f"{names[:80]}_{hashlib.sha256(content.encode()).hexdigest()[:8]}"
