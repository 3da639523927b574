"""What a job may be asked for: one frozen dataclass per job, read by the command line and by the Python API alike.

Checks that need neither policy nor environment are made when a config is created. Imports nothing heavy.
"""

import json
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from act_eval.errors import UnknownName, UsageError

Tool = Literal["csv", "parquet", "tensorboard", "wandb", "rerun"]
Video = Literal["all", "failures", "none"]
Precision = Literal["float32", "bf16"]
BeyondMaxDelay = Literal["error", "clip", "naive"]
Proprio = Literal["observed", "predicted", "predicted-with-gripper"]

_Config = TypeVar("_Config")
_FLAT = tyro.conf.arg(name="")
_AT_LEAST_ONE = ("batch", "workers", "episodes", "execution_horizon", "rows_per_call")


@dataclass(frozen=True)
class EnvOptions:
    """Options of the environment; those that are not given keep the environment's defaults."""

    confusers: int | None = None
    """Blocks beside the target."""
    coloured: bool = False
    """Give every confuser a different colour."""
    image_size: int | None = None
    """Height and width of the camera images [px]."""
    action_noise: float | None = None
    """Standard deviation of noise on the arm's commands, in half of the steps [rad]."""
    gripper_faults: float | None = None
    """Chance per step that the gripper ignores its command for 10 to 25 steps."""
    goal_input: Literal["exact", "none", "confuser", "random"] | None = None
    """Coordinates that the policy gets as the target's place."""
    swap_blocks: bool = False
    """Let target and first confuser exchange places."""
    robot_meshes: bool = False
    """Render the robot's meshes, from the copy of MuJoCo Menagerie that MENAGERIE_ROOT names, instead of primitives."""

    def given(self) -> dict[str, Any]:
        """Return the options that are given, under the environments' names."""
        given = {
            "confusers": self.confusers,
            "identical": False if self.coloured else None,
            "image_size": self.image_size,
            "action_noise": self.action_noise,
            "gripper_faults": self.gripper_faults,
            "goal_input": self.goal_input,
            "swap_blocks": True if self.swap_blocks else None,
            "robot_meshes": True if self.robot_meshes else None,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class EnvDeclaration:
    """What an external environment provides, where its names do not say it; see docs/own-environment.md."""

    env_options: tuple[str, ...] = ()
    """Passed to the environment, each as NAME=VALUE; a value is JSON or text."""
    env_file: Path | None = None
    """TOML file with any of these declarations; flags take precedence."""
    images: tuple[str, ...] | None = None
    """Cameras, each as NAME=PLACE: top=pixels.top, or front=render() for the rendered frame."""
    state: tuple[str, ...] | None = None
    """Places of the robot's state, joined: agent_pos, or robot.joints observation[0:7]."""
    environment_state: tuple[str, ...] | None = None
    """Places of further state of the scene, such as a goal."""
    success: str | None = None
    """When an episode has succeeded: info.is_success, "reward>=4", "return>=475", terminated."""
    hold: str | None = None
    """Command of a step that no chunk covers: repeat (absolute positions), zero (velocities), or one entry per action
    dim: 0,0,0,repeat."""
    horizon: int | None = None
    """Control steps after which an episode is cut off."""
    control_ms: float | None = None
    """Length of a control step [ms]; 1000 / render_fps by default."""


@dataclass(frozen=True)
class LaunchOptions:
    """Where the episodes run; no option of these changes their records."""

    shard: str | None = None
    """Run only this part of every condition's episodes, as in 2/8; `merge` makes one run of all parts."""
    launcher: Literal["local", "ray", "slurm"] = "local"
    """Processes on this machine, actors of a Ray cluster, or an array of Slurm jobs."""
    gpus_per_worker: float = 0.0
    """GPUs that Ray reserves for each worker; fractions are possible, as in 0.25."""
    launcher_options: tuple[str, ...] = ()
    """Parameters of submitit, as in timeout_min=60 slurm_partition=gpu; cluster=local tries it on this machine."""

    def __post_init__(self) -> None:
        if self.shard is not None and self.launcher == "slurm":
            raise UsageError("--launcher slurm cuts the run into --workers shards itself; leave --shard away")
        if self.launcher_options and self.launcher != "slurm":
            raise UsageError(
                "--launcher-options holds parameters for --launcher slurm; name that launcher, or leave them away"
            )
        if self.gpus_per_worker and self.launcher != "ray":
            raise UsageError(
                "--gpus-per-worker is for --launcher ray; on Slurm it is --launcher-options gpus_per_node=1"
            )
        if self.gpus_per_worker < 0:
            raise UsageError(f"--gpus-per-worker is {self.gpus_per_worker}; it must be at least 0")
        for entry in self.launcher_options:
            name, equals, value = entry.partition("=")
            if not (name.isidentifier() and equals and value):
                raise UsageError(f"--launcher-options takes NAME=VALUE, as in timeout_min=60; got {entry!r}")

    def submission(self) -> dict[str, Any]:
        """Return submitit's parameters."""
        return {
            name: _number_or_text(value) for name, _, value in (one.partition("=") for one in self.launcher_options)
        }

    def local_device(self, device: str) -> str:
        """Return the device to be checked on this machine: any if the workers' GPUs are elsewhere."""
        return device if self.launcher == "local" else "auto"


@dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate a policy in closed loop under inference delay. Without any option: the main job."""

    policy: str = "act_rtc"
    """A shipped policy, the path of a checkpoint folder (ours or LeRobot's ACT), a hub id (org/name), module:factory,
    a server (ws://host:port), or `expert`."""
    policy_options: tuple[str, ...] = ()
    """Passed to module:factory or to a server's client, each as NAME=VALUE; a value is JSON or text."""
    env: str = "confuser_pick"
    """A built-in name, a Gymnasium id (gym_aloha/AlohaTransferCube-v0, package:SomeId-v0), module:factory, or
    dm_control:DOMAIN/TASK."""
    episodes: int | None = None
    """Episodes per condition, 50 by default."""
    seed: int = 0
    """Determines the episode seeds."""
    seeds: str | None = None
    """The episode seeds themselves, as in 3,17; instead of --episodes and --seed."""
    held_out: bool = False
    """Draw the episodes from seeds that no other evaluation uses: for the one checkpoint that others chose."""
    delays: Annotated[tuple[str, ...] | None, tyro.conf.arg(name="delay", aliases=("--inference-delay",))] = None
    """Inference delays; each is a condition on the same seeds. Control steps, or a model: uniform:1,6
    lognormal:shift=1,median=2,sigma=0.5 bursty:calm=1,spike=6,enter=0.1,leave=0.5 lossy:probability=0.1,of=4
    trace:FILE measured measured:injected_ms=100. 0 4 by default."""
    latency_ms: tuple[float, ...] | None = None
    """Inference delays [ms], rounded up to control steps; instead of --delay."""
    execution_horizon: int | None = None
    """Control steps between two requests; half a chunk by default."""
    executor: str | None = None
    """How chunks are run while the next one is computed: sync, sync_hold, naive, rtc, ensemble, blend, or
    module:Name of your own; options follow, as in ensemble:decay=0.1. By default rtc for policies that take a prefix
    and naive for others."""
    delay_estimator: str | None = None
    """Delay that rtc is told: oracle, constant:4, max, p95, average. The oracle by default; max under measured."""
    beyond_max_delay: BeyondMaxDelay = "error"
    """An estimated delay above the policy's largest: refused, told the largest, or asked without a prefix."""
    timeout: int | None = None
    """Control steps after which a missing answer is lost; answers are waited for by default."""
    observation_delay: int = 0
    """Control steps by which observations are late."""
    actuation_delay: int = 0
    """Control steps by which commands reach the arm late."""
    prefix: tuple[str, ...] = ("committed",)
    """Action prefix that rtc conditions on; each is a condition. committed (the commands that run during inference),
    or an ablation: expert (the scripted expert's commands), pad (no commands), shuffled, wrong_delay:2 (an estimated
    delay 2 steps too long)."""
    proprio: tuple[Proprio, ...] = ("observed",)
    """Joint positions in the policy's input; each is a condition. observed, or the positions expected when the new
    chunk starts, that is the last committed command: predicted keeps the observed gripper, predicted-with-gripper
    predicts it too."""
    out: Path | None = None
    """Run folder; by default one below outputs/evaluate whose name depends on the configuration."""
    compile: str = "auto"
    """torch.compile: off, a mode of it, or auto (where it pays)."""
    precision: Precision = "float32"
    """Precision of the network's matrix products; bf16 is faster and moves the commands a little."""
    video: Video = "all"
    """Which episodes are recorded."""
    export: tuple[Tool, ...] = ()
    """Export the finished run to csv, parquet, tensorboard, wandb or rerun, as `act-eval export` does."""
    metrics: tuple[str, ...] = ()
    """Metrics of your own to record beside the built-in ones, each module:Name of a function of (record, steps,
    control_s) or of a class; see docs/metrics.md."""
    workers: int | None = None
    """Processes; as many as there are processor cores by default. With --launcher ray: actors; with slurm: jobs."""
    batch: int | None = None
    """Episodes that run at a time in each process; 8 by default, 1 where inference is measured."""
    rows_per_call: int | None = None
    """Rows of every network call, filled up where fewer ask; 8 by default, as many as --batch where inference is
    measured."""
    device: str = "auto"
    """Where the network runs: cpu, cuda, or auto (cuda where there is one)."""
    probe: bool = True
    """Check the policy's inputs first and warn of those that it ignores (a few seconds)."""
    mask_images: bool = False
    """Show the policy grey in place of every camera's images, as a control."""
    environment: Annotated[EnvOptions, _FLAT] = field(default_factory=EnvOptions)
    call_timeout_s: float | None = None
    """Time limit of each call of the policy or the environment: a call that hangs longer ends the episode as
    policy_error, or as invalid. Unlimited by default."""
    launch: Annotated[LaunchOptions, _FLAT] = field(default_factory=LaunchOptions)
    declaration: Annotated[EnvDeclaration, _FLAT] = field(default_factory=EnvDeclaration)

    def __post_init__(self) -> None:
        _check_at_least_one(self)
        if self.call_timeout_s is not None:
            from act_eval.rollout.timeouts import check_limit

            check_limit(self.call_timeout_s)
        if self.delays is not None and self.latency_ms is not None:
            raise UsageError(
                "--delay and --latency-ms say the same thing in steps and in milliseconds; give one of them"
            )
        if self.delays == () or self.latency_ms == ():
            raise UsageError("no delay is given; name at least one, as in --delay 0 4")
        if not self.prefix or not self.proprio:
            raise UsageError("--prefix and --proprio need at least one value each, as in --prefix committed pad")
        if self.seeds is not None and self.held_out:
            raise UsageError("--seeds names the episodes itself, --held-out draws them; leave one of them away")
        if self.seeds is not None and self.episodes is not None:
            raise UsageError("--seeds names the episodes itself; leave --episodes away")


@dataclass(frozen=True)
class SweepConfig:
    """Sweep policies over inference delay. Without any option: the comparison of rtc with naive where delay hurts."""

    policies: tuple[str, ...] = ("act", "act_rtc")
    """Shipped policies, or paths of checkpoint folders."""
    envs: tuple[str, ...] = ("moving_pick", "confuser_swap")
    """Environments, as `evaluate` takes them."""
    delays: tuple[str, ...] = ("0", "1", "2", "4", "8")
    """Inference delays d [control steps]."""
    execution_horizon: tuple[str, ...] = ("half",)
    """Control steps s between two requests: numbers, half (of a chunk), delay (s = max(d, 1)) or horizon:N
    (s = N - d, so that no action runs later than N - 1 steps after its observation)."""
    executors: tuple[str, ...] = ("naive", "rtc")
    """How chunks are run: sync, sync_hold, naive, rtc, ensemble, blend, or module:Name of your own, as `evaluate`
    takes them. The first is what the others are compared with."""
    metrics: tuple[str, ...] = ()
    """Metrics of your own, as `evaluate` takes them."""
    delay_estimator: tuple[str, ...] = ("oracle",)
    """Delays that rtc is told: oracle, numbers, or estimators such as max, p95, average."""
    prefix: tuple[str, ...] = ("committed",)
    """Prefixes that rtc shows its policy: committed, expert, pad, shuffled, wrong_delay:OFFSET."""
    proprio: tuple[Proprio, ...] = ("observed",)
    """Joints that a policy is handed under naive and rtc: observed, predicted, predicted-with-gripper."""
    beyond_max_delay: BeyondMaxDelay = "error"
    """An estimated delay above the policy's largest: not run, told the largest, or asked without a prefix."""
    episodes: int = 200
    """Episodes per cell; the same in every cell of an environment."""
    seed: int = 0
    """Determines the episode seeds."""
    held_out: bool = False
    """Draw the episodes from seeds that no other evaluation uses: for checkpoints that other sweeps chose."""
    out: Path | None = None
    """Folder of the sweep; by default one below outputs/sweep whose name depends on the grid."""
    compile: str = "auto"
    """torch.compile: off, a mode of it, or auto (where it pays)."""
    workers: int | None = None
    """Processes; as many as there are processor cores by default. With --launcher ray: actors; with slurm: jobs."""
    batch: int = 8
    """Episodes that run at a time in each process."""
    device: str = "auto"
    """Where the network runs: cpu, cuda, or auto (cuda where there is one)."""
    environment: Annotated[EnvOptions, _FLAT] = field(default_factory=EnvOptions)
    launch: Annotated[LaunchOptions, _FLAT] = field(default_factory=LaunchOptions)
    declaration: Annotated[EnvDeclaration, _FLAT] = field(default_factory=EnvDeclaration)

    def __post_init__(self) -> None:
        _check_at_least_one(self, ("episodes", "batch", "workers"))
        examples = {
            "delays": "0 4", "execution_horizon": "half 5", "executors": "naive rtc", "delay_estimator": "oracle",
            "prefix": "committed", "proprio": "observed", "policies": "act_rtc", "envs": "moving_pick",
        }  # fmt: skip
        for name, example in examples.items():
            if not getattr(self, name):
                option = option_name(type(self), name)
                raise UsageError(f"{option} is empty; name at least one, as in {option} {example}")


@dataclass(frozen=True)
class ProbeConfig:
    """Tell which declared inputs move a policy's output. Exit code 0: no input is ignored; 3: at least one is."""

    policy: str = "act_rtc"
    """A shipped policy, a checkpoint folder, a hub id, module:factory, or a server, as `evaluate` takes it."""
    policy_options: tuple[str, ...] = ()
    """Passed to module:factory or to a server's client, each as NAME=VALUE."""
    env: str = "confuser_pick"
    """Environment."""
    bank: Literal["expert", "policy"] | None = None
    """What acts while observations are collected: the scripted expert if there is one, the policy itself otherwise."""
    episodes: int = 8
    """Episodes that observations are taken from."""
    per_episode: int = 5
    """Observations of each, from its beginning."""
    every: int = 3
    """Control steps between two observations: by default steps 0 to 12, before the median grasp at step 14."""
    seed: int = 0
    """Determines the episodes."""
    short: bool = False
    """Only what the verdicts rest on."""
    device: str = "auto"
    """Where the network runs: cpu, cuda, or auto (cuda where there is one)."""
    environment: Annotated[EnvOptions, _FLAT] = field(default_factory=EnvOptions)
    declaration: Annotated[EnvDeclaration, _FLAT] = field(default_factory=EnvDeclaration)


@dataclass(frozen=True)
class MergeConfig:
    """Merge the shards of a run or sweep, after checking that they cover every episode exactly once."""

    sources: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run folders with shards, single shards (RUN/shards/2-of-8.jsonl), or sweep folders."""
    out: Path | None = None
    """Output folder; not needed if all shards are in one folder, which then becomes the run or sweep."""


def option_name(kind: type, name: str) -> str:
    """Return a field's option on the command line, as in `--execution-horizon`."""
    extras = getattr(typing.get_type_hints(kind, include_extras=True)[name], "__metadata__", ())
    renamed = next((extra.name for extra in extras if getattr(extra, "name", None)), name)
    return f"--{renamed.replace('_', '-')}"


def from_fields(kind: type[_Config], values: Mapping[str, Any]) -> _Config:
    """Return a config from keyword arguments; fields of its parts, such as `image_size`, are given beside its own.

    A list becomes a tuple, a mapping NAME=VALUE texts, and a text a path where a path is meant.

    Raises:
        UsageError: naming a field that does not exist with those that do, or a value that a field does not take.
    """
    known = dict(_fields(kind))
    for name in values:
        if name not in known:
            raise UnknownName(f"field of {kind.__name__}", name, known)
    return _built(kind, values)


def _built(kind: type[_Config], values: Mapping[str, Any]) -> _Config:
    hints = typing.get_type_hints(kind)
    given: dict[str, Any] = {}
    for one in fields(kind):  # pyright: ignore[reportArgumentType]  # always a dataclass
        if _is_part(one):
            given[one.name] = _built(hints[one.name], values)
        elif one.name in values:
            given[one.name] = _value(kind, one.name, values[one.name], hints[one.name])
    return kind(**given)


def _fields(kind: type) -> Iterator[tuple[str, Any]]:
    hints = typing.get_type_hints(kind)
    for one in fields(kind):
        if _is_part(one):
            yield from _fields(hints[one.name])
        else:
            yield one.name, hints[one.name]


def _is_part(one: Any) -> bool:
    return one.default_factory is not MISSING and is_dataclass(one.default_factory)


def _value(kind: type, name: str, value: Any, hint: Any) -> Any:
    allowed = [hint, *typing.get_args(hint)]
    if isinstance(value, Mapping):
        value = [f"{key}={json.dumps(content)}" for key, content in value.items()]
    if isinstance(value, str) and Path in allowed:
        return Path(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(value)
    choices = [choice for one in allowed if typing.get_origin(one) is Literal for choice in typing.get_args(one)]
    if choices and value is not None and value not in choices:
        raise UsageError(f"{name} of {kind.__name__} is {value!r}; allowed: {', '.join(map(str, choices))}")
    numbers = tuple(one for one in allowed if one in (int, float))
    if numbers and value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise UsageError(f"{name} of {kind.__name__} is {value!r}; it must be a number")
    if bool in allowed and not isinstance(value, bool):
        raise UsageError(f"{name} of {kind.__name__} is {value!r}; it must be True or False")
    return value


def _check_at_least_one(config: Any, names: Sequence[str] = _AT_LEAST_ONE) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise UsageError(f"{option_name(type(config), name)} is {value}; it must be at least 1")


def _number_or_text(text: str) -> int | float | str:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) else text
