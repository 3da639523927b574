"""The state of one episode: installed chunks, answers in flight, the next request and the counts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from act_eval.timing import Draw, Method
from act_eval.types import Chunk, ChunkSwitch, ExecutorStatistics, FloatArray, IntArray, Request

Hold = Callable[[FloatArray, IntArray], FloatArray]
"""(last commands (n, A), slots (n,)) → (n, A) commands for steps that no chunk covers."""


def repeat_last(last_command: FloatArray, slots: IntArray) -> FloatArray:
    """Hold absolute targets: repeat the last command."""
    return last_command


class ChunkAction(NamedTuple):
    """A command and the newest chunk behind it."""

    command: FloatArray
    """(A,)."""
    chunk: Chunk
    contributions: int
    """Predicted actions that went into the command."""


@dataclass(slots=True)
class Slot:
    """The state of one episode in one slot."""

    row: int
    method: Method
    delays: Iterator[Draw]
    estimates: bool
    """Whether requests depend on an estimated delay."""
    next_due: int = 0
    installed: list[Chunk] = field(default_factory=list)
    """Chunks that may act, the one with the newest observation last."""
    ran: list[Chunk] = field(default_factory=list)
    """Installed chunks of the step before; empty if the hold action ran."""
    in_flight: list[Chunk] = field(default_factory=list)
    commands: list[FloatArray] = field(default_factory=list)
    """(A,) command of each step so far."""
    resting: FloatArray | None = None
    """(A,) hold action that runs until the first command reaches the arm."""
    last_chunk: int = -1
    """Number of the chunk that ran last, -1 before the first."""
    arrived: list[int] = field(default_factory=list)
    """Delays of the answers that have arrived, from request to answer, in order of arrival."""
    requests: list[Request] = field(default_factory=list)
    inference_ms: list[float] = field(default_factory=list)
    upcoming: Draw | None = None
    chunk_switches: int = 0
    underrun_steps: int = 0
    stopped_steps: int = 0
    beyond_max_delay: int = 0
    predicted_actions: int = 0
    used_actions: int = 0

    @property
    def last_command(self) -> FloatArray | None:
        """The (A,) command of the step before, None before the first."""
        return self.commands[-1] if self.commands else None

    def action_at(self, step: int) -> ChunkAction | None:
        """Return the command of the installed chunks for a step, or None if no chunk covers it."""
        covering = self.installed
        if not (len(covering) == 1 and covering[0].covers(step)):  # the usual case needs no list
            covering = [chunk for chunk in covering if chunk.covers(step)]
            if not covering:
                return None
        return ChunkAction(self.method.action_at(covering, step), covering[-1], len(covering))

    def switch_change(self, chunk: Chunk, step: int) -> ChunkSwitch | None:
        """Return the change at a chunk switch, or None if the chunks of the step before do not reach it.

        Both fields refer to the chunks behind the command of the step before. A hold action has none, so the result is
        None after an underrun and under `sync_hold` with a delay.
        """
        old = self.method.actions_from([one for one in self.ran if one.covers(step)], step)
        if not len(old):
            return None
        new = chunk.predicted[step - chunk.request.start :]
        both = min(len(old), len(new))
        squared = (new[:both] - old[:both]) ** 2
        return ChunkSwitch(replaced=old[0], overlap_rmse=np.sqrt(squared.sum(axis=0) / np.float32(both)))

    def peek(self) -> Draw:
        """Return the draw of the next request without consuming it."""
        if self.upcoming is None:
            self.upcoming = next(self.delays)
        return self.upcoming

    def draw(self) -> Draw:
        """Return the draw of the next request and consume it."""
        draw = self.peek()
        self.upcoming = None
        return draw

    @property
    def next_request(self) -> int:
        """Step of the next request, after the answers that are ready then."""
        if self.method.several_in_flight:
            return self.next_due
        return max([self.next_due, *(chunk.request.ready for chunk in self.in_flight)])

    def is_due(self, step: int) -> bool:
        """Return whether a request goes out at a step."""
        return step >= self.next_request

    def receive(self, step: int) -> None:
        """Install the answers that are ready at a step and drop the lost ones."""
        if not self.in_flight:
            return
        due = [chunk for chunk in self.in_flight if chunk.request.ready <= step]
        if due:
            self.in_flight = [chunk for chunk in self.in_flight if chunk.request.ready > step]
            for chunk in sorted(due, key=lambda chunk: chunk.request.ready):
                if chunk.request.lost:
                    continue
                if chunk.request.number > 0:
                    self.arrived.append(chunk.request.actual - chunk.request.age)
                self.installed = self.method.install(self.installed, chunk, step)

    def statistics(self) -> ExecutorStatistics:
        """Return the counts so far."""
        return ExecutorStatistics(
            requests=len(self.requests),
            chunk_switches=self.chunk_switches,
            underrun_steps=self.underrun_steps,
            stopped_steps=self.stopped_steps,
            estimated_delays=tuple(request.estimated for request in self.requests),
            actual_delays=tuple(None if request.lost else request.actual for request in self.requests),
            observation_ages=tuple(request.age for request in self.requests),
            lost=sum(request.lost for request in self.requests),
            late=sum(not r.lost and r.estimated < r.actual for r in self.requests[1:]) if self.estimates else 0,
            beyond_max_delay=self.beyond_max_delay,
            predicted_actions=self.predicted_actions,
            discarded_actions=self.predicted_actions - self.used_actions,
        )
