"""Text and timeline around the views.

The title is above the views; below them are two lines of numbers and two lanes: the chunk that drives each step (two
shades of blue, red where the robot holds) with a white tick at every chunk switch, and inference in flight in orange.
"""

from dataclasses import dataclass

import numpy as np
from PIL import ImageColor

from act_eval.types import EpisodeRecord, ImageArray
from act_eval.types.episodes import OUTCOME_COLOURS
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
    INK,
    PAPER,
    TARGET,
    Colour,
    fitted,
    put,
    render_text,
)
from act_eval.video.layout import Layout
from act_eval.video.overlay import goal_of_chunk

LEGEND = {
    "chunk": CHUNK_TEXT, "committed": COMMITTED, "target": TARGET, "confuser": CONFUSER, "+ goal input": GOAL
}  # fmt: skip
"""Marks over the large view, with their colours."""
_OTHER_CHUNK: Colour = (22, 88, 160)
_LANE: Colour = (52, 52, 60)
_BRIGHT = 380  # sum of red, green and blue from which letters on it are dark
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
    legend: tuple[str, ...] = ()
    """Names of the marks over the large view, of `LEGEND`."""


class Panel:
    """Draws the parts of a frame outside the views.

    Args:
        layout: Places and sizes.
        facts: The facts.
        steps: The episode.
    """

    def __init__(self, layout: Layout, facts: EpisodeFacts, steps: EpisodeSteps) -> None:
        self._layout, self._facts, self._steps = layout, facts, steps
        self._pad = layout.scaled(4)
        height, size = layout.scaled(11), layout.scaled(9)
        self._legend = [render_text(f" {name} ", size, height, LEGEND[name]) for name in facts.legend]
        # Text of two lines of numbers, in columns that keep their place from frame to frame.
        self._columns = [*(round(layout.width * share) for share in (0.0, 0.345, 0.66)), layout.width]
        whole = f"{steps.steps}/{steps.steps} · {steps.steps * facts.control_s:.2f} s"
        outcome = facts.record.outcome
        self._outcome = outcome.replace("_", " ").upper()
        paper = ImageColor.getrgb(OUTCOME_COLOURS[outcome])
        self._outcome_colours = (PAPER if sum(paper) > _BRIGHT else GOAL), paper[:3]
        self._clock = fitted((f"step {whole}", whole), layout.font, self._room(0))

    def blank(self) -> ImageArray:
        """Return a frame (H, W, 3) with the parts that all frames share."""
        layout = self._layout
        frame = np.empty((layout.height, layout.width, 3), np.uint8)
        frame[:] = PAPER
        number = f"#{self._facts.record.episode} seed {self._facts.record.seed}"
        seed = render_text(number, layout.font, layout.line, FAINT)
        room = layout.width - seed.shape[1] - 3 * self._pad
        parts = self._facts.title.split(" · ")
        shorter = tuple(" · ".join(parts[first:]) for first in range(len(parts)))
        put(frame, render_text(*fitted(shorter, layout.font, room), layout.line), 0, self._pad)
        put(frame, seed, 0, layout.width - seed.shape[1] - self._pad)
        self._draw_lanes(frame)
        return frame

    def draw(self, frame: ImageArray, state: int) -> None:
        """Draw the numbers and the timeline's cursor of a state, 0 … T, into a copy of `blank`."""
        layout, last = self._layout, self._steps.steps
        top = layout.numbers_top
        if self._legend and state < last:
            foot = frame[top - len(self._legend[0]) : top, : layout.view[1]]
            left = 0
            for block in self._legend:
                left = put(foot, block, 0, left)
        # In parts that other episodes share, so that each text is rasterized once.
        text, size = self._clock
        left = self._write(frame, 0, self._pad, f"step {state}" if text.startswith("step") else str(state), INK, size)
        left = self._write(frame, 0, left, f"/{last} · ", INK, size)
        self._write(frame, 0, left, f"{state * self._facts.control_s:.2f} s", INK, size)
        self._draw_gripper(frame, state)
        if state < last:
            self._draw_source(frame, state)
            self._draw_goal_input(frame, state)
            self._draw_flight(frame, state)
        else:
            text, size = fitted((self._outcome,), layout.font, self._room(1))
            block = render_text(f" {text} ", size, layout.line, *self._outcome_colours)
            put(frame, block[:, : self._room(1)], layout.numbers_top + layout.line, self._columns[1])
        x = self._column_of(state)
        frame[layout.lanes_top : layout.height, max(0, x - 1) : x + layout.scaled(1)] = GOAL

    def draw_outcome(self, view: ImageArray) -> None:
        """Write the outcome across the foot of the large view, in its colour."""
        height = self._layout.scaled(26)
        text, size = fitted((self._outcome,), self._layout.scaled(16), view.shape[1])
        block = render_text(text, size, height, *self._outcome_colours)
        foot = view[-height:]
        foot[:] = self._outcome_colours[1]
        put(view, block, view.shape[0] - height, max(0, (view.shape[1] - block.shape[1]) // 2))

    def _room(self, column: int) -> int:
        """Return the width of a column of numbers [px]."""
        return self._columns[column + 1] - self._columns[column] - 2 * self._pad

    def _put(self, frame: ImageArray, line: int, column: int, texts: tuple[str, ...], ink: Colour) -> None:
        """Write the first text that fits a column."""
        text, size = fitted(texts, self._layout.font, self._room(column))
        self._write(frame, line, self._columns[column] + self._pad, text, ink, size)

    def _write(self, frame: ImageArray, line: int, left: int, text: str, ink: Colour, size: int) -> int:
        """Write into one of the two lines of numbers; return the column behind the text."""
        layout = self._layout
        top = layout.numbers_top + line * layout.line
        return put(frame, render_text(text, size, layout.line, ink), top, left)

    def _draw_source(self, frame: ImageArray, step: int) -> None:
        """Write the running action and chunk, with its estimated and actual delay."""
        steps = self._steps
        arrays = (steps.chunk, steps.index, steps.estimated_delay, steps.actual_delay)
        chunk, index, estimated, actual = (int(array[step]) for array in arrays)
        if chunk < 0:
            self._put(frame, 0, 1, ("HOLD: no chunk",), BAD)
            return
        self._put(frame, 0, 1, (f"chunk {chunk} · action {index}", f"chunk {chunk} · a {index}"), CHUNK_TEXT)
        texts = (f"delay est. {estimated} · actual {actual}", f"est. {estimated} · actual {actual}")
        self._put(frame, 0, 2, texts, INK if estimated in (0, actual) else BAD)

    def _draw_goal_input(self, frame: ImageArray, step: int) -> None:
        goal_input = goal_of_chunk(self._steps, step)
        if goal_input is not None:
            values, rough = (", ".join(f"{value:.{digits}f}" for value in goal_input[:3]) for digits in (3, 2))
            self._put(frame, 1, 0, (f"goal input {values}", f"goal {values}", f"goal {rough}"), INK)

    def _draw_flight(self, frame: ImageArray, step: int) -> None:
        """Draw a request in flight as a bar that fills, and a chunk switch in the frames after it."""
        steps = self._steps
        flying = np.flatnonzero((steps.sent <= step) & (step < steps.ready))
        if len(flying):
            request = int(flying[-1])
            gone, whole = step - int(steps.sent[request]) + 1, int(steps.ready[request] - steps.sent[request])
            self._draw_bar(frame, 1, "in flight ", gone / whole, f" {gone}/{whole}", COMMITTED, COMMITTED)
        elif steps.chunk_switch[max(0, step - _SWITCH_SHOWN + 1) : step + 1].any():
            self._put(frame, 1, 1, ("SWITCH",), GOAL)

    def _draw_gripper(self, frame: ImageArray, state: int) -> None:
        """Draw the opening of the jaws and the gripper's command."""
        stage, gripper = self._facts.stage, self._facts.gripper
        if stage is None or gripper is None or state >= len(self._steps.joints):
            return
        step = min(state, self._steps.steps - 1)
        opened = (self._steps.joints[state, gripper] - stage.jaws_closed) / (stage.jaws_open - stage.jaws_closed)
        closing = step >= 0 and self._steps.command[step, gripper] < stage.closes_below
        self._draw_bar(frame, 2, "gripper ", float(opened), " close" if closing else " open", INK, FAINT)

    def _draw_bar(
        self, frame: ImageArray, column: int, before: str, share: float, after: str, ink: Colour, filling: Colour
    ) -> None:
        """Draw a bar that is filled to a share between two texts, in the second line of numbers."""
        layout, width = self._layout, self._layout.scaled(36)
        _, size = fitted((before + after,), layout.font, self._room(column) - width)
        left = self._write(frame, 1, self._columns[column] + self._pad, before, ink, size)
        top = layout.numbers_top + layout.line + layout.scaled(4)
        bar = frame[top : top + layout.scaled(8), left : left + width]
        bar[:] = _LANE
        bar[:, : round(width * min(1.0, max(0.0, share)))] = filling
        self._write(frame, 1, left + width, after, ink, size)

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
