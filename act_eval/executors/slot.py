"""One episode's chunks in time: which have arrived, which are in flight, when the next request is due."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from act_eval.timing import Blend, Draw, Ensemble, Method
from act_eval.types import ExecutorStatistics, FloatArray


@dataclass(frozen=True, slots=True)
class Asked:
    """A request on its way, whose delay nobody knows yet. Steps count from the episode's begin."""

    number: int
    """Of the chunk within the episode."""
    sent: int
    """Step at which it goes out."""
    step: int
    """Of the observation that it reads: `sent`, less what observations are late."""
    told: int
    """From the observation to the first step that the answer is expected to act."""
    prefix: FloatArray
    """(told, A) commands of the steps from the observation to there: decided ones and ones that will run. Where the
    policy is to be told a delay that is too large, those that the plan has for the steps after it follow."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request, with everything about its answer's time decided. Steps count from the episode's begin."""

    number: int
    """Of the chunk within the episode."""
    sent: int
    """Step at which it went out."""
    step: int
    """Of the observation that it read."""
    start: int
    """Step of the answer's first action."""
    ready: int
    """First step that the answer may act; for a lost answer the step at which it is given up."""
    told: int
    """From the observation on."""
    actual: int
    """From the observation on; 0 for a lost answer."""
    lost: bool

    @property
    def age(self) -> int:
        """Steps from the observation to the request."""
        return self.sent - self.step


@dataclass(frozen=True, slots=True)
class Chunk:
    """An answer."""

    question: Question
    actions: FloatArray
    """(C, A) what it contributes."""
    predicted: FloatArray
    """(C, A) what the policy answered, before anything was blended into it."""

    def covers(self, step: int) -> bool:
        """Return whether the chunk has an action for a step."""
        return 0 <= step - self.question.start < len(self.actions)

    def at(self, step: int) -> FloatArray:
        """Return the (A,) action for a step that the chunk covers."""
        return self.actions[step - self.question.start]


@dataclass(slots=True)
class Slot:
    """The state of one episode in one slot."""

    row: int
    method: Method
    delays: Iterator[Draw]
    next_due: int = 0
    installed: list[Chunk] = field(default_factory=list)
    """Chunks that may act, the one with the newest observation last; a single one except for `Ensemble`."""
    ran: list[Chunk] = field(default_factory=list)
    """Chunks that could act in the step before; none where the hold action ran."""
    in_flight: list[Chunk] = field(default_factory=list)
    commands: list[FloatArray] = field(default_factory=list)
    """What was decided, step by step; (A,) each."""
    resting: FloatArray | None = None
    """(A,) hold action that runs until the first command has reached the arm."""
    last_chunk: int = -1
    """Number of the chunk that ran last, -1 before the first."""
    arrived: list[int] = field(default_factory=list)
    """Delays of the answers that have come, from request to answer, in the order of their coming."""
    questions: list[Question] = field(default_factory=list)
    inference_ms: list[float] = field(default_factory=list)
    upcoming: Draw | None = None
    seams: int = 0
    starved_steps: int = 0
    stopped_steps: int = 0
    beyond_max_delay: int = 0
    predicted_actions: int = 0
    used_actions: int = 0

    @property
    def last_command(self) -> FloatArray | None:
        """The (A,) command of the step before, None before the first."""
        return self.commands[-1] if self.commands else None

    def peek(self) -> Draw:
        """Return the fate of the next request without using it up."""
        if self.upcoming is None:
            self.upcoming = next(self.delays)
        return self.upcoming

    def draw(self) -> Draw:
        """Return the fate of the next request and go on to the one after it."""
        draw = self.peek()
        self.upcoming = None
        return draw

    def is_due(self, step: int) -> bool:
        """Return whether a request goes out at a step, given what will have arrived by then."""
        if step < self.next_due:
            return False
        return isinstance(self.method, Ensemble) or all(chunk.question.ready <= step for chunk in self.in_flight)

    def receive(self, step: int) -> None:
        """Install the answers that are ready at a step and give up the lost ones."""
        if not self.in_flight:
            return
        due = [chunk for chunk in self.in_flight if chunk.question.ready <= step]
        if due:
            self.in_flight = [chunk for chunk in self.in_flight if chunk.question.ready > step]
            for chunk in sorted(due, key=lambda chunk: chunk.question.ready):
                if not chunk.question.lost:
                    self._install(chunk, step)

    def _install(self, chunk: Chunk, step: int) -> None:
        if chunk.question.number > 0:
            self.arrived.append(chunk.question.actual - chunk.question.age)
        match self.method:
            case Ensemble():
                self.installed = [old for old in self.installed if old.covers(step)]
                self.installed.append(chunk)
                self.installed.sort(key=lambda chunk: chunk.question.number)
            case Blend() if self.installed:
                self.installed = [_blended(self.installed[-1], chunk, step)]
            case _:
                self.installed = [chunk]

    def statistics(self) -> ExecutorStatistics:
        """Return what was counted so far."""
        return ExecutorStatistics(
            requests=len(self.questions),
            seams=self.seams,
            starved_steps=self.starved_steps,
            stopped_steps=self.stopped_steps,
            told_delays=tuple(question.told for question in self.questions),
            actual_delays=tuple(None if question.lost else question.actual for question in self.questions),
            observation_ages=tuple(question.age for question in self.questions),
            lost=sum(question.lost for question in self.questions),
            late=sum(not q.lost and 0 < q.told < q.actual for q in self.questions),
            beyond_max_delay=self.beyond_max_delay,
            predicted_actions=self.predicted_actions,
            discarded_actions=self.predicted_actions - self.used_actions,
        )


def _blended(old: Chunk, new: Chunk, step: int) -> Chunk:
    """Return `new` with its first steps drawn towards what would have run: weight (i+1)/(n+1) on the new."""
    first = step - new.question.start
    kept = old.actions[step - old.question.start :]
    count = min(len(kept), len(new.actions) - first)
    if count <= 0:
        return new
    weight = np.arange(1, count + 1, dtype=np.float32)[:, None] / np.float32(count + 1)
    actions = new.actions.copy()
    actions[first : first + count] = weight * actions[first : first + count] + (1 - weight) * kept[:count]
    return replace(new, actions=actions)
