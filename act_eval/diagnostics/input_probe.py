"""The input probe of a policy: every change, its effect, and a verdict on every input."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from act_eval.diagnostics.changes import SHUFFLED, Change, changes
from act_eval.diagnostics.effects import Effect, Predict, effect_of, intact_chunks, predictor
from act_eval.diagnostics.observation_set import ObservationSet
from act_eval.diagnostics.verdicts import InputVerdict, Scale, verdict_on
from act_eval.results.tables import Table
from act_eval.types import ENVIRONMENT_STATE, IMAGE_PREFIX, STATE, ChunkPolicy, Observation, PolicySpec
from act_eval.types.env_hooks import EnvHooks

_SENSITIVITY_ROWS = 16


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
    verdicts: tuple[InputVerdict, ...]
    """Of every declared input in order, then of the undeclared observations of the environment."""
    sensitivity: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Input → gradient and attention, if the policy provides them; supporting evidence only."""
    collected_by: str = ""
    """What acted while the observations were collected, and the seed."""

    @property
    def ignored(self) -> tuple[InputVerdict, ...]:
        """Declared inputs without an effect."""
        return tuple(verdict for verdict in self.verdicts if verdict.mode == "ignored")

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
    scale = Scale(
        whole=effect_of(whole, predict, before, observations, hooks),
        noise=_noise(predict, observations.observation, before.chunks),
        observations=len(observations),
        open=before.open,
    )
    effects = tuple(
        effect_of(c, predict, before, observations, hooks) for c in changes(policy.spec, observations, hooks, short)
    )
    return ProbeReport(
        observations=len(observations),
        episodes=observations.episodes,
        open=before.open,
        to_named=before.to_named,
        noise_rad=scale.noise,
        whole=scale.whole,
        effects=effects,
        verdicts=_verdicts(policy.spec, observations, effects, scale),
        sensitivity={} if short else _sensitivity(policy, observations),
    )


def _numbers(effect: Effect, undecided: int) -> tuple[str, str, str]:
    mm = "" if effect.mm is None else f"{effect.mm:.1f}"
    return f"{effect.rad:.4f}", mm, "" if effect.turned is None else f"{effect.turned} of {undecided}"


def _noise(predict: Predict, observation: Observation, chunk_NCA: np.ndarray) -> float:
    difference = np.square(predict(observation) - chunk_NCA, dtype=np.float64)
    return float(np.sqrt(difference.mean(axis=(1, 2))).max())


def _verdicts(
    spec: PolicySpec, observations: ObservationSet, effects: tuple[Effect, ...], scale: Scale
) -> tuple[InputVerdict, ...]:
    provided = [STATE, *(IMAGE_PREFIX + camera for camera in observations.observation.pixels)]
    provided += [ENVIRONMENT_STATE] if observations.observation.environment_state is not None else []
    undeclared = [
        InputVerdict(name, "not an input", "the environment provides it, the policy does not declare it")
        for name in provided
        if name not in spec.inputs
    ]
    return (*(verdict_on(name, effects, scale) for name in spec.inputs), *undeclared)


def _sensitivity(policy: ChunkPolicy, observations: ObservationSet) -> Mapping[str, Mapping[str, float]]:
    sensitivity = getattr(policy, "sensitivity", None)
    if sensitivity is None:
        return {}
    rows = np.unique(np.linspace(0, len(observations) - 1, _SENSITIVITY_ROWS).astype(np.int64))
    return sensitivity(observations.observation.take(rows), observations.last_action[rows])
