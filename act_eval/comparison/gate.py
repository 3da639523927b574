"""The options of `@pytest.mark.success_rate(...)`, and the object behind the fixture `success_gate`."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from act_eval.comparison.baselines import Baseline, update
from act_eval.comparison.judging import Judgement, judge, judge_bar, judge_exactly, judge_paired, judge_sequentially
from act_eval.comparison.sequential import StoppingRule
from act_eval.comparison.verdicts import REQUIREMENTS, Requirement, Rules
from act_eval.errors import UsageError
from act_eval.results import fingerprint
from act_eval.results.suites import Suite
from act_eval.types import OUTCOMES, SUCCESS

Rollouts = Callable[[Sequence[int]], Sequence[bool | str]]
"""Episode seeds → success or outcome of each."""

Settle = Callable[[Callable[[], Judgement]], Judgement]

CONDITION = "rollouts"
"""Name of the condition of `SuccessGate.rollouts`."""
_FAILURE = "timeout"

Judge = Literal["recorded", "exact", "paired", "sequential"]


@dataclass(frozen=True, kw_only=True)
class AgainstBaseline:
    """Compare with recorded outcomes."""

    baseline: Path
    """File of `act-eval baseline`."""
    tier: Judge = "recorded"
    """`recorded`: exact if the numeric fingerprint is recorded, else paired. `exact`: skipped on other machines.
    `paired`: always the paired test. `sequential`: paired with early stopping, for `rollouts`."""
    require: Requirement = "no-regression"
    """Requirement of the paired test."""
    alpha: float = Rules.alpha
    margin: float = Rules.margin
    block: int = 10
    """Episodes per step of `sequential`."""

    def __post_init__(self) -> None:
        for name, value, allowed in (("tier", self.tier, get_args(Judge)), ("require", self.require, REQUIREMENTS)):
            if value not in allowed:
                raise UsageError(f"{name} is {value!r}; there are: {', '.join(allowed)}")
        if self.tier == "sequential" and self.require != "no-regression":
            raise UsageError("tier 'sequential' fails if a drop is detected; omit require")
        if self.block < 1:
            raise UsageError(f"block is {self.block}; it must be at least 1")
        _ = self.rules, self.stopping_rule  # check their numbers

    @property
    def rules(self) -> Rules:
        """Rules of the paired test with all pairs."""
        return Rules(alpha=self.alpha, margin=self.margin)

    @property
    def stopping_rule(self) -> StoppingRule:
        """Stopping rule of `sequential`."""
        return StoppingRule(alpha=self.alpha, margin=self.margin)


@dataclass(frozen=True, kw_only=True)
class AboveBar:
    """Require a success rate of at least `bar`."""

    bar: float
    episodes: int
    """Number of episodes, fixed in advance."""
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise UsageError(f"episodes is {self.episodes}; it must be at least 1")
        if not 0 < self.confidence < 1:
            raise UsageError(f"confidence is {self.confidence}; it must be between 0 and 1, as in 0.95")


Tier = AgainstBaseline | AboveBar


def tier_of(arguments: tuple[Any, ...], options: Mapping[str, Any], folder: Path) -> Tier:
    """Return the tier of a marker; paths are relative to `folder`.

    Raises:
        UsageError: if the options do not fit one tier.
    """
    if arguments:
        raise UsageError(f"the marker success_rate takes named options only, got {arguments[0]!r}")
    if ("baseline" in options) == ("bar" in options):
        raise UsageError("the marker success_rate takes either baseline=FILE or bar=RATE, episodes=N")
    kind = AgainstBaseline if "baseline" in options else AboveBar
    known = [field.name for field in fields(kind)]
    if unknown := sorted(set(options) - set(known)):
        raise UsageError(f"the marker success_rate has no option {', '.join(unknown)}; there are: {', '.join(known)}")
    if kind is AgainstBaseline:
        return AgainstBaseline(**{**options, "baseline": folder / options["baseline"]})
    if "episodes" not in options:
        raise UsageError("bar needs episodes=N, the number of episodes, fixed in advance")
    return AboveBar(**options)


class NotRecorded(UsageError):
    """The exact tier has no recording for this machine."""


class SuccessGate:
    """Judges runs; with a reason to record, it records them as the new baseline instead.

    `settle` calls a judge and decides what its judgement or refusal means; by default it is returned or raised.
    """

    def __init__(self, tier: Tier, record: str | None = None, settle: Settle = lambda judge: judge()) -> None:
        self._tier, self._record, self._settle = tier, record, settle

    def check(self, run: Path | str) -> Judgement:
        """Judge a finished run folder of `evaluate`.

        Raises:
            ActEvalError: if the folder is not a finished run, or does not match the baseline.
        """
        return self._settle(lambda: self._check(Path(run)))

    def _check(self, run: Path) -> Judgement:
        if isinstance(self._tier, AgainstBaseline) and self._tier.tier == "sequential" and self._record is None:
            raise UsageError("tier 'sequential' stops early, which a finished run cannot: use success_gate.rollouts")
        return self._judge(Baseline.of_run(run, reason=self._record or "test"))

    def rollouts(
        self,
        episodes: Rollouts,
        suite: Suite,
        configuration: Mapping[str, Any] | None = None,
        numeric: Mapping[str, Any] | None = None,
    ) -> Judgement:
        """Run episodes of any environment with any code, and judge them.

        Args:
            episodes: called with some of the suite's seeds in order; returns success or outcome of each (one of
                `act_eval.types.OUTCOMES`).
            suite: the suite of the seeds; it must be that of the baseline.
            configuration: further intended determinants of the outcomes, such as a digest of the checkpoint. Omit the
                quantity under test.
            numeric: further facts that the results may depend on, beside versions and processor.

        Raises:
            ActEvalError: if an outcome is unknown, or the suite is not that of the baseline.
        """
        return self._settle(lambda: self._roll(episodes, suite, configuration or {}, numeric or {}))

    def _roll(
        self, episodes: Rollouts, suite: Suite, configuration: Mapping[str, Any], numeric: Mapping[str, Any]
    ) -> Judgement:
        threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
        run = Baseline(
            reason=self._record or "test",
            suite=suite,
            configuration=dict(configuration),
            fingerprint={**fingerprint(threads=threads, renderer=os.environ.get("MUJOCO_GL", "")), **numeric},
            outcomes={CONDITION: ()},
        )

        def outcomes(seeds: Sequence[int]) -> list[str]:
            return [_outcome(answer) for answer in episodes(seeds)]

        tier = self._tier
        if isinstance(tier, AgainstBaseline) and tier.tier == "sequential" and self._record is None:
            baseline = Baseline.read(tier.baseline)
            baseline.check_same(run)
            return judge_sequentially(baseline, CONDITION, outcomes, tier.block, tier.stopping_rule)
        answers = tuple(outcomes(suite.seeds))
        if len(answers) != len(suite.seeds):
            raise UsageError(f"requested {len(suite.seeds)} episodes, got {len(answers)} outcomes")
        return self._judge(replace(run, outcomes={CONDITION: answers}))

    def _judge(self, run: Baseline) -> Judgement:
        match self._tier:
            case AboveBar(bar=bar, episodes=episodes, confidence=confidence):
                return judge_bar(run.outcomes, bar, episodes, confidence)
            case AgainstBaseline(baseline=path) if self._record is not None:
                return Judgement(True, False, update(path, run, add_machine=False))
            case AgainstBaseline(baseline=path, tier="paired") as tier:
                return judge_paired(Baseline.read(path), run, tier.rules, tier.require)
            case AgainstBaseline(baseline=path, tier="exact"):
                baseline = Baseline.read(path)
                baseline.check_same(run)
                if (recorded := baseline.recorded(run.fingerprint)) is None:
                    raise NotRecorded(
                        f"{path} holds no outcomes of this machine; record them with: "
                        f"act-eval baseline RUN {path.name} --add-machine --reason WHY"
                    )
                return judge_exactly(recorded, run)
            case AgainstBaseline(baseline=path) as tier:
                return judge(Baseline.read(path), run, tier.rules, tier.require)


def _outcome(answer: bool | str) -> str:
    if isinstance(answer, str):
        if answer not in OUTCOMES:
            raise UsageError(f"an episode's outcome is {answer!r}; give True, False or one of: {', '.join(OUTCOMES)}")
        return answer
    return SUCCESS if answer else _FAILURE
