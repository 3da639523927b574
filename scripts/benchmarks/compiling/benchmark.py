"""The benchmark: compile, count graphs, show that the numbers are equal, and only then time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import nn

from act_eval.errors import UsageError
from act_eval.policies.compile import compiled_module
from act_eval.policies.compile_mode import resolve_mode
from act_eval.sources.network_sources import resolve_device

from .measures import (
    Clock,
    Equivalence,
    GraphCount,
    PairedTiming,
    Roofline,
    compare,
    count_graphs,
    peak_mib,
    predicted,
    roofline,
    time_pairs,
    under_bf16,
)
from .subjects import Batch, Kind, Network, Subject, make_subject, observation_of, training_batch

_CPU_MODE = "default"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Benchmark of torch.compile."""

    kind: Annotated[Kind, tyro.conf.arg(name="policy")] = "act"
    """Which policy."""
    network: Network = "lerobot"
    """LeRobot's default network (51 M parameters), or the shipped one."""
    checkpoint: Path | None = None
    """A `pretrained_model` folder whose weights are used instead."""
    device: str = "cpu"
    """cpu, cuda, or auto (cuda where there is one)."""
    mode: str = "auto"
    """Mode of torch.compile. On a CPU, where auto compiles nothing, the mode `default` is measured."""
    batch_size: int = 8
    """Samples of a batch."""
    image: tuple[int, int] = (96, 96)
    """Height and width of the two cameras."""
    inference_pairs: Annotated[int, tyro.conf.arg(name="inference-runs")] = 30
    """Pairs of inference."""
    training_pairs: Annotated[int, tyro.conf.arg(name="training-runs")] = 10
    """Pairs of training steps."""
    batches: int = 5
    """Random batches on which eager and compiled must agree."""
    threads: int = 1
    """CPU threads."""
    clock: Clock = "wall"
    """Wall-clock time, or processor time of this process: for one thread on a machine that others use too."""
    train: bool = True
    """Measure training steps as well."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", resolve_device(self.device))
        for name in ("batch_size", "inference_pairs", "training_pairs", "batches", "threads"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if min(self.image) < 1:
            raise UsageError(f"image size is {self.image}; height and width must be at least 1")
        if self.clock == "processor" and (self.threads != 1 or self.device != "cpu"):
            raise UsageError(
                f"clock 'processor' needs 1 thread on a CPU, got {self.threads} on {self.device}; use 'wall'"
            )
        if resolve_mode(self.mode, self.device) == self.mode == "off":
            raise UsageError("mode is 'off'; there would be nothing to compare")

    @property
    def compile_mode(self) -> str:
        """The mode that is measured."""
        chosen = resolve_mode(self.mode, self.device)
        return _CPU_MODE if chosen == "off" else chosen


@dataclass(frozen=True)
class Task:
    """Inference or training: what was measured of it."""

    graphs: GraphCount
    compile_s: float
    """Wall-clock time of the first compiled call; short where artefacts lay on disk."""
    speed: PairedTiming
    """Eager against compiled."""
    lerobot_eager: PairedTiming | None
    """LeRobot's eager code against our eager code."""
    lerobot_compiled: PairedTiming | None
    """LeRobot's eager code against our compiled code."""
    own_numbers: PairedTiming
    """Compiled as Inductor likes, with its own random numbers and kernels, against compiled with those of eager code:
    what equal numbers cost."""
    bf16: PairedTiming | None
    """Eager code in float32 against bfloat16 autocast."""
    lerobot_bf16: PairedTiming | None
    """LeRobot's eager code against ours, both under bfloat16 autocast."""
    roofline: Roofline
    eager_mib: float | None
    compiled_mib: float | None


@dataclass(frozen=True)
class Results:
    """Result of one benchmark."""

    name: str
    parameters: int
    mode: str
    equivalence: Equivalence
    lerobot_chunk: float | None
    """Largest difference of our eager chunk from LeRobot's."""
    bf16_chunk: float
    """Largest difference of the chunk under bfloat16 autocast from that in float32, both normalised."""
    inference: Task
    training: Task | None

    @property
    def tasks(self) -> dict[str, Task]:
        """Measurements by name."""
        return {"inference": self.inference} | ({"training": self.training} if self.training else {})


def run(plan: Plan) -> Results:
    """Run a benchmark.

    Raises:
        UsageError: if the checkpoint or LeRobot cannot be used.
    """
    torch.set_num_threads(plan.threads)
    subject = make_subject(plan.kind, plan.network, plan.image, plan.checkpoint, plan.device)
    return _Bench(plan, subject).results()


