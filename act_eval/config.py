"""Job configs: one frozen dataclass per job, shared by the command line and the Python API.

A config checks its values when it is created, as far as they need neither policy nor environment. This module imports
nothing slow.
"""

import json
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from act_eval.errors import UsageError

Tool = Literal["csv", "parquet", "lerobot", "tensorboard", "wandb", "trackio", "rerun"]
Video = Literal["all", "failures", "none"]
Precision = Literal["float32", "bf16"]
BeyondMaxDelay = Literal["error", "clip", "naive"]
Proprio = Literal["observed", "predicted", "predicted-with-gripper"]

_FLAT = tyro.conf.arg(name="")
_AT_LEAST_ONE = ("batch", "workers", "episodes", "execution_horizon", "rows_per_call")


@dataclass(frozen=True)
class EnvOptions:
    """Options of the environment; omitted ones keep the environment's defaults."""

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
    goal_input: Literal["click", "exact", "none", "confuser", "random"] | None = None
    """Goal coordinates in the policy's input: a click on the target with its error, the exact ones at every step, none,
    those of the confuser, or random ones."""
    max_yaw: float | None = None
    """Largest turn of a block to either side at reset [rad]."""
    swap_blocks: bool = False
    """Swap the positions of target and first confuser."""
    robot_meshes: bool = False
    """Render the robot's meshes, from the copy of MuJoCo Menagerie at MENAGERIE_ROOT, instead of primitives."""

    def given(self) -> dict[str, Any]:
        """Return the options that are set, under the environment's names."""
        given = {
            "confusers": self.confusers,
            "identical": False if self.coloured else None,
            "image_size": self.image_size,
            "action_noise": self.action_noise,
            "gripper_faults": self.gripper_faults,
            "goal_input": self.goal_input,
            "max_yaw": self.max_yaw,
            "swap_blocks": True if self.swap_blocks else None,
            "robot_meshes": True if self.robot_meshes else None,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class EnvDeclaration:
    """Declaration of an external environment, as far as its names do not define it; see docs/own-environment.md."""

    env_options: tuple[str, ...] = ()
    """Passed to the environment, each as NAME=VALUE; a value is JSON or text."""
    env_python: Path | None = None
    """Python interpreter of a process of its own for the environment, whose packages act_eval need not share; it needs
    numpy, gymnasium and msgpack."""
    env_file: Path | None = None
    """TOML file with any of these declarations; flags take precedence."""
    images: tuple[str, ...] | None = None
    """Cameras, each as NAME=PATH: top=pixels.top, or front=render() for the rendered frame."""
    state: tuple[str, ...] | None = None
    """Paths of the robot's state in the observation, concatenated: agent_pos, or robot.joints observation[0:7]."""
    environment_state: tuple[str, ...] | None = None
    """Paths of further scene state, such as a goal."""
    success: str | None = None
    """Success rule of an episode: info.is_success, "reward>=4", "return>=475", terminated."""
    hold: str | None = None
    """Hold rule, the command of a step without an action: repeat (absolute positions), zero (velocities), or one entry
    per action dim: 0,0,0,repeat."""
    horizon: int | None = None
    """Control steps after which an episode is cut off."""
    control_ms: float | None = None
    """Length of a control step [ms]; 1000 / render_fps by default."""


@dataclass(frozen=True)
class LaunchOptions:
    """Launcher of the workers; none of these options changes a record."""

    shard: str | None = None
    """Run only this shard of every condition's episodes, as in 2/8; `merge` combines all shards into one run."""
    launcher: Literal["local", "ray", "slurm"] = "local"
    """Processes on this machine, actors of a Ray cluster, or an array of Slurm jobs."""
    gpus_per_worker: float = 0.0
    """GPUs that Ray reserves for each worker; fractions are possible, as in 0.25."""
    launcher_options: tuple[str, ...] = ()
    """Parameters of submitit for --launcher slurm, as in timeout_min=60 slurm_partition=gpu; cluster=local runs the
    jobs on this machine."""

    def __post_init__(self) -> None:
        if self.shard is not None and self.launcher == "slurm":
            raise UsageError("--launcher slurm splits the run into --workers shards itself; omit --shard")
        if self.launcher_options and self.launcher != "slurm":
            raise UsageError("--launcher-options is for --launcher slurm; add --launcher slurm, or omit the options")
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
        """Return the device to check on this machine; auto if the workers run elsewhere."""
        return device if self.launcher == "local" else "auto"


@dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate a policy in closed loop under inference delay."""

    policy: str = "act_rtc"
    """A shipped policy, the path of a checkpoint folder (ours or LeRobot's ACT), a hub id (org/name), module:factory,
    lerobot:FOLDER (any policy of LeRobot, in a process of its own), a server (ws://host:port), or `expert`."""
    policy_options: tuple[str, ...] = ()
    """Passed to module:factory, to LeRobot's process or to a server's client, each as NAME=VALUE; a value is JSON or
    text."""
    policy_python: str | None = None
    """Python interpreter of lerobot:FOLDER, in whose environment LeRobot is installed; this one by default."""
    env: str = "confuser_pick"
    """A built-in name, a Gymnasium id (gym_aloha/AlohaTransferCube-v0, package:SomeId-v0), module:factory,
    dm_control:DOMAIN/TASK, a suite's task or tasks (metaworld:push-v3), or a server (ws://host:port)."""
    episodes: int | None = None
    """Episodes per condition, 50 by default."""
    seed: int = 0
    """Determines the episode seeds."""
    seeds: str | None = None
    """Explicit episode seeds, as in 3,17; instead of --episodes and --seed."""
    held_out: bool = False
    """Draw the episodes from seeds that no other evaluation uses, to evaluate a checkpoint selected by others."""
    delays: Annotated[tuple[str, ...] | None, tyro.conf.arg(name="delay", aliases=("--inference-delay",))] = None
    """Inference delays; each is a condition on the same seeds. Control steps, or a model: uniform:1,6
    lognormal:shift=1,median=2,sigma=0.5 bursty:calm=1,spike=6,enter=0.1,leave=0.5 lossy:probability=0.1,of=4
    trace:FILE measured measured:injected_ms=100. 0 4 by default."""
    latency_ms: tuple[float, ...] | None = None
    """Inference delays [ms], rounded up to control steps; instead of --delay."""
    execution_horizon: int | None = None
    """Control steps between two requests; the checkpoint's n_action_steps by default, or half a chunk."""
    executor: str | None = None
    """Executor of the chunks: sync_paused, sync_hold, naive, rtc, ensemble, blend, or module:Name of your own; options
    follow the name, as in ensemble:decay=0.1. By default rtc for policies that take a prefix and naive for others."""
    delay_estimator: str | None = None
    """Estimated delay that rtc conditions on: oracle, constant:4, max, p95, average. The oracle by default; max for
    measured delays."""
    beyond_max_delay: BeyondMaxDelay = "error"
    """Action if the estimated delay exceeds the policy's max_delay: error, clip it to max_delay, or request without a
    prefix (naive)."""
    timeout: int | None = None
    """Control steps after which an unanswered request is lost; unlimited by default."""
    observation_delay: int = 0
    """Age of the observations [control steps]."""
    actuation_delay: int = 0
    """Control steps from a command to its effect on the arm."""
    prefix: tuple[str, ...] = ("committed",)
    """Action prefix that rtc conditions on; each is a condition. committed (the commands that run during inference),
    or an ablation: expert (the scripted expert's commands), pad (no commands), shuffled, wrong_delay:2 (an estimated
    delay 2 steps too long)."""
    proprio: tuple[Proprio, ...] = ("observed",)
    """Joint positions in the policy's input; each is a condition. observed, or the positions expected when the new
    chunk starts, that is the last committed command: predicted keeps the observed gripper, predicted-with-gripper
    predicts it too."""
    perturb: tuple[str, ...] = ()
    """Perturbations, each as AXIS=SEVERITY with a severity from 1 to 5, as in light=3; each is a condition beside its
    unperturbed twin. light=3+blur=2: both at once; light=1,3,5: three conditions; all=3: every axis that the
    environment offers; module:Name=3: one of your own. See docs/perturbations.md."""
    out: Path | None = None
    """Run folder; by default one below outputs/evaluate whose name depends on the configuration."""
    compile: str = "auto"
    """torch.compile: off, one of its modes, or auto (on if it pays off)."""
    precision: Precision = "float32"
    """Precision of the network's matrix products; bf16 is faster and changes the commands slightly."""
    video: Video = "all"
    """Episodes to record videos of."""
    export: tuple[Tool, ...] = ()
    """Export the finished run, as `act-eval export` does: csv, parquet, lerobot, tensorboard, wandb, trackio, rerun."""
    metrics: tuple[str, ...] = ()
    """Metrics of your own beside the built-in ones, each module:Name of a function of (record, steps, control_s) or of
    a class; see docs/metrics.md."""
    workers: int | None = None
    """Worker processes; one per processor core by default. With --launcher ray: actors; with slurm: jobs."""
    batch: int | None = None
    """Concurrent episodes per worker; 8 by default, 1 for measured delays."""
    rows_per_call: int | None = None
    """Batch size of every network call, padded if fewer requests wait; 8 by default, --batch for measured delays."""
    device: str = "auto"
    """Device of the network: cpu, cuda, or auto (cuda if available)."""
    probe: bool = True
    """Probe the policy's inputs first and warn about ignored ones (a few seconds)."""
    mask_images: bool = False
    """Replace every camera image with grey, as a control."""
    environment: Annotated[EnvOptions, _FLAT] = field(default_factory=EnvOptions)
    call_timeout_s: float | None = None
    """Per-call time limit for policy and environment [s]; a longer call ends the episode as policy_error or invalid.
    Unlimited by default."""
    launch: Annotated[LaunchOptions, _FLAT] = field(default_factory=LaunchOptions)
    declaration: Annotated[EnvDeclaration, _FLAT] = field(default_factory=EnvDeclaration)

    def __post_init__(self) -> None:
        _check_at_least_one(self)
        if self.call_timeout_s is not None:
            from act_eval.rollout.timeouts import check_limit

            check_limit(self.call_timeout_s)
        if self.delays is not None and self.latency_ms is not None:
            raise UsageError(
                "--delay (in steps) and --latency-ms (in milliseconds) exclude each other; give one of them"
            )
        if self.delays == () or self.latency_ms == ():
            raise UsageError("no delay is given; give at least one, as in --delay 0 4")
        if not self.prefix or not self.proprio:
            raise UsageError("--prefix and --proprio need at least one value each, as in --prefix committed pad")
        if self.seeds is not None and self.held_out:
            raise UsageError("--seeds lists the episodes, --held-out draws them; omit one of them")
        if self.seeds is not None and self.episodes is not None:
            raise UsageError("--seeds lists the episodes; omit --episodes")


@dataclass(frozen=True)
class SweepConfig:
    """Sweep policies over inference delay. By default: naive and rtc in environments where delay hurts."""

    policies: tuple[str, ...] = ("act", "act_rtc")
    """Shipped policies, paths of checkpoint folders, or lerobot:FOLDER."""
    policy_python: str | None = None
    """Python interpreter of every lerobot:FOLDER; this one by default."""
    envs: tuple[str, ...] = ("moving_pick", "confuser_swap")
    """Environments, as `evaluate` takes them."""
    delays: tuple[str, ...] = ("0", "1", "2", "4", "8")
    """Inference delays d [control steps]."""
    execution_horizon: tuple[str, ...] = ("half",)
    """Control steps s between two requests: numbers, half (of a chunk), delay (s = max(d, 1)) or horizon:N
    (s = N - d, so that no action runs later than N - 1 steps after its observation)."""
    executors: tuple[str, ...] = ("naive", "rtc")
    """Executors of the chunks, as `evaluate` takes them: sync_paused, sync_hold, naive, rtc, ensemble, blend, or
    module:Name of your own. The others are compared with the first."""
    metrics: tuple[str, ...] = ()
    """Metrics of your own, as `evaluate` takes them."""
    delay_estimator: tuple[str, ...] = ("oracle",)
    """Estimated delays that rtc conditions on: oracle, numbers, or estimators such as max, p95, average."""
    prefix: tuple[str, ...] = ("committed",)
    """Action prefixes that rtc conditions on: committed, expert, pad, shuffled, wrong_delay:OFFSET."""
    proprio: tuple[Proprio, ...] = ("observed",)
    """Joint positions in the policy's input: observed, predicted, predicted-with-gripper."""
    perturb: tuple[str, ...] = ()
    """Perturbations, as `evaluate` takes them; each is a cell beside its unperturbed twin."""
    beyond_max_delay: BeyondMaxDelay = "error"
    """Action if the estimated delay exceeds the policy's max_delay: skip the cell (error), clip it to max_delay, or
    request without a prefix (naive)."""
    episodes: int = 200
    """Episodes per cell; the same in every cell of an environment."""
    seed: int = 0
    """Determines the episode seeds."""
    held_out: bool = False
    """Draw the episodes from seeds that no other evaluation uses, to evaluate checkpoints selected by other sweeps."""
    out: Path | None = None
    """Sweep folder; by default one below outputs/sweep whose name depends on the grid."""
    compile: str = "auto"
    """torch.compile: off, one of its modes, or auto (on if it pays off)."""
    workers: int | None = None
    """Worker processes; one per processor core by default. With --launcher ray: actors; with slurm: jobs."""
    batch: int = 8
    """Concurrent episodes per worker."""
    device: str = "auto"
    """Device of the network: cpu, cuda, or auto (cuda if available)."""
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
                raise UsageError(f"{option} is empty; give at least one, as in {option} {example}")


@dataclass(frozen=True)
class ProbeConfig:
    """Measure which declared inputs change a policy's output."""

    policy: str = "act_rtc"
    """A shipped policy, a checkpoint folder, a hub id, module:factory, lerobot:FOLDER, or a server, as `evaluate` takes
    it."""
    policy_options: tuple[str, ...] = ()
    """Passed to module:factory, to LeRobot's process or to a server's client, each as NAME=VALUE."""
    policy_python: str | None = None
    """Python interpreter of lerobot:FOLDER; this one by default."""
    env: str = "confuser_pick"
    """Environment."""
    bank: Literal["expert", "policy"] | None = None
    """Actor that collects the observations: the scripted expert if there is one, otherwise the policy itself."""
    episodes: int = 8
    """Episodes to collect observations in."""
    per_episode: int = 5
    """Observations per episode, from its start."""
    every: int = 3
    """Control steps between two observations: by default steps 0 to 12, before the median grasp at step 14."""
    seed: int = 0
    """Determines the episodes."""
    short: bool = False
    """Compute only the changes that the verdicts need."""
    device: str = "auto"
    """Device of the network: cpu, cuda, or auto (cuda if available)."""
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
