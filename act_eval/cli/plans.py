"""From flags to what an evaluation is told: suite, arms, manifest, and who builds environments and policy."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from act_eval.cli.benches import (
    CheckpointSource,
    EnvSource,
    ExpertBenchSource,
    PolicyBenchSource,
    check_features,
)
from act_eval.cli.policies import EXPERT, checkpoint_folder, digest, label
from act_eval.errors import UnknownName, UsageError
from act_eval.evaluation import Job
from act_eval.runs import Manifest, fingerprint, notes
from act_eval.seeding import Purpose, episode_seeds
from act_eval.suites import Suite, parse_seeds
from act_eval.timing import METHODS, NOT_APPLICABLE, Constant, Schedule, Sync
from act_eval.types import PolicySpec

if TYPE_CHECKING:
    import gymnasium as gym

    from act_eval.cli.evaluate import EnvFlags, Flags

EPISODES = 50
DELAYS = (0, 4)
EXECUTORS = {**METHODS, "sync_ticking": partial(Sync, clock="ticking")}
"""Name on the command line → builder of a method from the execution horizon."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A checked evaluation, ready to run."""

    manifest: Manifest
    job: Job
    workers: int
    summary: tuple[str, ...]
    """What is about to run, defaults included, for the screen."""


def make_plan(flags: "Flags") -> Plan:
    """Resolve defaults and check everything that can be checked before the first episode.

    Raises:
        UsageError: or a child of it, naming the flag or field and what is allowed.
        CheckpointError: if the policy's folder is damaged.
    """
    source = EnvSource(env_id=_env_id(flags.env), options=_options(flags.env_flags))
    env = source.make()
    try:
        suite = _suite(flags, source, env)
        if flags.policy == EXPERT:
            return _expert_plan(flags, source, env, suite)
        return _policy_plan(flags, source, env, suite)
    finally:
        env.close()


def _policy_plan(flags: "Flags", source: EnvSource, env: "gym.Env[Any, Any]", suite: Suite) -> Plan:
    folder = checkpoint_folder(flags.policy)
    device = _device(flags.device)
    checkpoint = CheckpointSource(folder=folder, device=device, compile=_compile_mode(flags.compile, device))
    spec = checkpoint.load().spec
    check_features(spec, env)
    schedules = _schedules(flags, spec, _control_ms(env))
    arms = {
        name: {"executor": _executor(flags, spec), "delay": _delay_of(schedule), "execute": schedule.method.execute}
        for name, schedule in schedules.items()
    }
    configuration = {
        "policy": {"name": label(flags.policy), "digest": digest(folder), "chunk": spec.chunk, "window": spec.window},
        "arms": arms,
        "device": device,
        "precision": "float32",
        "compile": checkpoint.compile,
        "rows_per_call": checkpoint.rows_per_call,
        "video": flags.video,
    }
    build = PolicyBenchSource(env=source, policy=checkpoint, schedules=schedules, slots=_slots(flags, suite))
    prefix = f", takes a prefix of up to {spec.max_delay}" if spec.takes_prefix else ", takes no prefix"
    about = f"policy {label(flags.policy)}: chunk C = {spec.chunk}, {spec.window} window{prefix}"
    return _plan(flags, suite, env, configuration, build, about, torch_fingerprint(device))


def _expert_plan(flags: "Flags", source: EnvSource, env: "gym.Env[Any, Any]", suite: Suite) -> Plan:
    if any(flags.delay or ()) or any(flags.latency_ms or ()) or flags.executor or flags.execute:
        raise UsageError("the expert acts in every step without inference: it takes no delay, executor or horizon")
    if not hasattr(env.unwrapped, "privileged"):
        raise UsageError(f"{source.env_id} offers no privileged state, which the scripted expert needs")
    configuration = {"policy": {"name": EXPERT}, "arms": {EXPERT: {"executor": EXPERT}}, "video": flags.video}
    build = ExpertBenchSource(env=source, slots=_slots(flags, suite))
    return _plan(flags, suite, env, configuration, build, "policy expert: scripted, privileged, replans every step", {})


