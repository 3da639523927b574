"""Environments by name or as objects: how a worker makes one, and what a run's plan must know of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from act_eval.config import EnvDeclaration
from act_eval.errors import FeatureMismatch, UsageError
from act_eval.seeding import Purpose, episode_seeds
from act_eval.sources.digests import digest_of, settled_digest, try_digest, unknown_digest
from act_eval.sources.env_declaration import declared, is_empty
from act_eval.sources.env_places import Place, Python, Server, is_server, make_elsewhere, python_of, served_at
from act_eval.sources.external_envs import env_label, is_foreign, make_adapted, make_given, make_ours
from act_eval.sources.factories import (
    factory_local_only,
    import_name,
    instance_local_only,
    names_factory,
    object_label,
)
from act_eval.types import ENVIRONMENT_STATE, IMAGE_PREFIX, STATE, PolicySpec
from act_eval.types.env_hooks import hooks_of
from act_eval.user_code import user_code

if TYPE_CHECKING:
    import gymnasium as gym

    from act_eval.envs.adapters import Declaration


_PROJECTION_TOLERANCE = 1e-6


NAMES_TARGET = ("exact", "click")
"""Values of `goal_input` that give the policy the target's position."""


@dataclass(frozen=True, kw_only=True)
class EnvFacts:
    """What an environment says of itself."""

    options: Mapping[str, Any]
    """Options as the environment resolved them, so that a default that is spelt out is the same suite."""
    horizon: int
    control_ms: float
    """Δt, length of a control step [ms]."""
    suite: Mapping[str, Any]
    """What must be equal for runs to be paired, beside options and horizon."""
    renderer: str
    renders_states: bool
    """Whether logged states can be rendered again, which videos need."""
    offered: Mapping[str, tuple[int, ...]]
    """Shapes of what the environment shows, under the policies' names."""
    action: tuple[int, ...]
    by_name: bool = True
    """Whether its name suffices to make it again, which rendering a finished run's logged states needs."""
    has_lookahead: bool = False
    """Whether the scripted expert's next commands can be found out, which prefix `expert` needs."""
    gripper_dims: tuple[int, ...] | None = None
    """See `EnvHooks.gripper_dims`."""
    films: bool = False
    """Whether frames can be kept while an episode runs, for videos where logged states cannot be rendered."""
    remarks: tuple[str, ...] = ()
    """How an environment that is not ours was understood, for the screen."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the package that it comes from, for a run's fingerprint."""
    overhead_projection: tuple[float, ...] | None = None
    """Where places on the table appear in the overhead image, see `PolicySpec`; None where it does not say."""


