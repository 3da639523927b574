"""From a config to a planned run: suite, conditions, manifest, job, and the builder of its workers."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from act_eval.config import EvaluateConfig, LaunchOptions
from act_eval.errors import UsageError
from act_eval.evaluation.conditions import conditions_of, schedule_remarks, with_perturbations
from act_eval.evaluation.worker import Job
from act_eval.launch import Build, Launcher, Local, Ray, cores_of
from act_eval.perturbations import label_of, perturbation_entry
from act_eval.results import Manifest, Shard, episodes_of, fingerprint, notes
from act_eval.results.suites import Suite, parse_seeds
from act_eval.seeding import Purpose
from act_eval.sources.env_declaration import declared
from act_eval.sources.environments import EnvSource, check_features, env_source
from act_eval.sources.executors import load_executor
from act_eval.sources.factories import named_values
from act_eval.sources.metrics import load_metrics, manifest_entries
from act_eval.sources.network_sources import check_network
from act_eval.sources.perturbations import load_perturbations
from act_eval.sources.policies import EXPERT, ROWS_PER_CALL, Network, policy_entry, policy_source
from act_eval.sources.workers import ExpertWorkerSource, PolicyWorkerSource, WorkerFacts
from act_eval.timing import (
    Constant,
    DelayModel,
    Measured,
    Schedule,
    condition_lines,
    condition_settings,
    parse_delay,
    parse_estimator,
    steps_of_latency,
)

EPISODES = 50
DELAYS = ("0", "4")
BATCH = 8


@dataclass(frozen=True, kw_only=True)
class WorkerPlan:
    """The plan of the workers, made before policy and environment are loaded."""

    build: Build
    workers: int
    launcher: Launcher
    batch: int
    """Concurrent episodes per worker."""
    env_id: str
    seeds: tuple[int, ...]
    shard: Shard | None
    """Shard to run here; None: all episodes."""
    policy_label: str
    env_label: str
    """Short names for files."""
    local_only: str | None
    """Why policy, environment or executor can only run in this process; None if workers can import them."""

    @property
    def where(self) -> str:
        """Description of the workers, as in `4 processes`."""
        match self.launcher:
            case Ray():
                return f"{self.workers} Ray actor{'s' if self.workers > 1 else ''}"
            case Local():
                return "this process" if self.workers == 1 else f"{self.workers} processes"


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A checked run of one policy in one environment."""

    manifest: Manifest
    job: Job
    build: Build
    label: str = ""
    """Prefix of its conditions' names beside those of other runs."""


def plan_workers(config: EvaluateConfig) -> WorkerPlan:
    """Check a config as far as it needs neither policy nor environment, and plan its workers.

    Raises:
        UsageError: naming the flag and the allowed values.
        CheckpointError: if the policy's folder holds no checkpoint.
    """
    _check_timing(config)
    shard, launcher = shard_of(config.launch), launcher_of(config.launch)
    check_network(config.compile, config.launch.local_device(config.device))
    source = env_source(config.env, config.environment.given(), config.declaration, film=config.video != "none")
    seeds = _seeds(config, source)
    batch = _batch(config, source)
    episodes = len(episodes_of(shard, len(seeds)))
    slots = min(batch, episodes)
    sources: list[Any] = [source, *([] if config.executor is None else [load_executor(config.executor)])]
    sources += load_metrics(config.metrics)
    sources += (perturbations := load_perturbations(config.perturb))
    if config.policy == EXPERT:
        policy_label = EXPERT
        build: Build = ExpertWorkerSource(
            env=source, slots=slots, perturbations=perturbations, call_timeout_s=config.call_timeout_s
        )
    else:
        network = Network(
            device=config.device,
            compile=config.compile,
            rows_per_call=config.rows_per_call,
            precision=config.precision,
        )
        options = named_values(config.policy_options, "--policy-options")
        rows = batch if _measures(config) else ROWS_PER_CALL
        policy = policy_source(config.policy, options, network, rows, config.policy_python)
        sources.append(policy)
        policy_label = policy.label
        build = PolicyWorkerSource(
            env=source,
            policy=policy,
            slots=slots,
            mask_images=config.mask_images,
            perturbations=perturbations,
            call_timeout_s=config.call_timeout_s,
        )
    local_only = local_only_reason(sources, config.launch, config.workers)
    return WorkerPlan(
        build=build,
        workers=1 if local_only else min(config.workers or cores_of(launcher), episodes),
        policy_label=policy_label,
        env_label=source.label,
        local_only=local_only,
        launcher=launcher,
        batch=batch,
        env_id=source.env_id,
        seeds=seeds,
        shard=shard,
    )


