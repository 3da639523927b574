"""The input probe of a policy: every change, its effect, and one verdict per input.

An input is used, weak, ignored, or inconclusive where the policy's noise may hide it. The thresholds come from the
shipped policies and copies of them with one input cut off or not normalised; numbers in docs/mode-collapse.md.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from act_eval.diagnostics.changes import (
    CAMERAS,
    ESTIMATE,
    EXCHANGED,
    PREFIX,
    SHIFTS,
    SHUFFLED,
    Change,
    changes,
    shift_name,
    timing_changes,
)
from act_eval.diagnostics.effects import Effect, effect_of, intact_chunks, predictor
from act_eval.diagnostics.observation_set import ObservationSet
from act_eval.results.tables import Table
from act_eval.types import ENVIRONMENT_STATE, IMAGE_PREFIX, STATE, ChunkPolicy
from act_eval.types.env_hooks import EnvHooks

_SENSITIVITY_ROWS = 16
InputMode = Literal["used", "weak", "ignored", "not an input", "inconclusive"]

NUMERICAL = 1e-5
"""A chunk that moves less than this does not move: 0.003 mm at the end of a stretched arm [rad]."""
NOISE_FACTOR = 3.0
"""An effect must exceed the difference between identical requests by this factor."""
HIDING_SHARE = 0.001
"""Noise above this share of the effect of exchanging the whole observation may hide an input."""
USED_SHARE = 0.33
"""A used input, exchanged for another episode's, has at least this share of the effect of exchanging the whole
observation."""
ESTIMATE_SHARE = 0.05
"""A used estimated delay, one step shorter, moves the chunk by at least this share of the effect of exchanging the
whole observation: less than for other inputs, since it stands for one step of the motion."""
COARSE_NOISE = 0.05
"""Noise above this share of the effect of another episode's goal hides whether a goal is read in coarse steps."""
TURNED_SHARE = 0.5
"""A used goal input, exchanged for the other block's, turns at least this share of the open chunks to another block."""
MIN_OBSERVATIONS = 16
"""Smallest number of observations for a verdict."""
MIN_OPEN = 8
"""Smallest number of open observations for a statement about the choice: of four, an intact policy turned two."""


@dataclass(frozen=True)
class InputVerdict:
    """The verdict on one input."""

    input: str
    """Name in the policy's spec."""
    mode: InputMode
    evidence: str

    @property
    def line(self) -> str:
        """`NAME VERDICT evidence`."""
        return f"{self.input.removeprefix('observation.')} {self.mode} {self.evidence}"


