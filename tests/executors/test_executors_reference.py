"""The scheduler against the rules of docs/delay.md, written down once more, plainly, for one episode at a time."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_policies import Tagged, blank

from act_eval.executors import ChunkExecutor, repeat_last
from act_eval.timing import RTC, Ablation, Blend, ConstantEstimate, Naive, Schedule, Trace
from act_eval.types import Window

C, STEPS, SEED, MAX_DELAY, TIMEOUT = 10, 45, 2, 6, 11
Ran = tuple[int, int, int, int]
"""Chunk, index within it, step of its observation, estimated delay."""


@dataclass(frozen=True)
class Case:
    kind: type[Naive] | type[RTC] | type[Blend]
    s: int
    window: Window
    age: int
    """Steps by which observations are late."""
    estimated: int | None
    """Constant estimated delay; None: the delay itself."""
    predicts: bool
    """Whether naive is handed the joints of the step at which its answer acts."""
    delays: list[int | None]

    @property
    def estimates(self) -> bool:
        return self.kind is RTC or self.predicts

    def delay(self, request: int) -> int | None:
        """The steps of the answer to a request after the first, None where it is lost."""
        steps = self.delays[(request - 1) % len(self.delays)]
        return None if steps is None or steps > TIMEOUT else steps

    def expected(self, request: int) -> int:
        return self.estimated if self.estimated is not None else self.delay(request) or 0


def by_hand(case: Case) -> list[Ran | None]:
    """Return what runs at every step, None where the hold action does."""
    ran: list[Ran | None] = []
    current = waiting = None  # (chunk, start, observed, estimated); (ready step, chunk or None)
    due, count = 0, 0
    for t in range(STEPS):
        while True:
            if waiting is not None and waiting[0] <= t:
                current, waiting = waiting[1] or current, None
            if waiting is not None or t < due:
                break
            number, count = count, count + 1
            if number == 0:
                waiting = (0, (0, 0, 0, 0))
                due = max(0 if case.estimates else 1, min(case.s, C - case.expected(1) if case.estimates else C))
                continue
            observed = max(0, t - case.age)
            estimated = t - observed + case.expected(number) if case.estimates else 0
            if case.kind is RTC:
                estimated = min(estimated, MAX_DELAY)
            shifted = case.window == "shifted" or (case.predicts and case.kind is not RTC)
            start, delay = observed + (estimated if shifted else 0), case.delay(number)
            answer = (number, start, observed, estimated)
            waiting = (t + TIMEOUT, None) if delay is None else (max(t + delay, observed + estimated), answer)
            due = t + case.s
        covers = current is not None and 0 <= t - current[1] < C
        ran.append((current[0], t - current[1], current[2], current[3]) if covers and current is not None else None)
    return ran


cases = st.builds(
    Case,
    kind=st.sampled_from([Naive, RTC, Blend]),
    s=st.integers(1, C),
    window=st.sampled_from(["same", "shifted"]),
    age=st.integers(0, 3),
    estimated=st.one_of(st.none(), st.integers(0, MAX_DELAY)),
    predicts=st.booleans(),
    delays=st.lists(st.one_of(st.integers(0, 14), st.none()), max_size=7).map(lambda pattern: [*pattern, 1]),
).filter(lambda case: not (case.predicts and case.kind is Blend))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(case=cases)
def test_the_scheduler_does_what_the_page_says(case: Case) -> None:
    schedule = Schedule(
        method=case.kind(case.s),
        delay=Trace(episodes={SEED: tuple(case.delays * STEPS)}),
        delay_estimator=None if case.estimated is None else ConstantEstimate(case.estimated),
        beyond_max_delay="clip",
        timeout=TIMEOUT,
        observation_delay=case.age,
        ablation=Ablation(proprio="predicted-with-gripper" if case.predicts else "observed"),
    )
    if (refusal := schedule.refusal(Tagged(C, window=case.window, max_delay=MAX_DELAY).spec)) is not None:
        assert refusal.startswith("joints 'predicted-with-gripper' equal the observed joints at estimated delay 0")
        return
    executor = ChunkExecutor(Tagged(C, window=case.window, max_delay=MAX_DELAY), schedule, repeat_last)
    executor.reset([0], [SEED])
    ran: list[Ran | None] = []
    for t in range(STEPS):
        a = executor.act(np.array([t]), blank(1))
        found = (int(a.chunk[0]), int(a.index[0]), int(a.observed[0]), int(a.estimated_delay[0]))
        ran.append(None if a.underrun[0] else found)
    assert ran == by_hand(case)
