"""From flags to what an evaluation is told: who builds environments and policy, suite, arms, manifest."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act_eval.cli.evaluations.launching import device_here, part_of, place_of
from act_eval.errors import UsageError
from act_eval.evaluation.conditions import arms_of
from act_eval.evaluation.worker import Job
from act_eval.launch import Build, Place
from act_eval.results import Manifest, Part, episodes_of, fingerprint, notes
from act_eval.results.suites import Suite, parse_seeds
from act_eval.seeding import Purpose, episode_seeds
from act_eval.sources.environments import check_features, env_source
from act_eval.sources.external_envs import env_label
from act_eval.sources.factories import named_values
from act_eval.sources.policies import EXPERT, ROWS_PER_CALL, Network, label, policy_entry, policy_source
from act_eval.sources.policy_sources import PolicyFacts, check_network
from act_eval.sources.workers import BenchFacts, ExpertBenchSource, PolicyBenchSource
from act_eval.timing import (
    Constant,
    DelayModel,
    Measured,
    Schedule,
    arm_settings,
    arm_text,
    check_executor,
    parse_delay,
    parse_told,
    steps_of_latency,
)

if TYPE_CHECKING:
    from act_eval.cli.evaluate import EnvFlags, Flags

EPISODES = 50
DELAYS = ("0", "4")
BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Crewing:
    """What is needed to start the workers."""

    build: Build
    workers: int
    place: Place
    batch: int
    """Most episodes that run at a time in one worker."""
    env_id: str
    seeds: tuple[int, ...]
    part: Part | None
    """Of the episodes; None: all of them."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A checked evaluation, ready to run."""

    manifest: Manifest
    job: Job
    summary: tuple[str, ...]
    """What is about to run, defaults included, for the screen."""


def plan_crew(flags: "Flags") -> Crewing:
    """Check what needs neither policy nor environment, and return who builds them.

    Raises:
        UsageError: or a child of it, naming the flag and what is allowed.
        CheckpointError: if the policy's folder holds no checkpoint.
    """
    _check_choices(flags)
    part = part_of(flags.launch)
    place = place_of(flags.launch)
    check_network(flags.compile, device_here(flags.launch, flags.device))
    source = env_source(flags.env, env_options(flags.env_flags), flags.declaring, film=flags.video != "none")
    seeds = _seeds(flags)
    batch = _batch(flags)
    episodes = len(episodes_of(part, len(seeds)))
    slots = min(batch, episodes)
    if flags.policy == EXPERT:
        build: Build = ExpertBenchSource(env=source, slots=slots, call_timeout_s=flags.call_timeout_s)
    else:
        network = Network(
            device=flags.device, compile=flags.compile, rows_per_call=flags.rows_per_call, precision=flags.precision
        )
        options = named_values(flags.policy_options, "--policy-options")
        policy = policy_source(flags.policy, options, network, batch if _measures(flags) else ROWS_PER_CALL)
        # A blind policy's cameras are dead, as everybody knows.
        probe = flags.probe and not flags.blind
        limit = flags.call_timeout_s
        build = PolicyBenchSource(
            env=source, policy=policy, slots=slots, blind=flags.blind, probe=probe, call_timeout_s=limit
        )
    return Crewing(
        build=build,
        workers=min(flags.workers or place.cores(), episodes),
        place=place,
        batch=batch,
        env_id=source.env_id,
        seeds=seeds,
        part=part,
    )