@dataclass(frozen=True, kw_only=True)
class ProbeReport:
    """The result of a probe on a set of observations."""

    observations: int
    episodes: int
    open: int
    """Observations in which the choice of a block is still open."""
    to_named: int
    """Open observations whose unchanged chunk approaches the named block."""
    noise_rad: float
    """Largest difference between the chunks of two identical requests [rad]."""
    whole: Effect
    """Exchanging the whole observation for another episode's."""
    effects: tuple[Effect, ...]
    verdicts: tuple[InputVerdict, ...] = ()
    """Of every declared input in order; of the committed prefix, the estimated delay and the order of the cameras, if
    the policy has them; and of the undeclared observations of the environment."""
    sensitivity: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Input → gradient and attention, if the policy provides them; supporting evidence only."""
    collected_by: str = ""
    """What acted while the observations were collected, and the seed."""

    @property
    def ignored(self) -> tuple[InputVerdict, ...]:
        """Inputs without an effect."""
        return tuple(verdict for verdict in self.verdicts if verdict.mode == "ignored")

    @property
    def floor(self) -> float:
        """Effects below this count as none [rad]."""
        return max(NUMERICAL, NOISE_FACTOR * self.noise_rad)

    def verdict_on(self, name: str) -> InputVerdict:
        """Return the verdict on a declared input from the effects of its changes."""
        if self.observations < MIN_OBSERVATIONS:
            few = f"from {self.observations} observations; {MIN_OBSERVATIONS} are needed"
            return InputVerdict(name, "inconclusive", few)
        mine = [effect for effect in self.effects if effect.input == name]
        if not mine:
            return InputVerdict(name, "inconclusive", "the environment does not provide it")
        largest = max(effect.most_rad for effect in mine)
        shuffled = mine[0]
        needed = ESTIMATE_SHARE if name == ESTIMATE else USED_SHARE
        exchanged = next((effect for effect in mine if effect.name == EXCHANGED), None)
        shares = ((largest, HIDING_SHARE), (shuffled.rad, needed))
        if any(rad <= self.floor and self.floor > max(NUMERICAL, share * self.whole.rad) for rad, share in shares):
            noise = f"identical requests differ by {self.noise_rad:.1e} rad, which may hide it"
            return InputVerdict(name, "inconclusive", f"{noise}: its changes move the chunk by {largest:.1e} rad")
        if largest <= self.floor:
            names = ", ".join(effect.name for effect in mine)
            rigid = "; the chunk moves along with the joints that it is relative to, and that is all"
            evidence = f"no change moves the chunk by more than {self.floor:.0e} rad ({names})"
            return InputVerdict(name, "ignored", evidence + (rigid if any(one.rigid for one in mine) else ""))
        used = shuffled.rad >= needed * self.whole.rad and shuffled.rad > self.floor
        where = "" if shuffled.mm is None else f", {shuffled.mm:.1f} mm at the gripper"
        share = 100 * shuffled.rad / self.whole.rad if self.whole.rad > 0 else 0.0
        rigid = " beyond moving along with the joints" if shuffled.rigid else ""
        what = "another episode's moves" if shuffled.name == SHUFFLED else f"{shuffled.name} moves"
        moved = f"{what} the chunk by {shuffled.rad:.4f} rad{where}{rigid}"
        moved += f" ({share:.0f} % of all inputs')"
        if name == ENVIRONMENT_STATE and exchanged is not None and exchanged.turned is not None:
            used &= self.open < MIN_OPEN or exchanged.turned >= TURNED_SHARE * self.open
            moved += f"; the other block's turn {exchanged.turned} of {self.open} open chunks to it"
        if name == ENVIRONMENT_STATE and self._is_coarse(mine, shuffled):
            used = False
            moved += f"; read in coarse steps: a shift of {100 * SHIFTS[0]:g} cm moves less than half of the chunks"
        return InputVerdict(name, "used" if used else "weak", moved)

    def _is_coarse(self, mine: Sequence[Effect], shuffled: Effect) -> bool:
        """Return whether a small shift of the goal moves less than half of the chunks, with noise far below."""
        small = next((effect for effect in mine if effect.name == shift_name(SHIFTS[0])), None)
        judged = self.open > 0 and self.floor <= COARSE_NOISE * shuffled.rad
        return small is not None and judged and small.median_rad <= self.floor

    def __str__(self) -> str:
        return self.text(shutil.get_terminal_size().columns)

    def text(self, width: int = 80) -> str:
        """Return the findings for a terminal of that many characters."""
        origin = f" of {self.collected_by}" if self.collected_by else ""
        open_part = f"; in {self.open} the choice of a block is open" if self.open else ""
        beginnings = f"the beginnings of {self.episodes} episodes{origin}{open_part}"
        lines = [f"bank    {self.observations} observations from {beginnings}"]
        if self.open:
            lines.append(f"intact  approaches the named block in {self.to_named} of {self.open}")
        lines.append(f"noise   the same request twice: {self.noise_rad:.1e} rad")
        lines.append(self._table().text(width))
        for name, values in self.sensitivity.items():
            found = ", ".join(f"{what} {value:.3g}" for what, value in values.items())
            lines.append(f"supporting evidence, {name.removeprefix('observation.')}: {found}")
        return "\n".join([*lines, *(verdict.line for verdict in self.verdicts)])

    def _table(self) -> Table:
        rows = [("all inputs", self.whole.name, *_numbers(self.whole, self.open))]
        for effect in self.effects:
            name = "scene" if effect.input is None else effect.input.removeprefix("observation.")
            rows.append((name, effect.name, *_numbers(effect, self.open)))
        heads = ("input", "change", "chunk [rad]", "gripper [mm]", "turned to\nanother block")
        shown = [i for i in range(len(heads)) if any(row[i] for row in rows)]
        return Table(
            heads=tuple(heads[i] for i in shown),
            rows=tuple(tuple(row[i] for i in shown) for row in rows),
            keys=2,
            boxed=False,
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def probe(policy: ChunkPolicy, observations: ObservationSet, hooks: EnvHooks, short: bool = False) -> ProbeReport:
    """Return which inputs move a policy's chunks on a set of observations.

    Args:
        policy: any chunk policy; its optional method `sensitivity(observation, last_action)`, input → numbers by name,
            is called unless `short`.
        observations: at least two episodes.
        hooks: hooks of the environment of the observations.
        short: only the changes that decide verdicts.

    Raises:
        UsageError: if the observations come from one episode.
    """
    predict = predictor(policy, observations)
    before = intact_chunks(predict, observations, hooks)
    whole = Change(None, SHUFFLED, observations.observation.take(observations.permuted_rows()))
    repeated = np.square(intact_chunks(predict, observations, hooks).chunks - before.chunks, dtype=np.float64)
    effects = [
        effect_of(c, predict, before, observations, hooks) for c in changes(policy.spec, observations, hooks, short)
    ]
    under_delay, *timing = timing_changes(policy.spec, observations, before.chunks) or [None]
    if under_delay is not None:
        late = intact_chunks(predict, observations, hooks, under_delay)
        effects += [effect_of(c, predict, late, observations, hooks) for c in timing if c is not None]
    report = ProbeReport(
        observations=len(observations),
        episodes=observations.episodes,
        open=before.open,
        to_named=before.to_named,
        noise_rad=float(np.sqrt(repeated.mean(axis=(1, 2))).max()),
        whole=effect_of(whole, predict, before, observations, hooks),
        effects=tuple(effects),
        sensitivity={} if short else _sensitivity(policy, observations),
    )
    provided = [STATE, *(IMAGE_PREFIX + camera for camera in observations.observation.pixels)]
    provided += [ENVIRONMENT_STATE] if observations.observation.environment_state is not None else []
    undeclared = (
        InputVerdict(name, "not an input", "the environment provides it, the policy does not declare it")
        for name in provided
        if name not in policy.spec.inputs
    )
    declared = list(map(report.verdict_on, policy.spec.inputs))
    dark = any(one.mode == "ignored" and one.input.startswith(IMAGE_PREFIX) for one in declared)
    more = [PREFIX, ESTIMATE, *([] if dark else [CAMERAS])]  # the order of cameras that nobody looks at is nothing
    implied = [report.verdict_on(name) for name in more if any(effect.input == name for effect in effects)]
    return replace(report, verdicts=(*declared, *implied, *undeclared))


def _numbers(effect: Effect, undecided: int) -> tuple[str, str, str]:
    mm = "" if effect.mm is None else f"{effect.mm:.1f}"
    return f"{effect.rad:.4f}", mm, "" if effect.turned is None else f"{effect.turned} of {undecided}"


def _sensitivity(policy: ChunkPolicy, observations: ObservationSet) -> Mapping[str, Mapping[str, float]]:
    sensitivity = getattr(policy, "sensitivity", None)
    if sensitivity is None:
        return {}
    rows = np.unique(np.linspace(0, len(observations) - 1, _SENSITIVITY_ROWS).astype(np.int64))
    return sensitivity(observations.observation.take(rows), observations.last_action[rows])
