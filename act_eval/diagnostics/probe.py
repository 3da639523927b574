"""Probe a policy: every change, its effect, and a verdict on every input."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from act_eval.diagnostics.changes import SHUFFLED, Change, changes
from act_eval.diagnostics.effects import Effect, Predict, baseline, effect_of, predictor
from act_eval.diagnostics.observation_set import ObservationSet
from act_eval.diagnostics.verdicts import InputVerdict, Scale, verdict_on
from act_eval.types import ENVIRONMENT_STATE, IMAGE_PREFIX, STATE, ChunkPolicy, Observation, PolicySpec
from act_eval.types.env_hooks import EnvHooks

_SENSITIVITY_ROWS = 16


@dataclass(frozen=True, kw_only=True)
class ProbeReport:
    """What probing a policy on a bank of observations found."""

    observations: int
    episodes: int
    open: int
    """Observations in which the choice of a block is still open."""
    to_named: int
    """Open observations whose unchanged chunk heads for the named block."""
    noise_rad: float
    """Largest difference between answers to the same question [rad]."""
    whole: Effect
    """Exchanging the whole observation for another episode's."""
    effects: tuple[Effect, ...]
    verdicts: tuple[InputVerdict, ...]
    """Of every declared input in its order, then of what the environment shows and the policy does not declare."""
    sensitivity: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Input → gradient and attention, where the policy tells; supporting evidence only."""

    @property
    def ignored(self) -> tuple[InputVerdict, ...]:
        """Declared inputs that move nothing."""
        return tuple(verdict for verdict in self.verdicts if verdict.mode == "ignored")

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def probe(policy: ChunkPolicy, bank: ObservationSet, hooks: EnvHooks, short: bool = False) -> ProbeReport:
    """Return which inputs move a policy's chunks on a bank of observations.

    Args:
        policy: any chunk policy; `sensitivity(observation, last_action)`, input → numbers by name, is asked where it
            exists and `short` is false.
        bank: at least two episodes.
        hooks: of the environment that the bank comes from.
        short: only what the verdicts rest on.

    Raises:
        UsageError: if the bank has one episode only.
    """
    predict = predictor(policy, bank)
    before = baseline(predict, bank, hooks)
    whole = Change(None, SHUFFLED, bank.observation.take(bank.permuted_rows()))
    scale = Scale(
        whole=effect_of(whole, predict, before, bank, hooks),
        noise=_noise(predict, bank.observation, before.chunks),
        observations=len(bank),
        open=before.open,
    )
    effects = tuple(effect_of(c, predict, before, bank, hooks) for c in changes(policy.spec, bank, hooks, short))
    return ProbeReport(
        observations=len(bank),
        episodes=bank.episodes,
        open=before.open,
        to_named=before.to_named,
        noise_rad=scale.noise,
        whole=scale.whole,
        effects=effects,
        verdicts=_verdicts(policy.spec, bank, effects, scale),
        sensitivity={} if short else _sensitivity(policy, bank),
    )


def _noise(predict: Predict, observation: Observation, chunk_NCA: np.ndarray) -> float:
    difference = np.square(predict(observation) - chunk_NCA, dtype=np.float64)
    return float(np.sqrt(difference.mean(axis=(1, 2))).max())


def _verdicts(
    spec: PolicySpec, bank: ObservationSet, effects: tuple[Effect, ...], scale: Scale
) -> tuple[InputVerdict, ...]:
    shown = [STATE, *(IMAGE_PREFIX + camera for camera in bank.observation.pixels)]
    shown += [ENVIRONMENT_STATE] if bank.observation.environment_state is not None else []
    undeclared = [
        InputVerdict(name, "not an input", "the environment shows it, the policy does not declare it")
        for name in shown
        if name not in spec.inputs
    ]
    return (*(verdict_on(name, effects, scale) for name in spec.inputs), *undeclared)


def _sensitivity(policy: ChunkPolicy, bank: ObservationSet) -> Mapping[str, Mapping[str, float]]:
    ask = getattr(policy, "sensitivity", None)
    if ask is None:
        return {}
    rows = np.unique(np.linspace(0, len(bank) - 1, _SENSITIVITY_ROWS).astype(np.int64))
    return ask(bank.observation.take(rows), bank.last_action[rows])
