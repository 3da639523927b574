"""From flags to what a sweep is told: the grid, who runs what where, and everything that can be refused up front."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from act_eval.cli.evaluations.launching import device_here, part_of, place_of
from act_eval.cli.evaluations.plans import env_options
from act_eval.cli.sweeps.survey import Survey
from act_eval.errors import FeatureMismatch, UsageError
from act_eval.evaluation.worker import Job
from act_eval.launch import Build, Place
from act_eval.results import Manifest, Part, episodes_of, fingerprint, notes
from act_eval.results.suites import Suite
from act_eval.seeding import Purpose, episode_seeds
from act_eval.sources.env_declaration import said
from act_eval.sources.environments import EnvSource, check_features, env_source
from act_eval.sources.external_envs import env_label
from act_eval.sources.policies import EXPERT, Network, digest, label, policy_entry, policy_source
from act_eval.sources.policy_sources import CheckpointSource, PolicyFacts, PolicySource, check_network
from act_eval.sources.workers import PolicyBenchSource
from act_eval.sweeps import Expansion, Grid, expand, parse_rule, shared_refusals
from act_eval.timing import (
    Estimator,
    ExpertPrefix,
    ToldConstant,
    arm_settings,
    check_executor,
    describe_prefix,
    describe_told,
    parse_prefix,
    parse_told,
)

if TYPE_CHECKING:
    from act_eval.cli.sweep import Flags

_Value = TypeVar("_Value")
_MOST = 10_000  # steps of delay; beyond it a number is a slip of the keyboard


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the flags say, checked as far as names and numbers go."""

    grid: Grid
    policies: Mapping[str, PolicySource]
    """Name in the sweep's folders → source."""
    envs: Mapping[str, EnvSource]
    """Short name → source."""
    seeds: tuple[int, ...]
    drawn: str
    """How the seeds were drawn, for the screen."""
    place: Place
    """Where the workers are started."""
    workers: int
    batch: int
    part: Part | None
    """Of every cell's episodes; None: all of them."""
    out: Path
    asked: Mapping[str, Any]
    """The same in JSON values, for `sweep.json`."""

    @property
    def episodes(self) -> int:
        """Episodes of every cell that are to be run here."""
        return len(episodes_of(self.part, len(self.seeds)))


@dataclass(frozen=True, kw_only=True)
class PartPlan:
    """One policy in one environment: one run folder."""

    policy: str
    env: str
    control_s: float
    default_executor: str
    expansion: Expansion
    manifest: Manifest
    job: Job
    build: Build


def read_flags(flags: "Flags") -> Request:
    """Check the flags as far as they need neither policy nor environment.

    Raises:
        UsageError: or a child of it, naming the flag and what is allowed.
        CheckpointError: if a policy's folder holds no checkpoint.
    """
    for name in ("episodes", "batch", "workers"):
        value = getattr(flags, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name} is {value}; it must be at least 1")
    grid = Grid(
        delays=tuple(dict.fromkeys(map(_delay, _given("delays", flags.delays, "0 4")))),
        rules=tuple(dict.fromkeys(map(parse_rule, _given("execute", flags.execute, "half 5")))),
        executors=tuple(dict.fromkeys(map(_executor, _given("executors", flags.executors, "naive rtc")))),
        told=dict(map(_told, _given("told", flags.told, "oracle"))),
        prefixes={describe_prefix(one): one for one in map(parse_prefix, _given("prefix", flags.prefix, "own"))},
        observe=tuple(dict.fromkeys(_given("observe", flags.observe, "present"))),
        beyond_max_delay=flags.beyond_max_delay,
    )
    part = part_of(flags.launch)
    place = place_of(flags.launch)
    check_network(flags.compile, device_here(flags.launch, flags.device))
    purpose = Purpose.HELD_OUT if flags.held_out else Purpose.EVALUATE
    return Request(
        grid=grid,
        policies=_policies(flags),
        envs=_environments(flags),
        seeds=tuple(episode_seeds(purpose, flags.seed, flags.episodes)),
        drawn=f"seed {flags.seed}{' held-out' if flags.held_out else ''}",
        place=place,
        workers=min(flags.workers or place.cores(), len(episodes_of(part, flags.episodes))),
        batch=flags.batch,
        part=part,
        out=flags.out or _default_folder(flags),
        asked=_asked(flags, grid),
    )


def plan_parts(request: Request, facts: Survey) -> list[PartPlan]:
    """Return the parts that have something to run, in the order of policies and environments.

    Raises:
        FeatureMismatch: naming a policy and an environment that do not fit.
        UsageError: if no cell can run, with the reasons.
    """
    parts = [_part(request, facts, policy, env) for env in request.envs for policy in request.policies]
    if not any(part.job.arms for part in parts):
        reasons = [
            f"  {part.policy}, {part.env}: {cells}: {reason}"
            for part in parts
            for cells, reason in shared_refusals(part.expansion.refused)
        ]
        raise UsageError("no cell of the grid can run:\n" + "\n".join(reasons))
    return parts


