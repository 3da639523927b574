"""Text and timeline around the views.

The title is above the views; below them are two lines of numbers and two lanes: the chunk that drives each step (two
shades of blue, red where the robot holds) with a white tick at every chunk switch, and inference in flight in orange.
"""

from dataclasses import dataclass

import numpy as np

from act_eval.types import SUCCESS, EpisodeRecord, ImageArray
from act_eval.types.scene import Stage
from act_eval.types.steps import EpisodeSteps
from act_eval.video.drawing import (
    BAD,
    CHUNK,
    CHUNK_TEXT,
    COMMITTED,
    CONFUSER,
    FAINT,
    GOAL,
    GOOD,
    INK,
    PAPER,
    TARGET,
    Colour,
    put,
    render_text,
    shortened,
)
from act_eval.video.layout import Layout
from act_eval.video.overlay import goal_of_chunk

_OTHER_CHUNK: Colour = (22, 88, 160)
_LANE: Colour = (52, 52, 60)
_SWITCH_SHOWN = 3  # frames that mark a chunk switch


@dataclass(frozen=True, kw_only=True)
class EpisodeFacts:
    """Facts of an episode in the panel besides its steps."""

    title: str
    """Environment, policy and condition."""
    record: EpisodeRecord
    control_s: float
    """Δt [s]."""
    stage: Stage | None = None
    """None if the environment describes no gripper."""
    gripper: int | None = None
    """Index of the gripper among joints and action dimensions."""


