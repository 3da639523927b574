"""What a GPU gives: inference, training, all delays at once and rendering, in at most eight minutes.

python scripts/benchmarks/gpu.py --out outputs/gpu.json     LeRobot's own code beside ours where it is installed
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from compiling.measures import PairedTiming, time_pairs, under_bf16
from compiling.subjects import Batch, Kind, Network, Subject, make_subject, observation_of, training_batch
from rendering import bare_frame, data_at_home
from rich.console import Console
from rich.table import Table
from torch import nn

from act_eval.cli import OK, guarded
from act_eval.policies.act.presets import features, small_act_rtc
from act_eval.policies.checkpoint import fresh_policy
from act_eval.policies.compile import compiled_module
from act_eval.scenes.rendering import renderer_for
from act_eval.scenes.scene import SceneConfig, compile_scene
from act_eval.sources.network_sources import resolve_device

_IMAGE = (96, 96)
_MODES = ("default", "reduce-overhead")  # without and with CUDA graphs
_TRAINED = 32  # samples of a training step


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Figures of a GPU; what has not begun when the time is over is left out and named."""

    device: str = "cuda"
    """cuda, or cpu to try the script."""
    minutes: float = 8.0
    """No part begins after three quarters of this time."""
    pairs: int = 50
    """Pairs of timed calls, after three of each; a fifth of them for training steps."""
    network: Network = "lerobot"
    """Network of inference and training: LeRobot's default (51 M parameters), or the shipped one."""
    out: Path = Path("outputs/gpu.json")
    """File of all numbers."""


@dataclass(frozen=True)
class Row:
    """Two calls in turn."""

    what: str
    first: str
    second: str
    timing: PairedTiming


Part = Callable[[], Iterator[Row]]


def main(plan: Plan) -> int:
    """Measure part after part and write what is there after each."""
    began, console = time.monotonic(), Console(highlight=False, width=140)
    device, rows, left = resolve_device(plan.device), list[Row](), list[str]()
    for name, part in _parts(plan, device).items():
        if time.monotonic() - began > 0.75 * 60 * plan.minutes:
            left.append(name)
            continue
        try:
            for row in part():
                rows.append(row)
                _write(plan, device, rows)
        except RuntimeError as error:  # a compiler's or a driver's: the other parts are worth having
            left.append(f"the rest of {name} ({str(error).strip().splitlines()[0]})")
        console.print(f"{name}: {time.monotonic() - began:.0f} s", markup=False)
    console.print(_table(rows))
    if left:
        console.print(f"left out: {', '.join(left)}", markup=False)
    return OK


def _parts(plan: Plan, device: str) -> dict[str, Part]:
    parts: dict[str, Part] = {
        f"inference, batch {rows}": partial(_inference, plan, device, "act", rows) for rows in (1, 8)
    }
    parts["training step"] = partial(_training, plan, device)
    parts["all delays"] = partial(_all_delays, plan, device)
    parts["rendering"] = partial(_rendering, plan)
    parts["inference of ACT-RTC, batch 8"] = partial(_inference, plan, device, "act_rtc", 8)
    return parts


def _timed(
    plan: Plan, device: str, first: Callable[[], object], second: Callable[[], object], share: float = 1.0
) -> PairedTiming:
    pairs = max(2, round(plan.pairs * share))
    return time_pairs(first, second, pairs, warm_up=3, device=device, clock="wall")


def _inference(plan: Plan, device: str, kind: Kind, rows: int) -> Iterator[Row]:
    subject = make_subject(kind, plan.network, _IMAGE, None, device)
    batch = observation_of(training_batch(subject.policy.config, rows, device, seed=0))
    what = f"{subject.name}, batch {rows}"

    def predict(model: nn.Module) -> object:
        subject.policy.model = model
        return subject.policy.predict_action_chunk(batch)

    plain = subject.policy.model
    eager = partial(predict, plain)
    compiled = {mode: partial(predict, compiled_module(plain, mode, same_numbers=False)) for mode in _MODES}
    for mode, call in compiled.items():
        yield Row(what, "eager", mode, _timed(plan, device, eager, call))
    yield Row(what, "eager", "eager, bf16", _timed(plan, device, eager, under_bf16(eager, device)))
    if (theirs := _lerobot_inference(subject, batch)) is not None:
        yield Row(what, "LeRobot, eager", "eager", _timed(plan, device, theirs, eager))
        yield Row(what, "LeRobot, eager", _MODES[-1], _timed(plan, device, theirs, compiled[_MODES[-1]]))