def plan_run(
    config: EvaluateConfig, workers: WorkerPlan, facts: WorkerFacts, machine: Mapping[str, str]
) -> tuple[PlannedRun, tuple[str, ...]]:
    """Resolve defaults and check the rest of a config; return the run, and the lines of its summary.

    Raises:
        UsageError: naming the flag or field and the allowed values.
    """
    if config.video != "none" and not (facts.env.renders_states or facts.env.films):
        raise UsageError(
            f'{workers.env_id} has neither render_state nor render_mode "rgb_array", so it cannot be recorded; '
            "choose --video none"
        )
    schedules: Mapping[str, Schedule | None] = {EXPERT: None}
    left_out, remarks, policy = (), (), {"name": EXPERT}
    if facts.policy is not None:
        check_features(facts.policy.spec, facts.env)
        found = conditions_of(config, facts.policy.spec, _delays(config, facts.env.control_ms), facts.env)
        schedules, left_out = found.schedules, found.left_out
        remarks = (*facts.policy.remarks, *found.timing)
        policy = policy_entry(workers.policy_label, facts.policy)
        policy |= {"mask_images": True} if config.mask_images else {}
    for schedule in schedules.values():
        if schedule is not None:
            schedule.check_episodes(workers.seeds, facts.env.horizon)
    schedules, perturbations = with_perturbations(schedules, [one.parts for one in facts.perturbations])
    left_out = (*left_out, *facts.perturbations_left_out)
    job = Job(
        folder=config.out or Path(),
        seeds=workers.seeds,
        title=f"{workers.env_label} · {workers.policy_label}{' · mask_images' if config.mask_images else ''}",
        conditions=schedules,
        perturbations=perturbations,
        batch=workers.batch,
        video=config.video,
        metrics=load_metrics(config.metrics),
    )
    limit = {} if config.call_timeout_s is None else {"call_timeout_s": config.call_timeout_s}
    planned = planned_run(job, workers.build, workers.env_id, facts, policy, workers.workers, entries=limit)
    manifest = planned.manifest
    manifest = replace(manifest, fingerprint={**manifest.fingerprint, **machine})  # the workers' machine
    job = job.moved(config.out or _default_folder(workers, manifest))
    planned = replace(planned, manifest=manifest, job=job)
    undeclared = facts.env.suite.get("hold") == "repeat" and declared(config.declaration)[1].hold is None
    lines = (
        *(f"env     {line}" for line in facts.env.remarks),
        *remarks,
        *schedule_remarks(facts.env, schedules.values(), undeclared),
        *(f"left out {line}" for line in left_out),
    )
    return planned, _summary(config, planned, workers.workers, lines)


def planned_run(
    job: Job,
    build: Build,
    env_id: str,
    facts: WorkerFacts,
    policy: Mapping[str, Any],
    workers: int,
    *,
    label: str = "",
    entries: Mapping[str, Any] = MappingProxyType({}),
) -> PlannedRun:
    """Return a run with its manifest.

    Args:
        job: its job.
        build: builds its workers.
        env_id: id of the environment.
        facts: of environment and policy.
        policy: entry of the policy.
        workers: number of workers, for the notes.
        label: see `PlannedRun`.
        entries: further entries of the configuration.
    """
    env, network = facts.env, facts.policy
    conditions = {
        name: {
            **({"executor": EXPERT} if schedule is None else condition_settings(schedule)),
            **perturbation_entry(job.perturbations.get(name, ())),
        }
        for name, schedule in job.conditions.items()
    }
    purity = {label_of(one.parts).lstrip("_"): dict(one.purity) for one in facts.perturbations}
    own = {"metrics": manifest_entries(job.metrics)} if job.metrics else {}
    run, numeric = ({}, {}) if network is None else (network.run, network.numeric)
    manifest = Manifest(
        suite=Suite(env=env_id, kwargs=env.options, horizon=env.horizon, facts=env.suite, seeds=job.seeds),
        configuration={"policy": policy, "conditions": conditions, **run, "video": job.video, **entries, **own},
        fingerprint=fingerprint(threads=1, renderer=env.renderer, **env.versions, **numeric),
        notes=notes(workers=workers, batch=job.batch, replayable=env.renders_states and env.by_name),
    )
    manifest = manifest.with_notes(purity=purity) if purity else manifest
    return PlannedRun(manifest=manifest, job=job, build=build, label=label)


def shard_of(launch: LaunchOptions) -> Shard | None:
    """Return the requested shard of the run.

    Raises:
        UsageError: if `launch.shard` is malformed.
    """
    return None if launch.shard is None else Shard.parse(launch.shard)


def local_only_reason(sources: Iterable[Any], launch: LaunchOptions, workers: int | None) -> str | None:
    """Return why the episodes can only run in this process; None if workers can import all sources.

    Args:
        sources: of policies, environments, executors and metrics.
        launch: launcher of the workers.
        workers: requested number of workers; None: the default.

    Raises:
        UsageError: if the requested workers cannot import them.
    """
    reason = next((one.local_only for one in sources if one.local_only is not None), None)
    if reason is not None and launch.launcher != "local":
        raise UsageError(f"--launcher {launch.launcher} needs objects that its workers can import; {reason}")
    if reason is not None and workers is not None and workers > 1:
        raise UsageError(f"workers is {workers}, and this can only run in this process, one worker: {reason}")
    return reason