class Panel:
    """Draws the parts of a frame outside the views.

    Args:
        layout: Places and sizes.
        facts: The facts.
        steps: The episode.
        has_marks: Whether marks are drawn over the large view, which then needs a legend.
    """

    def __init__(self, layout: Layout, facts: EpisodeFacts, steps: EpisodeSteps, has_marks: bool = True) -> None:
        self._layout, self._facts, self._steps = layout, facts, steps
        self._pad = layout.scaled(4)
        self._key = self._legend()
        self._has_marks = has_marks
        # Text of two lines of numbers, in columns that keep their place from frame to frame.
        self._columns = [round(layout.width * share) for share in (0.0, 0.345, 0.66)]

    def blank(self) -> ImageArray:
        """Return a frame (H, W, 3) with the parts that all frames share."""
        layout = self._layout
        frame = np.empty((layout.height, layout.width, 3), np.uint8)
        frame[:] = PAPER
        number = f"#{self._facts.record.episode} seed {self._facts.record.seed}"
        seed = render_text(number, layout.font, layout.line, FAINT)
        room = layout.width - seed.shape[1] - 3 * self._pad
        title = shortened(_shorter(self._facts.title), layout.font, room)
        put(frame, render_text(title, layout.font, layout.line), 0, self._pad)
        put(frame, seed, 0, layout.width - seed.shape[1] - self._pad)
        self._draw_lanes(frame)
        return frame

    def draw(self, frame: ImageArray, blank: ImageArray, state: int) -> None:
        """Draw the numbers and the timeline's cursor of a state, 0 … T, into a frame."""
        layout, last = self._layout, self._steps.steps
        top = layout.numbers_top
        frame[top:] = blank[top:]
        if self._has_marks and state < last:
            put(frame[: layout.numbers_top, : layout.view[1]], self._key, top - len(self._key), 0)
        # In parts that other episodes share, so that each text is rasterized once.
        left = self._put(frame, 0, 0, f"step {state}", INK)
        left = self._write(frame, 0, left, f"/{last} · ", INK)
        self._write(frame, 0, left, f"{state * self._facts.control_s:.2f} s", INK)
        self._draw_gripper(frame, state)
        if state < last:
            self._draw_source(frame, state)
            self._draw_goal_input(frame, state)
            self._draw_flight(frame, state)
        else:
            text, ink = outcome_text(self._facts.record)
            self._put(frame, 0, 1, text, ink)
        x = self._column_of(state)
        frame[layout.lanes_top : layout.height, max(0, x - 1) : x + layout.scaled(1)] = GOAL

    def draw_outcome(self, view: ImageArray) -> None:
        """Write the outcome across the foot of the large view."""
        text, ink = outcome_text(self._facts.record)
        height = self._layout.scaled(26)
        foot = view[-height:]
        foot[:] = foot // 4
        block = render_text(text, self._layout.scaled(16), height, ink, (0, 0, 0))
        left = max(0, (view.shape[1] - block.shape[1]) // 2)
        part = foot[:, left : left + block.shape[1]]
        np.maximum(part, block[:, : part.shape[1]], out=part)

    def _put(self, frame: ImageArray, line: int, column: int, text: str, ink: Colour) -> int:
        return self._write(frame, line, self._columns[column] + self._pad, text, ink)

    def _write(self, frame: ImageArray, line: int, left: int, text: str, ink: Colour) -> int:
        """Write into one of the two lines of numbers; return the column behind the text."""
        layout = self._layout
        top = layout.numbers_top + line * layout.line
        return put(frame, render_text(text, layout.font, layout.line, ink), top, left)

    def _draw_source(self, frame: ImageArray, step: int) -> None:
        """Write the running action and chunk, with its estimated and actual delay."""
        steps = self._steps
        chunk, estimated, actual = (
            int(steps.chunk[step]),
            int(steps.estimated_delay[step]),
            int(steps.actual_delay[step]),
        )
        if chunk < 0:
            self._put(frame, 0, 1, "HOLD: no chunk", BAD)
            return
        self._put(frame, 0, 1, f"chunk {chunk} · action {steps.index[step]}", CHUNK_TEXT)
        self._put(frame, 0, 2, f"delay est. {estimated} · actual {actual}", INK if estimated in (0, actual) else BAD)

    def _draw_goal_input(self, frame: ImageArray, step: int) -> None:
        goal_input = goal_of_chunk(self._steps, step)
        if goal_input is not None:
            values = ", ".join(f"{value:.3f}" for value in goal_input[:3])
            self._put(frame, 1, 0, f"goal input {values}", INK)

    def _draw_flight(self, frame: ImageArray, step: int) -> None:
        """Draw a request in flight as a bar that fills, and a chunk switch in the frames after it."""
        steps = self._steps
        flying = np.flatnonzero((steps.sent <= step) & (step < steps.ready))
        if len(flying):
            request = int(flying[-1])
            gone, whole = step - int(steps.sent[request]) + 1, int(steps.ready[request] - steps.sent[request])
            left = self._put(frame, 1, 1, "in flight ", COMMITTED)
            left = self._bar(frame, 1, left, gone / whole, COMMITTED)
            self._write(frame, 1, left, f" {gone}/{whole}", COMMITTED)
        elif steps.chunk_switch[max(0, step - _SWITCH_SHOWN + 1) : step + 1].any():
            self._put(frame, 1, 1, "SWITCH", GOAL)

    def _draw_gripper(self, frame: ImageArray, state: int) -> None:
        """Draw the opening of the jaws and the gripper's command."""
        stage, gripper = self._facts.stage, self._facts.gripper
        if stage is None or gripper is None or state >= len(self._steps.joints):
            return
        step = min(state, self._steps.steps - 1)
        opened = (self._steps.joints[state, gripper] - stage.jaws_closed) / (stage.jaws_open - stage.jaws_closed)
        closing = step >= 0 and self._steps.command[step, gripper] < stage.closes_below
        left = self._put(frame, 1, 2, "gripper ", INK)
        left = self._bar(frame, 1, left, float(opened), FAINT)
        self._write(frame, 1, left, " close" if closing else " open", INK)

    def _bar(self, frame: ImageArray, line: int, left: int, share: float, ink: Colour) -> int:
        """Draw a bar that is filled to a share; return the column behind it."""
        layout = self._layout
        top = layout.numbers_top + line * layout.line + layout.scaled(4)
        right, bottom = left + layout.scaled(36), top + layout.scaled(8)
        frame[top:bottom, left:right] = _LANE
        frame[top:bottom, left : left + round((right - left) * min(1.0, max(0.0, share)))] = ink
        return right

    def _legend(self) -> ImageArray:
        """Return a strip with the legend of the colours."""
        layout = self._layout
        entries = (("chunk", CHUNK_TEXT), ("committed", COMMITTED), ("target", TARGET), ("confuser", CONFUSER),
                   ("+ goal input", GOAL))  # fmt: skip
        height, size = layout.scaled(11), layout.scaled(9)
        blocks = [render_text(f" {text} ", size, height, ink) for text, ink in entries]
        return np.concatenate(blocks, axis=1)

    def _draw_lanes(self, frame: ImageArray) -> None:
        layout, steps = self._layout, self._steps
        top, middle, bottom = layout.lanes_top, layout.lanes_top + layout.lanes // 2, layout.height - layout.scaled(1)
        gap = layout.scaled(1)
        for step in range(steps.steps):
            chunk = int(steps.chunk[step])
            ink = BAD if chunk < 0 else CHUNK if chunk % 2 == 0 else _OTHER_CHUNK
            frame[top : middle - gap, self._column_of(step) : self._column_of(step + 1)] = ink
        frame[middle + gap : bottom, self._column_of(0) : self._column_of(steps.steps)] = _LANE
        for sent, ready in zip(steps.sent.tolist(), steps.ready.tolist(), strict=True):
            end = min(ready, steps.steps)
            frame[middle + gap : bottom, self._column_of(sent) : self._column_of(end)] = COMMITTED
        for step in np.flatnonzero(steps.chunk_switch).tolist():
            x = self._column_of(step)
            frame[top : middle + gap, x : x + layout.scaled(1)] = GOAL

    def _column_of(self, step: int) -> int:
        """Return the column at which a step begins on the timeline [px]."""
        room = self._layout.width - 2 * self._pad
        return self._pad + round(room * step / max(1, self._steps.steps))


def outcome_text(record: EpisodeRecord) -> tuple[str, Colour]:
    """Return what is facts of an episode's end, and in which colour."""
    return record.outcome.replace("_", " ").upper(), GOOD if record.outcome == SUCCESS else BAD


def _shorter(title: str) -> list[str]:
    """Return a title and shorter forms of it, without its first parts."""
    parts = title.split(" · ")
    return [title, *(" · ".join(parts[first:]) for first in range(1, len(parts)))]