def make_plan(flags: "Flags", crewing: Crewing, facts: BenchFacts, machine: Mapping[str, str]) -> Plan:
    """Resolve defaults and check the rest, before the first episode.

    Raises:
        UsageError: or a child of it, naming the flag or field and what is allowed.
    """
    if flags.video != "none" and not (facts.env.renders_states or facts.env.films):
        raise UsageError(
            f"{crewing.env_id} neither renders logged states (render_state) nor is it made with render_mode "
            '"rgb_array"; choose --video none'
        )
    suite = Suite(
        env=crewing.env_id,
        kwargs=facts.env.options,
        horizon=facts.env.horizon,
        facts=facts.env.suite,
        seeds=crewing.seeds,
    )
    if facts.policy is None:
        schedules: dict[str, Schedule | None] = {EXPERT: None}
        left_out: tuple[str, ...] = ()
        policy = {"name": EXPERT}
    else:
        check_features(facts.policy, facts.env)
        arms = arms_of(flags, facts.policy, _delays(flags, facts.env.control_ms), facts.env.foreseen)
        schedules, left_out = {**arms.schedules}, arms.left_out
        policy = policy_entry(label(flags.policy), PolicyFacts(spec=facts.policy, identity=facts.identity))
        policy |= {"blind": True} if flags.blind else {}
    for schedule in schedules.values():
        if schedule is not None:
            schedule.check_episodes(suite.seeds, suite.horizon)
    entries = {name: _arm_entry(schedule) for name, schedule in schedules.items()}
    manifest = Manifest(
        suite=suite,
        configuration={"policy": policy, "arms": entries, **facts.run, "video": flags.video},
        fingerprint=fingerprint(threads=1, renderer=facts.env.renderer, **facts.env.versions, **facts.numeric),
        notes=notes(workers=crewing.workers, batch=crewing.batch, replayable=facts.env.renders_states),
    )
    if flags.call_timeout_s is not None:
        limited = {**manifest.configuration, "call_timeout_s": flags.call_timeout_s}
        manifest = replace(manifest, configuration=limited)
    manifest = replace(manifest, fingerprint={**manifest.fingerprint, **machine})  # the workers', not this process's
    job = Job(
        folder=flags.out or _default_folder(flags, manifest),
        seeds=suite.seeds,
        title=f"{env_label(flags.env)} · {label(flags.policy)}{' · blind' if flags.blind else ''}",
        arms=schedules,
        batch=crewing.batch,
        video=flags.video,
    )
    remarks = (f"env     {line}" for line in facts.env.remarks)
    summary = _summary(flags, manifest, job, crewing.workers, (*remarks, *(f"no arm  {line}" for line in left_out)))
    return Plan(manifest=manifest, job=job, summary=summary)