def _plan(
    flags: "Flags",
    suite: Suite,
    env: "gym.Env[Any, Any]",
    configuration: Mapping[str, Any],
    build: Any,
    about: str,
    more: Mapping[str, str],
) -> Plan:
    if flags.video != "none" and not hasattr(env.unwrapped, "render_state"):
        raise UsageError(f"{suite.env} cannot render logged states (render_state); choose --video none")
    workers = _workers(flags, len(configuration["arms"]) * len(suite.seeds))
    manifest = Manifest(
        suite=suite,
        configuration=configuration,
        fingerprint=fingerprint(threads=1, renderer=_renderer(env), **more),
        notes=notes(workers=workers, batch=flags.batch),
    )
    folder = flags.out or _default_folder(flags, manifest)
    titles = {arm: _title(flags, arm) for arm in configuration["arms"]}
    job = Job(folder=folder, seeds=suite.seeds, titles=titles, build=build, batch=flags.batch, video=flags.video)
    return Plan(manifest=manifest, job=job, workers=workers, summary=_summary(flags, manifest, job, workers, about))


def _summary(flags: "Flags", manifest: Manifest, job: Job, workers: int, about: str) -> tuple[str, ...]:
    options = ", ".join(f"{k}={v}" for k, v in manifest.suite.kwargs.items())
    seeds = f"seeds {flags.seeds}" if flags.seeds else f"seed {flags.seed}"
    configuration = manifest.configuration
    network = f"{configuration['device']}, compile {configuration['compile']}, " if "device" in configuration else ""
    return (
        f"suite {manifest.suite.hash}: {manifest.suite.env} ({options}), {len(job.seeds)} episodes, {seeds}",
        about,
        "arms: " + "; ".join(f"{arm} {_arm_text(values)}" for arm, values in configuration["arms"].items()),
        f"{network}{workers} processes × {job.batch} episodes, video {job.video}",
        f"run folder {job.folder}",
    )


def _arm_text(arm: Mapping[str, Any]) -> str:
    if "delay" not in arm:
        return "(no inference)"
    return f"(executor {arm['executor']}, delay d = {arm['delay']}, execute s = {arm['execute']})"


def _suite(flags: "Flags", source: EnvSource, env: "gym.Env[Any, Any]") -> Suite:
    if flags.seeds is not None and flags.episodes is not None:
        raise UsageError("--seeds names the episodes itself; leave --episodes away")
    if flags.episodes is not None and flags.episodes < 1:
        raise UsageError(f"--episodes is {flags.episodes}; it must be at least 1")
    if flags.seeds is not None:
        seeds = parse_seeds(flags.seeds)
    else:
        seeds = tuple(episode_seeds(Purpose.EVALUATE, flags.seed, flags.episodes or EPISODES))
    facts = dict(env.unwrapped.suite_facts()) if hasattr(env.unwrapped, "suite_facts") else {}  # pyright: ignore
    # The options as the environment resolved them: a default that is spelt out is the same suite.
    kwargs = facts.pop("options", dict(source.options))
    horizon = env.spec.max_episode_steps if env.spec is not None else None
    if horizon is None:
        raise UsageError(f"{source.env_id} is registered without max_episode_steps: its episodes would never end")
    return Suite(env=source.env_id, kwargs=kwargs, horizon=horizon, facts=facts, seeds=seeds)