def launcher_of(launch: LaunchOptions) -> Launcher:
    """Return the launcher of the workers."""
    return Ray(gpus_per_worker=launch.gpus_per_worker) if launch.launcher == "ray" else Local()


def delay_of_latency(latency_ms: float, control_ms: float) -> int:
    """Return `ceil(latency / Δt)` in control steps.

    Raises:
        UsageError: if the latency is negative or not finite.
    """
    if not 0 <= latency_ms < math.inf:
        raise UsageError(f"--latency-ms is {latency_ms}; it must be finite and at least 0")
    return steps_of_latency(latency_ms, control_ms)


def _check_timing(config: EvaluateConfig) -> None:
    if config.executor is not None:
        load_executor(config.executor)
    delayed = any(_delay(one) != Constant(0) for one in config.delays or ()) or any(config.latency_ms or ())
    delay_estimator = config.delay_estimator is not None and parse_estimator(config.delay_estimator)
    if config.policy != EXPERT:
        return
    late = config.observation_delay or config.actuation_delay or config.timeout
    if delayed or delay_estimator or late or config.executor or config.execution_horizon:
        raise UsageError("the expert acts in every step without inference: it takes no delay, executor or horizon")
    if config.policy_options or config.policy_python is not None:
        raise UsageError("the expert takes no --policy-options and no --policy-python")
    if config.mask_images:
        raise UsageError("the expert uses no camera: it takes no --mask-images")
    if {*config.prefix, *config.proprio} != {"committed", "observed"}:
        raise UsageError("the expert reads the simulator's state: it takes no --prefix and no --proprio")


def _delay(given: "str | DelayModel") -> DelayModel:
    return parse_delay(given) if isinstance(given, str) else given


def _measures(config: EvaluateConfig) -> bool:
    return any(isinstance(_delay(one), Measured) for one in config.delays or ())


def _batch(config: EvaluateConfig, env: EnvSource) -> int:
    """Return how many episodes run at a time: one in a made environment, or if inference is measured, as on a robot."""
    if env.made and (config.batch or 1) > 1:
        raise UsageError(f"batch is {config.batch}; {env.label} is a made environment, with one slot: leave it away")
    if config.batch is not None:
        return config.batch
    return 1 if env.made or _measures(config) else BATCH


def _seeds(config: EvaluateConfig, env: EnvSource) -> tuple[int, ...]:
    if config.seeds is not None:
        return parse_seeds(config.seeds)
    purpose = Purpose.HELD_OUT if config.held_out else Purpose.EVALUATE
    return env.seeds(purpose, config.seed, config.episodes or EPISODES)


def _delays(config: EvaluateConfig, control_ms: float) -> list[DelayModel]:
    if config.latency_ms is not None:
        return [Constant(delay_of_latency(latency, control_ms)) for latency in config.latency_ms]
    return [_delay(one) for one in config.delays or DELAYS]


def _summary(config: EvaluateConfig, run: PlannedRun, workers: int, notes: tuple[str, ...]) -> tuple[str, ...]:
    suite, configuration = run.manifest.suite, run.manifest.configuration
    options = ", ".join(f"{k}={v}" for k, v in suite.kwargs.items())
    drawn = f"{'held-out ' if config.held_out else ''}seed {config.seed}"
    seeds = f"seeds {config.seeds}" if config.seeds else drawn
    network = ""
    if "device" in configuration:
        compiled = "not compiled" if configuration["compile"] == "off" else f"compiled ({configuration['compile']})"
        network = f"{configuration['device']}, {configuration['precision']}, {compiled}; "
    if "compile_failure" in configuration:
        notes = (*notes, f"warning: {configuration['compile_failure']}; running without it")
    return (
        f"suite   {suite.hash}: {suite.env} ({options}), {len(run.job.seeds)} episodes, {seeds}",
        f"policy  {_policy_text(configuration['policy'])}",
        *condition_lines(configuration["conditions"]),
        *notes,
        f"run     {network}{workers} × {run.job.batch} episodes at a time, video {run.job.video}",
        f"folder  {run.job.folder}",
    )


def _policy_text(policy: Mapping[str, Any]) -> str:
    if "chunk" not in policy:
        return f"{policy['name']}: scripted, reads privileged state, replans in every step"
    prefix = "no prefix" if policy["max_delay"] is None else f"prefix of up to {policy['max_delay']}"
    masked = ", images masked" if policy.get("mask_images") else ""
    return f"{policy['name']}: chunk C = {policy['chunk']}, {policy['window']} window, {prefix}{masked}"


def _default_folder(workers: WorkerPlan, manifest: Manifest) -> Path:
    shards = [manifest.suite.to_json(), dict(manifest.configuration), dict(manifest.fingerprint)]
    short = hashlib.sha256(json.dumps(shards, sort_keys=True).encode()).hexdigest()[:8]
    return Path("outputs") / "evaluate" / f"{workers.env_label}_{workers.policy_label}_{short}"