@dataclass(frozen=True, kw_only=True)
class EnvSource:
    """An environment by its Gymnasium id and options, or by the name of one that is not ours."""

    env_id: str
    options: Mapping[str, Any]
    declared: "Declaration | None" = None
    """What is declared of an environment that is not ours; None: it is ours."""
    film: bool = False
    """Whether an environment that is not ours will be asked to render."""
    given: Any = field(default=None, compare=False)
    """A factory that workers cannot import by name, or a made environment; `env_id` then is only its label."""
    unknown: str = ""
    """Digest of such an object if it cannot be digested; no other object has it."""
    place: Place | None = None
    """Where environments are made; None: in the process that asks."""

    @property
    def label(self) -> str:
        """A short name, fit for a file name."""
        from act_eval.envs.registration import ENVIRONMENTS

        return env_label(next((name for name, one in ENVIRONMENTS.items() if one == self.env_id), self.env_id))

    @property
    def tasks(self) -> int:
        """How many tasks of a suite its episodes are shared among; 1 for other environments."""
        from act_eval.envs.suites import suite_of

        found = None if self.given is not None else suite_of(self.env_id)
        return 1 if found is None else len(found[1])

    def seeds(self, purpose: Purpose, run_seed: int, count: int) -> tuple[int, ...]:
        """Return the seeds of a run's episodes; of several tasks as many each as possible, task by task.

        Raises:
            UsageError: if there are fewer episodes than tasks.
        """
        from act_eval.envs.suites.task_list import balanced

        drawn, tasks = count, self.tasks
        while (chosen := balanced(episode_seeds(purpose, run_seed, drawn), tasks, count)) is None:
            drawn *= 2
        return tuple(chosen)

    @property
    def made(self) -> bool:
        """Whether the environment is made already: there is one slot, in this process."""
        return self.given is not None and not _is_factory(self.given)

    @property
    def local_only(self) -> str | None:
        """Why environments can only run in this process; None if workers can make their own."""
        if self.given is None:
            return None
        what = f"environment {self.label}"
        return instance_local_only(what, self.given) if self.made else factory_local_only(what, self.given)

    @cached_property
    def identity(self) -> tuple[str | None, str | None]:
        """A digest of the object, and why it is a random one; None for an environment by name.

        A made environment is reset and steps once.
        """
        if self.given is None or (self.made and self.declared is None):
            return None, None  # built-in environments describe themselves
        if not self.made:
            return try_digest(self.unknown, lambda: digest_of(self.given, dict(self.options)))
        with user_code(f"{self.label}, in a first step, raised"):
            return try_digest(self.unknown, lambda: settled_digest(self.given))

    def for_probe(self) -> "EnvSource":
        """Return the source without video and with a goal input that names the target: a probe changes it itself."""
        options = dict(self.options)
        if options.get("goal_input") not in NAMES_TARGET:
            options.pop("goal_input", None)
        return replace(self, options=options, film=False)

    def facts(self, env: "gym.Env[Any, Any]") -> EnvFacts:
        """Return what an environment that `make` made says of itself; for objects with a digest in its suite.

        Raises:
            UsageError: as `env_facts`.
        """
        facts = env_facts(env, self.options)
        if self.place is not None and self.declared is not None:
            facts = replace(facts, by_name=False)  # its package may be missing here
        digest, why = self.identity
        if digest is None:
            return facts
        remark = () if why is None else (f"{self.label}: {why}; a run in it cannot be resumed",)
        suite = {**facts.suite, "object": digest}
        return replace(facts, suite=suite, by_name=False, remarks=(*facts.remarks, *remark))

    def make(self) -> "gym.Env[Any, Any]":
        """Return a new environment.

        Raises:
            UsageError: if it does not take the options, or something has to be declared.
        """
        if self.given is not None:
            return make_given(self.env_id, self.given, self.options, self.declared)
        if self.declared is not None:
            return make_adapted(self.env_id, self.options, self.declared, self.film, self.place)
        if self.place is not None:
            return make_elsewhere(self.place, self.env_id, self.options, self.film, None)
        return make_ours(self.env_id, self.options)


def env_source(env: Any, options: Mapping[str, Any], flags: EnvDeclaration, film: bool) -> EnvSource:
    """Return the source of environments.

    Args:
        env: by name, one of ours, a Gymnasium id, `module:factory` or `dm_control:TASK`; as an object, a class or
            function that makes an environment, or a made one.
        options: From the flags for our environments.
        flags: What is declared of others.
        film: Whether episodes are to be filmed.

    Raises:
        UsageError: or a child of it, naming the flag that does not fit.
    """
    from act_eval.envs.registration import env_id

    more, declaration = declared(flags)
    given, place = {**options, **more}, python_of(flags.env_python)
    if not isinstance(env, str):
        source = _of_object(env, given, declaration, film)
        if place is not None and source.given is not None:
            raise UsageError(f"env_python takes an environment that {place.path} can import by its name, got {env!r}")
        return replace(source, place=place)
    if is_server(env):
        env, given, place = _at_server(env, given, place)
    if is_foreign(env):
        return EnvSource(env_id=env, options=given, declared=declaration, film=film, place=place)
    ours = env_id(env)
    if not is_empty(declaration):
        raise UsageError(f"{env} is an environment of ours, which says itself what it shows: declare nothing")
    return EnvSource(env_id=ours, options=given, place=place)


def _at_server(url: str, options: Mapping[str, Any], python: Python | None) -> tuple[str, dict[str, Any], Server]:
    """Return the name, the options and the place of an environment that a server makes."""
    if options:
        raise UsageError(f"{url} makes its environment with the options of act-eval serve-env; omit {dict(options)}")
    if python is not None:
        raise UsageError(f"{url} is a server already; --env-python is for environments by name")
    return *served_at(url), Server(url)


