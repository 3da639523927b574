"""Duration of an evaluation: against a sequential loop, by part, by size, and until its first episode.

python scripts/benchmarks/evaluation.py --episodes 200
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import tyro
from in_turn import request_of

from act_eval.launch import Local
from act_eval.results.records import read_episodes
from act_eval.seeding import Purpose, episode_seeds

Part = Literal["speed", "where", "growth", "start"]
EVALUATE = Path(__file__).parents[1] / "evaluate.py"
PATIENCE_S = 600


@dataclass(frozen=True)
class Arguments:
    """Measure one or several parts."""

    parts: tuple[Part, ...] = ("speed", "where", "growth", "start")
    """speed: against the loop; where: shares of the time; growth: with episodes, batch and workers; start: until the
    first episode has ended."""
    policy: str = "act"
    """A shipped policy or a checkpoint folder."""
    env: str = "confuser_pick"
    """Environment."""
    episodes: int = 200
    """Episodes of each contestant, over all rounds."""
    rounds: int = 1
    """Turns that the contestants take; with several, each run has a part of the episodes and restarts."""
    precision: Literal["float32", "bf16"] = "float32"
    """Precision of the network in evaluate; the loop has float32."""
    compile: str = "off"
    """Mode in evaluate, which is started once before it is timed; the loop is eager."""
    execution_horizon: int = 10
    """Control steps between two predictions."""
    loop: str | None = None
    """Run only the sequential loop, on these seeds, and print what it took as JSON."""


def main() -> None:
    """Print the parts asked for."""
    arguments = tyro.cli(Arguments, description=__doc__)
    if arguments.loop is not None:
        print(json.dumps(sequential(arguments, [int(seed) for seed in arguments.loop.split(",")])))
        return
    print(f"load {os.getloadavg()[0]:.1f}, cores {Local().cores()}")
    parts = {"speed": speed, "where": where, "growth": growth, "start": start}
    for part in arguments.parts:
        print(f"\n{part}")
        parts[part](arguments)


def speed(arguments: Arguments) -> None:
    """Compare an evaluation by two workers with the sequential loop, whole commands, in turn."""
    seeds = episode_seeds(Purpose.EVALUATE, 0, arguments.episodes)
    rows = []
    if arguments.compile != "off":
        with tempfile.TemporaryDirectory() as folder:
            first = evaluated(arguments, Path(folder) / "run", "--episodes", 1, "--workers", 1)
        print(f"  first start, one episode: {first.wall_s:.1f} s")
    for part in np.array_split(np.array(seeds), arguments.rounds):
        text = ",".join(map(str, part.tolist()))
        loop = timed(sys.executable, __file__, *_same(arguments), "--loop", text)
        inner = json.loads(loop.output)
        with tempfile.TemporaryDirectory() as folder:
            ours = evaluated(arguments, Path(folder) / "run", "--seeds", text, "--workers", 2)
        rows.append((loop.wall_s, loop.cpu_s, ours.wall_s, ours.cpu_s, inner["successes"], ours.successes))
        print(f"  loop {loop.wall_s:.1f} s ({inner['seconds']:.1f} s without its start), evaluate {ours.wall_s:.1f} s")
    total = np.sum(rows, axis=0)
    print(f"{arguments.episodes} episodes: loop {total[0]:.1f} s, evaluate --workers 2 {total[2]:.1f} s")
    print(
        f"wall clock {total[0] / total[2]:.2f} times as fast; processor time {total[1]:.1f} s against {total[3]:.1f} s"
    )
    print(f"successes {total[4]:.0f} (loop) and {total[5]:.0f} (evaluate)")


def sequential(arguments: Arguments, seeds: Sequence[int]) -> dict[str, float]:
    """Run episodes one after another as `lerobot-eval` does: images at every step, a queue of actions, one row a call.

    Torch takes as many threads as there are cores.
    """
    import gymnasium as gym
    import torch

    import act_eval.envs
    from act_eval.policies.checkpoint import load_pretrained
    from act_eval.policies.serve import TorchChunkPolicy
    from act_eval.rollout import batch_observations
    from act_eval.sources.policies import checkpoint_folder

    torch.set_num_threads(Local().cores())  # also where the environment says fewer
    policy, processor = load_pretrained(checkpoint_folder(arguments.policy), "cpu")
    served = TorchChunkPolicy(policy, processor, "cpu", rows_per_call=1)
    env = gym.make(act_eval.envs.ENVIRONMENTS[arguments.env], disable_env_checker=True)
    began, successes = time.perf_counter(), 0
    for seed in seeds:
        observed, _ = env.reset(seed=seed)
        queue: list[Any] = []
        last, over = observed["agent_pos"], False
        while not over:
            batch = batch_observations([observed])
            # Made at every step, whether or not the queue is empty, as there.
            _ = {
                name: torch.from_numpy(image).permute(0, 3, 1, 2).float() / 255 for name, image in batch.pixels.items()
            }
            if not queue:
                request = request_of(batch, last[None])
                queue = list(served.predict(request).actions[0, : arguments.execution_horizon])
            last = queue.pop(0)
            observed, _, terminated, truncated, _ = env.step(last)
            over = terminated or truncated
        base: Any = env.unwrapped
        successes += base.verdict().outcome == "success"
    return {"seconds": time.perf_counter() - began, "successes": successes}


@dataclass(frozen=True)
class Took:
    """Cost of a command, its children included."""

    wall_s: float
    cpu_s: float
    output: str
    successes: int = 0


def timed(*command: object) -> Took:
    """Run a command and return what it took; modules are compiled once, as wherever Python may keep them."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    words = [*map(str, command)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE_S, env=environment)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(wall, cpu, done.stdout)