def _part(request: Request, facts: Survey, policy: str, env: str) -> PartPlan:
    about, place = facts.policies[policy], facts.envs[env]
    try:
        check_features(about.spec, place)
    except FeatureMismatch as error:
        raise FeatureMismatch(f"{policy} in {env}: {error}") from error
    if not place.foreseen and any(isinstance(one, ExpertPrefix) for one in request.grid.prefixes.values()):
        raise UsageError(f"--prefix expert needs an environment with the scripted expert; {env} has none")
    expansion = expand(request.grid, about.spec)
    source, where = request.policies[policy], request.envs[env]
    suite = Suite(
        env=where.env_id,
        kwargs=place.options,
        horizon=place.horizon,
        facts=place.suite,
        seeds=request.seeds,
    )
    manifest = Manifest(
        suite=suite,
        configuration=_configuration(policy, about, expansion),
        fingerprint=fingerprint(threads=1, renderer=place.renderer, **place.versions, **about.numeric),
        notes=notes(workers=request.workers, batch=request.batch, replayable=place.renders_states),
    )
    job = Job(
        folder=request.out / f"{policy}_{env}",
        seeds=request.seeds,
        title=f"{env} · {policy}",
        arms={setting.arm: setting.schedule for setting in expansion.settings},
        batch=request.batch,
        video="none",
    )
    return PartPlan(
        policy=policy,
        env=env,
        control_s=place.control_ms / 1000,
        default_executor="rtc" if about.spec.takes_prefix else "naive",
        expansion=expansion,
        manifest=manifest,
        job=job,
        build=PolicyBenchSource(env=where, policy=source, slots=min(request.batch, request.episodes)),
    )


def _configuration(name: str, about: PolicyFacts, expansion: Expansion) -> dict[str, Any]:
    arms = {setting.arm: arm_settings(setting.schedule) for setting in expansion.settings}
    policy = policy_entry(name, about)
    return {"policy": policy, "arms": arms, **about.run, "video": "none"}


def _given(flag: str, values: Sequence[_Value], example: str) -> Sequence[_Value]:
    if not values:
        raise UsageError(f"--{flag} is empty; name at least one, as in --{flag} {example}")
    return values


def _delay(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text[:9]) > _MOST:
        raise UsageError(
            f"--delays has {text!r}; delays are whole control steps from 0 to {_MOST}, with spaces between"
        )
    return int(text)


def _executor(name: str) -> str:
    check_executor(name)
    return name


def _told(text: str) -> tuple[str, Estimator]:
    """Return an estimator with the name that rows and axes give it: a constant is just its number."""
    estimator = parse_told(f"constant:{text}" if text.isdecimal() else text)
    name = str(estimator.steps) if isinstance(estimator, ToldConstant) else describe_told(estimator)
    return name, estimator


def _policies(flags: "Flags") -> dict[str, PolicySource]:
    """Return the policies by names that are different and fit for folders."""
    found: dict[str, PolicySource] = {}
    network = Network(device=flags.device, compile=flags.compile)
    for asked in dict.fromkeys(_given("policies", flags.policies, "act_rtc")):
        if asked == EXPERT:
            raise UsageError("the expert acts in every step without inference: there is no delay to sweep")
        source = policy_source(asked, {}, network)
        if source in found.values():
            continue
        name = label(asked)
        found[name if name not in found else f"{name}-{_apart(source)}"] = source
    return found


def _environments(flags: "Flags") -> dict[str, EnvSource]:
    """Return the environments by names that are different and fit for folders."""
    from act_eval.envs.registration import ENVIRONMENTS

    short = {one: name for name, one in ENVIRONMENTS.items()}
    found: dict[str, EnvSource] = {}
    for asked in dict.fromkeys(_given("envs", flags.envs, "moving_pick")):
        source = env_source(asked, env_options(flags.env_flags), flags.declaring, film=False)
        name = short.get(source.env_id, env_label(asked))
        if found.get(name, source) != source:
            raise UsageError(f"--envs: {found[name].env_id} and {source.env_id} would both be called {name}")
        found[name] = source
    return found


def _apart(source: PolicySource) -> str:
    """Return what tells policies of the same name apart: a checkpoint's content, wherever it lies."""
    if isinstance(source, CheckpointSource):
        return digest(source.folder)[:6]
    return hashlib.sha256(repr(source).encode()).hexdigest()[:6]


def _asked(flags: "Flags", grid: Grid) -> dict[str, Any]:
    return {
        "policies": list(flags.policies),
        "envs": list(flags.envs),
        "delays": list(grid.delays),
        "execute": [str(rule) for rule in grid.rules],
        "executors": list(grid.executors),
        "told": list(grid.told),
        "prefix": list(grid.prefixes),
        "observe": list(grid.observe),
        "beyond_max_delay": grid.beyond_max_delay,
        "episodes": flags.episodes,
        "seed": flags.seed,
        "held_out": flags.held_out,
        "env_options": env_options(flags.env_flags),
        **said(flags.declaring),
    }


def _default_folder(flags: "Flags") -> Path:
    """Return a folder that the same grid finds again, and another grid does not."""
    asked = [list(flags.policies), list(flags.envs), list(flags.delays), list(flags.execute), list(flags.executors)]
    shown = [list(flags.told), list(flags.prefix), list(flags.observe)]
    rest = [flags.beyond_max_delay, flags.episodes, flags.seed, flags.held_out, flags.compile, flags.device]
    content = json.dumps(
        [asked, shown, rest, {**env_options(flags.env_flags), **said(flags.declaring)}], sort_keys=True
    )
    names = "_".join([*map(env_label, flags.envs), *map(label, flags.policies)])
    return Path("outputs") / "sweep" / f"{names[:80]}_{hashlib.sha256(content.encode()).hexdigest()[:8]}"