class _Bench:
    def __init__(self, plan: Plan, subject: Subject) -> None:
        self.plan, self.subject, self.policy = plan, subject, subject.policy
        self.eager: nn.Module = subject.policy.model
        # Dropout masks come from the same generator in both, so what is timed is what was shown to be equal.
        self.compiled = compiled_module(self.eager, plan.compile_mode, same_numbers=True)
        self.own_numbers = compiled_module(self.eager, plan.compile_mode, same_numbers=False)
        config = subject.policy.config
        self.batches = [training_batch(config, plan.batch_size, plan.device, seed) for seed in range(plan.batches)]

    def results(self) -> Results:
        plan, policy = self.plan, self.policy
        graphs, compile_s = self._count(lambda batch: predicted(policy, batch))
        train_graphs, train_compile_s = (None, 0.0) if not plan.train else self._count(self._step)
        same = compare(policy, self.eager, self.compiled, self.batches if plan.train else self.batches[:1])
        inference = self._timed(self._predict, self._lerobot_predict, graphs, compile_s, plan.inference_pairs)
        training = train_graphs and self._timed(
            self._step, self._lerobot_step, train_graphs, train_compile_s, plan.training_pairs
        )
        return Results(
            name=self.subject.name,
            parameters=sum(p.numel() for p in policy.parameters()),
            mode=plan.compile_mode,
            equivalence=same,
            lerobot_chunk=self._from_lerobot(),
            bf16_chunk=self._bf16_deviation(),
            inference=inference,
            training=training,
        )

    def _count(self, call: Callable[[Batch], object]) -> tuple[GraphCount, float]:
        self.policy.model = self.compiled
        began = time.perf_counter()
        seconds: list[float] = []

        def first() -> None:
            call(self.batches[0])
            seconds.append(time.perf_counter() - began)

        others = [lambda batch=batch: call(batch) for batch in self.batches[1:]]
        return count_graphs(first, others), seconds[0]

    def _timed(
        self,
        ours: Callable[[Batch], object],
        theirs: Callable[[Batch], object],
        graphs: GraphCount,
        compile_s: float,
        pairs: int,
    ) -> Task:
        eager, compiled = self._with(self.eager, ours), self._with(self.compiled, ours)
        reference = None if self.subject.lerobot is None else self._with(self.eager, theirs)
        speed = self._time_pairs(eager, compiled, pairs)
        half = self._under_bf16(eager)
        return Task(
            graphs=graphs,
            compile_s=compile_s,
            speed=speed,
            lerobot_eager=reference and self._time_pairs(reference, eager, pairs),
            lerobot_compiled=reference and self._time_pairs(reference, compiled, pairs),
            own_numbers=self._time_pairs(self._with(self.own_numbers, ours), compiled, pairs),
            bf16=self._time_pairs(eager, half, pairs),
            lerobot_bf16=reference and self._time_pairs(self._under_bf16(reference), half, pairs),
            roofline=roofline(eager, speed.first.p50_ms, torch.float32, self.plan.device, self.plan.clock),
            eager_mib=peak_mib(eager, self.plan.device),
            compiled_mib=peak_mib(compiled, self.plan.device),
        )

    def _time_pairs(self, first: Callable[[], object], second: Callable[[], object], pairs: int) -> PairedTiming:
        return time_pairs(first, second, pairs, warm_up=2, device=self.plan.device, clock=self.plan.clock)

    def _with(self, model: nn.Module, call: Callable[[Batch], object]) -> Callable[[], object]:
        def ask() -> object:
            self.policy.model = model
            return call(self.batches[0])

        return ask

    def _under_bf16(self, call: Callable[[], object]) -> Callable[[], object]:
        return under_bf16(call, self.plan.device)

    def _predict(self, batch: Batch) -> object:
        return self.policy.predict_action_chunk(observation_of(batch))

    def _step(self, batch: Batch) -> None:
        self._train(self.policy, batch)

    def _lerobot_step(self, batch: Batch) -> None:
        assert self.subject.lerobot is not None
        self._train(self.subject.lerobot, dict(batch))

    def _train(self, policy: nn.Module, batch: Batch) -> None:
        """Make a training step. Its backward pass runs outside autocast, as PyTorch asks for."""
        policy.train()
        policy.zero_grad(set_to_none=True)
        loss, _ = policy(batch)
        with torch.autocast(self.plan.device.split(":")[0], enabled=False):
            loss.backward()

    def _lerobot_predict(self, batch: Batch) -> object:
        assert self.subject.lerobot is not None
        with torch.no_grad():
            return self.subject.lerobot.predict_action_chunk(observation_of(batch))  # pyright: ignore[reportCallIssue]

    def _from_lerobot(self) -> float | None:
        if self.subject.lerobot is None:
            return None
        self.policy.model, twin = self.eager, self.subject.lerobot
        twin.eval()
        theirs: torch.Tensor = self._lerobot_predict(self.batches[0])  # pyright: ignore[reportAssignmentType]
        return float((predicted(self.policy, self.batches[0]) - theirs).abs().max())

    def _bf16_deviation(self) -> float:
        call = self._with(self.eager, lambda batch: predicted(self.policy, batch))
        full, half = call(), self._under_bf16(call)()
        assert isinstance(full, torch.Tensor)
        assert isinstance(half, torch.Tensor)
        return float((full - half).abs().max())