def evaluated(arguments: Arguments, out: Path, *flags: object) -> Took:
    """Run `evaluate` without delay, videos and probe; return what it took and how many episodes succeeded."""
    took = timed(sys.executable, EVALUATE, *_flags(arguments), "--out", out, *flags)
    (records,) = (read_episodes(path) for path in out.glob("*/episodes.jsonl"))
    return Took(took.wall_s, took.cpu_s, took.output, sum(record.outcome == "success" for record in records))


def _same(arguments: Arguments) -> list[object]:
    """Return the flags that the loop takes too."""
    return ["--policy", arguments.policy, "--env", arguments.env, "--execution-horizon", arguments.execution_horizon]


def _flags(arguments: Arguments) -> list[object]:
    network = ["--precision", arguments.precision, "--compile", arguments.compile]
    return [*_same(arguments), *network, "--delay", 0, "--video", "none", "--no-probe"]


def growth(arguments: Arguments) -> None:
    """Print processor time and wall clock of an episode while one thing grows."""
    few = max(16, arguments.episodes // 5)
    settings: list[tuple[str, list[object]]] = [
        *((f"{n} episodes", ["--episodes", n, "--workers", 1]) for n in (few // 4, few // 2, few, 2 * few)),
        *((f"batch {n}", ["--episodes", few, "--workers", 1, "--batch", n, "--rows-per-call", n]) for n in (1, 4, 16)),
        *((f"{n} workers", ["--episodes", few, "--workers", n]) for n in (1, 2)),
    ]
    for name, flags in settings:
        with tempfile.TemporaryDirectory() as folder:
            took = evaluated(arguments, Path(folder) / "run", *flags)
        count = int(str(flags[1]))
        print(
            f"{name:<14} {took.cpu_s:6.1f} s processor, {took.wall_s:6.1f} s; {1e3 * took.cpu_s / count:5.0f} ms each"
        )


def start(arguments: Arguments) -> None:
    """Print how soon help is shown and the first episode has ended, with default options."""
    helped = timed(sys.executable, EVALUATE, "--help")
    print(f"evaluate.py --help: {helped.wall_s:.2f} s ({helped.cpu_s:.2f} s processor)")
    with tempfile.TemporaryDirectory() as folder:
        out, began = Path(folder) / "run", time.perf_counter()
        command = [sys.executable, str(EVALUATE), "--episodes", "16", "--out", str(out)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
            while running.poll() is None and not any(path.stat().st_size for path in out.glob("shards/*.jsonl")):
                time.sleep(0.02)
            print(f"evaluate.py, first episode written after {time.perf_counter() - began:.1f} s")
            running.terminate()


def where(arguments: Arguments) -> None:
    """Print the shares of the processor time of an evaluation in this process, with and without videos."""
    from act_eval.cli import main as command

    for video in ("none", "all"):
        watch = Stopwatch()
        with ExitStack() as stack:
            out = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run"
            for owner, attribute, name in _watched_functions():
                watched = watch.watched(getattr(owner, attribute), name)
                stack.enter_context(patch.object(owner, attribute, watched))
            flags = [*_flags(arguments)[:8], "--no-probe", "--video", video, "--episodes", 24, "--workers", 1]
            stack.enter_context(redirect_stdout(sys.stderr))
            began = time.process_time()
            command(["evaluate", *map(str, flags), "--out", str(out)])
            total = time.process_time() - began
        shares = {**watch.spent, "rest": total - sum(watch.spent.values())}
        parts = ", ".join(f"{name} {share:.1f} s ({share / total:.0%})" for name, share in shares.items())
        print(f"24 episodes, video {video}: {total:.1f} s: {parts}")


class Stopwatch:
    """Processor time of watched functions, without that of watched functions that they call."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._inner = [0.0]

    def watched(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Return a function whose time counts under `name`."""
        self.spent[name] = 0.0

        @wraps(real)
        def watched(*args: Any, **kwargs: Any) -> Any:
            began = time.process_time()
            self._inner.append(0.0)
            try:
                return real(*args, **kwargs)
            finally:
                took = time.process_time() - began
                self.spent[name] += took - self._inner.pop()
                self._inner[-1] += took

        return watched


def _watched_functions() -> Sequence[tuple[Any, str, str]]:
    """Return owner and name of each function whose time is measured, and the name of that part."""
    import mujoco

    from act_eval.envs.pick import PickEnv
    from act_eval.policies.serve import TorchChunkPolicy
    from act_eval.results import steps
    from act_eval.scenes.rendering import OffscreenRenderer
    from act_eval.sources.network_sources import CheckpointSource
    from act_eval.video import Encoder

    return (
        (mujoco, "mj_step", "physics"), (PickEnv, "step", "rules"), (OffscreenRenderer, "render", "render"),
        (TorchChunkPolicy, "predict", "policy"), (CheckpointSource, "load", "load"), (steps, "save", "save"),
        (Encoder, "write", "draw"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