def _check_choices(flags: "Flags") -> None:
    for name in ("batch", "workers", "episodes", "execute", "rows_per_call"):
        value = getattr(flags, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {value}; it must be at least 1")
    if flags.call_timeout_s is not None:
        from act_eval.rollout.timeouts import check_limit

        check_limit(flags.call_timeout_s)
    if flags.executor is not None:
        check_executor(flags.executor)
    if flags.delay is not None and flags.latency_ms is not None:
        raise UsageError("--delay and --latency-ms say the same thing in steps and in milliseconds; give one of them")
    if flags.delay == () or flags.latency_ms == ():
        raise UsageError("no delay is given; name at least one, as in --delay 0 4")
    delayed = any(parse_delay(text) != Constant(0) for text in flags.delay or ()) or any(flags.latency_ms or ())
    told = flags.told is not None and parse_told(flags.told)
    taps = flags.observation_delay or flags.actuation_delay or flags.timeout
    if flags.policy == EXPERT and (delayed or told or taps or flags.executor or flags.execute):
        raise UsageError("the expert acts in every step without inference: it takes no delay, executor or horizon")
    if flags.policy == EXPERT and flags.policy_options:
        raise UsageError("the expert takes no --policy-options")
    if flags.policy == EXPERT and flags.blind:
        raise UsageError("the expert looks through no camera: it takes no --blind")
    shown = set(flags.prefix) | set(flags.observe)
    if flags.policy == EXPERT and shown != {"own", "present"}:
        raise UsageError("the expert is shown everything at once: it takes no --prefix and no --observe")


def _measures(flags: "Flags") -> bool:
    return any(isinstance(parse_delay(text), Measured) for text in flags.delay or ())


def _batch(flags: "Flags") -> int:
    """Return how many episodes run at a time: one where inference is measured, as on a robot."""
    if flags.batch is not None:
        return flags.batch
    return 1 if _measures(flags) else BATCH


def _seeds(flags: "Flags") -> tuple[int, ...]:
    if flags.seeds is None:
        purpose = Purpose.HELD_OUT if flags.held_out else Purpose.EVALUATE
        return tuple(episode_seeds(purpose, flags.seed, flags.episodes or EPISODES))
    if flags.held_out:
        raise UsageError("--seeds names the episodes itself, --held-out draws them; leave one of them away")
    if flags.episodes is not None:
        raise UsageError("--seeds names the episodes itself; leave --episodes away")
    return parse_seeds(flags.seeds)


def _delays(flags: "Flags", control_ms: float) -> list[DelayModel]:
    if flags.latency_ms is not None:
        return [Constant(delay_of_latency(latency, control_ms)) for latency in flags.latency_ms]
    return [parse_delay(text) for text in flags.delay or DELAYS]


def delay_of_latency(latency_ms: float, control_ms: float) -> int:
    """Return `ceil(latency / Δt)` in control steps.

    Raises:
        UsageError: if the latency is negative or not finite.
    """
    if not 0 <= latency_ms < math.inf:
        raise UsageError(f"--latency-ms is {latency_ms}; it must be finite and at least 0")
    return steps_of_latency(latency_ms, control_ms)


def _arm_entry(schedule: Schedule | None) -> dict[str, Any]:
    return {"executor": EXPERT} if schedule is None else arm_settings(schedule)


def _summary(flags: "Flags", manifest: Manifest, job: Job, workers: int, remarks: tuple[str, ...]) -> tuple[str, ...]:
    suite, configuration = manifest.suite, manifest.configuration
    options = ", ".join(f"{k}={v}" for k, v in suite.kwargs.items())
    seeds = f"seeds {flags.seeds}" if flags.seeds else f"{'held-out ' if flags.held_out else ''}seed {flags.seed}"
    network = ""
    if "device" in configuration:
        compiled = "not compiled" if configuration["compile"] == "off" else f"compiled ({configuration['compile']})"
        network = f"{configuration['device']}, {configuration['precision']}, {compiled}; "
    if "compile_failure" in configuration:
        remarks = (*remarks, f"warning {configuration['compile_failure']}; running without it")
    return (
        f"suite   {suite.hash}: {suite.env} ({options}), {len(job.seeds)} episodes, {seeds}",
        f"policy  {_policy_text(configuration['policy'])}",
        *(f"arm     {name}: {_arm_text(arm)}" for name, arm in configuration["arms"].items()),
        *remarks,
        f"run     {network}{workers} × {job.batch} episodes at a time, video {job.video}",
        f"folder  {job.folder}",
    )


def _policy_text(policy: Mapping[str, Any]) -> str:
    if "chunk" not in policy:
        return f"{policy['name']}: scripted, reads privileged state, replans in every step"
    prefix = "no prefix" if policy["max_delay"] is None else f"prefix of up to {policy['max_delay']}"
    blind = ", blind" if policy.get("blind") else ""
    return f"{policy['name']}: chunk C = {policy['chunk']}, {policy['window']} window, {prefix}{blind}"


def _arm_text(arm: Mapping[str, Any]) -> str:
    return arm_text(arm) if "delay" in arm else "no inference, no delay"


def env_options(flags: "EnvFlags") -> dict[str, Any]:
    """Return the options that are given, under the environments' names."""
    given = {
        "confusers": flags.confusers,
        "identical": False if flags.coloured else None,
        "image_size": flags.image_size,
        "action_noise": flags.action_noise,
        "slips": flags.slips,
        "coordinates": flags.coordinates,
        "swap_blocks": True if flags.swap_blocks else None,
        "robot_meshes": True if flags.robot_meshes else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _default_folder(flags: "Flags", manifest: Manifest) -> Path:
    parts = [manifest.suite.to_json(), dict(manifest.configuration), dict(manifest.fingerprint)]
    short = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]
    return Path("outputs") / "evaluate" / f"{env_label(flags.env)}_{label(flags.policy)}_{short}"