def _schedules(flags: "Flags", spec: PolicySpec, control_ms: float) -> dict[str, Schedule]:
    name = _executor(flags, spec)
    execute = max(1, spec.chunk // 2) if flags.execute is None else flags.execute
    schedules: dict[str, Schedule] = {}
    for delay in _delays(flags, control_ms):
        schedule = Schedule(method=EXECUTORS[name](execute), delay=Constant(delay))
        schedule.check(spec)
        schedules[f"{name}_d{delay}_s{execute}"] = schedule
    return schedules


def _executor(flags: "Flags", spec: PolicySpec) -> str:
    name = flags.executor or ("rtc" if spec.takes_prefix else "naive")
    if name in NOT_APPLICABLE:
        raise UsageError(f"executor {name!r} is not offered: {NOT_APPLICABLE[name]}")
    if name not in EXECUTORS:
        raise UnknownName("executor", name, EXECUTORS)
    return name


def _delays(flags: "Flags", control_ms: float) -> tuple[int, ...]:
    if flags.delay is not None and flags.latency_ms is not None:
        raise UsageError("--delay and --latency-ms say the same thing in steps and in milliseconds; give one of them")
    if flags.latency_ms is not None:
        delays = tuple(delay_of_latency(latency, control_ms) for latency in flags.latency_ms)
    else:
        delays = DELAYS if flags.delay is None else flags.delay
    if not delays:
        raise UsageError("--delay names no delay; give at least one, as in --delay 0 4")
    return tuple(dict.fromkeys(delays))


def delay_of_latency(latency_ms: float, control_ms: float) -> int:
    """Return `ceil(latency / Δt)` in control steps.

    Raises:
        UsageError: if the latency is negative or not finite.
    """
    if not 0 <= latency_ms < math.inf:
        raise UsageError(f"--latency-ms is {latency_ms}; it must be finite and at least 0")
    return math.ceil(latency_ms / control_ms - 1e-9)


def _delay_of(schedule: Schedule) -> int:
    assert isinstance(schedule.delay, Constant)
    return schedule.delay.steps


def _control_ms(env: "gym.Env[Any, Any]") -> float:
    return 1000 / env.metadata["render_fps"]


def _env_id(name: str) -> str:
    from act_eval.envs.registration import env_id

    return env_id(name)


def _options(flags: "EnvFlags") -> dict[str, Any]:
    given = {
        "confusers": flags.confusers,
        "identical": False if flags.coloured else None,
        "image_size": flags.image_size,
        "action_noise": flags.action_noise,
        "coordinates": flags.coordinates,
        "swap_blocks": True if flags.swap_blocks else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _slots(flags: "Flags", suite: Suite) -> int:
    if flags.batch < 1:
        raise UsageError(f"--batch is {flags.batch}; it must be at least 1")
    return min(flags.batch, len(suite.seeds))


def _workers(flags: "Flags", episodes: int) -> int:
    if flags.workers is not None and flags.workers < 1:
        raise UsageError(f"--workers is {flags.workers}; it must be at least 1")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(flags.workers or cores, episodes)


def _device(name: str) -> str:
    import torch

    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:  # torch's words for a name it does not know or cannot reach
        raise UsageError(f"--device {name}: {str(error).splitlines()[0]}") from error
    return chosen


def _compile_mode(mode: str, device: str) -> str:
    from act_eval.policies.compile import resolve_mode

    return resolve_mode(mode, device)


def torch_fingerprint(device: str) -> dict[str, str]:
    """Return what a network's numbers may depend on: the instruction set, and the GPU where one is used."""
    import torch

    gpu = {"gpu": torch.cuda.get_device_name(device)} if torch.device(device).type == "cuda" else {}
    return {"cpu_capability": torch.backends.cpu.get_cpu_capability(), **gpu}


def _renderer(env: "gym.Env[Any, Any]") -> str:
    name = getattr(env.unwrapped, "renderer_name", None)
    return "unknown" if name is None else name()


def _default_folder(flags: "Flags", manifest: Manifest) -> Path:
    parts = [manifest.suite.to_json(), dict(manifest.configuration), dict(manifest.fingerprint)]
    short = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]
    return Path("outputs") / "evaluate" / f"{label(flags.env)}_{label(flags.policy)}_{short}"


def _title(flags: "Flags", arm: str) -> str:
    return f"{flags.env} · {label(flags.policy)} · {arm}"