def _of_object(given: Any, options: Mapping[str, Any], declaration: "Declaration", film: bool) -> EnvSource:
    import gymnasium as gym

    from act_eval.envs.registration import ENVIRONMENTS

    unknown = unknown_digest()
    if isinstance(given, gym.Env):
        if options:
            raise UsageError(f"the options {dict(options)} are for making an environment; {given} is made already")
        spec = given.spec
        if spec is not None and spec.id in ENVIRONMENTS.values():
            if not is_empty(declaration):
                raise UsageError(f"{spec.id} is an environment of ours, which says itself what it shows")
            return EnvSource(env_id=spec.id, options=dict(spec.kwargs), given=given)
        name = object_label(given.unwrapped) if spec is None else spec.id
        return EnvSource(env_id=name, options={}, declared=declaration, film=film, given=given, unknown=unknown)
    if not _is_factory(given):
        raise UsageError(
            f"the environment is an instance of {type(given).__name__}; allowed: a name, a class or function that "
            "makes a gymnasium.Env, or a made gymnasium.Env"
        )
    name = import_name(given)
    if name is not None and names_factory(name):
        return EnvSource(env_id=name, options=options, declared=declaration, film=film)
    return EnvSource(
        env_id=object_label(given), options=options, declared=declaration, film=film, given=given, unknown=unknown
    )


def _is_factory(given: Any) -> bool:
    return isinstance(given, type) or (callable(given) and not hasattr(given, "step"))


def env_facts(env: "gym.Env[Any, Any]", options: Mapping[str, Any]) -> EnvFacts:
    """Return what an environment says of itself.

    Raises:
        UsageError: if its episodes would never end, or it does not do what it says.
    """
    hooks = hooks_of(env)
    if hooks.smoke_test is not None:
        with user_code(f"{env.unwrapped}, in a first step, raised"):
            hooks.smoke_test()
    horizon = env.spec.max_episode_steps if env.spec is not None else hooks.max_episode_steps
    if horizon is None:
        raise UsageError(f"{env.spec} is registered without max_episode_steps: its episodes would never end")
    suite = {} if hooks.suite_facts is None else dict(hooks.suite_facts())
    return EnvFacts(
        options=suite.pop("options", dict(options)),
        horizon=int(horizon),
        control_ms=1000 / env.metadata["render_fps"],
        suite=suite,
        renderer="unknown" if hooks.renderer_name is None else hooks.renderer_name(),
        renders_states=hooks.render_state is not None,
        offered=_offered(env),
        action=tuple(env.action_space.shape or ()),
        has_lookahead=hooks.expert_action is not None and hooks.fork is not None,
        gripper_dims=None if hooks.gripper_dims is None else tuple(hooks.gripper_dims),
        films=env.render_mode == "rgb_array",
        remarks=() if hooks.remarks is None else hooks.remarks(),
        versions={} if hooks.package_versions is None else hooks.package_versions(),
        overhead_projection=None if hooks.overhead_projection is None else hooks.overhead_projection(),
    )


def check_features(spec: PolicySpec, env: "gym.Env[Any, Any] | EnvFacts") -> None:
    """Refuse a policy whose inputs or actions are not the environment's.

    Raises:
        FeatureMismatch: naming every field that does not fit, with both shapes.
    """
    facts = env if isinstance(env, EnvFacts) else env_facts(env, {})
    problems = [
        f"{name}: the policy was made for {shape}, the environment gives {facts.offered.get(name, 'no such thing')}"
        for name, shape in spec.inputs.items()
        if facts.offered.get(name) != shape
    ]
    if facts.action != (spec.action_dim,):
        problems.append(f"action: the policy gives ({spec.action_dim},), the environment takes {facts.action}")
    if not _same_view(spec.overhead_projection, facts.overhead_projection):
        problems.append(
            f"overhead camera: the policy cuts its image by the projection {spec.overhead_projection}, the environment "
            f"has {facts.overhead_projection or 'none'}"
        )
    if problems:
        raise FeatureMismatch("policy and environment do not fit:\n  " + "\n  ".join(problems))


def _same_view(used: tuple[float, ...] | None, given: tuple[float, ...] | None) -> bool:
    """Whether a policy that uses a projection, if it does, gets the camera that it was made for."""
    if used is None:
        return True
    return given is not None and all(abs(a - b) <= _PROJECTION_TOLERANCE for a, b in zip(used, given, strict=True))


def _offered(env: "gym.Env[Any, Any]") -> dict[str, tuple[int, ...]]:
    from gymnasium import spaces

    space = env.observation_space
    if not isinstance(space, spaces.Dict):
        return {}
    names = {"agent_pos": STATE, "environment_state": ENVIRONMENT_STATE}
    offered = {names[key]: tuple(space[key].shape or ()) for key in names if key in space.spaces}
    offered = {name: shape for name, shape in offered.items() if shape != (0,)}  # a place that nothing is shown in
    pixels = space.spaces.get("pixels")
    cameras = pixels.spaces if isinstance(pixels, spaces.Dict) else {}
    return offered | {IMAGE_PREFIX + name: tuple(box.shape or ()) for name, box in cameras.items()}