def _lerobot_inference(subject: Subject, batch: Batch) -> Callable[[], object] | None:
    twin: Any = subject.lerobot
    return None if twin is None else torch.no_grad()(lambda: twin.predict_action_chunk(dict(batch)))


def _training(plan: Plan, device: str) -> Iterator[Row]:
    subject = make_subject("act", plan.network, _IMAGE, None, device)
    batch = training_batch(subject.policy.config, _TRAINED, device, seed=0)
    what, plain = f"training step of {subject.name}, batch {_TRAINED}", subject.policy.model

    def step(policy: nn.Module, model: nn.Module | None, bf16: bool = False) -> None:
        if model is not None:
            subject.policy.model = model
        policy.train()
        policy.zero_grad(set_to_none=True)
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=bf16):
            loss, _ = policy(dict(batch))
        loss.backward()

    ours = subject.policy
    eager = partial(step, ours, plain)
    compiled = partial(step, ours, compiled_module(plain, "default", same_numbers=False))
    yield Row(what, "eager", "default", _timed(plan, device, eager, compiled, 0.2))
    yield Row(what, "eager", "eager, bf16", _timed(plan, device, eager, partial(eager, bf16=True), 0.2))
    yield Row(what, "eager", "default, bf16", _timed(plan, device, eager, partial(compiled, bf16=True), 0.2))
    if subject.lerobot is not None:
        theirs = partial(step, subject.lerobot, None)
        yield Row(what, "LeRobot, eager", "eager", _timed(plan, device, theirs, eager, 0.2))
        yield Row(what, "LeRobot, eager", "default", _timed(plan, device, theirs, compiled, 0.2))


def _all_delays(plan: Plan, device: str) -> Iterator[Row]:
    inputs = features(dict.fromkeys(("overhead", "wrist"), _IMAGE))

    def step(every: bool) -> Callable[[], object]:
        policy = fresh_policy(small_act_rtc(inputs, rtc_train_all_delays=every)).to(device).train()
        batch = training_batch(policy.config, _TRAINED, device, seed=0)

        def call() -> None:
            policy.zero_grad(set_to_none=True)
            loss, _ = policy(batch)
            loss.backward()

        return call

    what = f"training step of the shipped ACT-RTC, batch {_TRAINED}"
    yield Row(what, "9 delays", "1 delay", _timed(plan, device, step(True), step(False), 0.2))


def _rendering(plan: Plan) -> Iterator[Row]:
    scene = compile_scene(SceneConfig())
    data, renderer = data_at_home(scene), renderer_for(scene.model)
    for size in (96, 480):
        bare = bare_frame(renderer, scene.model, data, "overhead", size)
        ours = partial(renderer.render, data, "overhead", size, size)
        yield Row(f"{size}² image, {renderer.name}", "MuJoCo's calls", "ours", _timed(plan, "cpu", bare, ours))


def _write(plan: Plan, device: str, rows: list[Row]) -> None:
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"
    facts = {"device": name, "torch": torch.__version__, "rows": [asdict(row) for row in rows]}
    plan.out.parent.mkdir(parents=True, exist_ok=True)
    plan.out.write_text(json.dumps(facts, indent=1))


def _table(rows: list[Row]) -> Table:
    table = Table("what", "first", "second", "first, ms", "second, ms", "times as fast (95 %)")
    for row in rows:
        t = row.timing
        ratio = f"{t.ratio:.2f} ({t.lower:.2f} – {t.upper:.2f})"
        table.add_row(row.what, row.first, row.second, f"{t.first.p50_ms:.2f}", f"{t.second.p50_ms:.2f}", ratio)
    return table


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(tyro.cli(Plan))))
