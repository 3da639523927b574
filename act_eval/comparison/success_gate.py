"""The object behind the fixture `success_gate`: takes what was run, and judges it as the marker says."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from act_eval.comparison.baselines import Baseline, update
from act_eval.comparison.judging import Judgement, judge, judge_bar, judge_exactly, judge_paired, judge_sequentially
from act_eval.comparison.tiers import AboveBar, AgainstBaseline, Tier
from act_eval.errors import UsageError
from act_eval.results import fingerprint
from act_eval.results.records import OUTCOMES, SUCCESS
from act_eval.results.suites import Suite

Rollouts = Callable[[Sequence[int]], Sequence[bool | str]]
"""Episode seeds → for each whether it succeeded, or its outcome."""

ARM = "rollouts"
"""Name of the arm that `SuccessGate.rollouts` makes."""
_FAILURE = "timeout"


class NotRecorded(UsageError):
    """The exact tier has no recording for this machine."""


class SuccessGate:
    """Judges runs; with a reason to record it records them as the new baseline instead."""

    def __init__(self, tier: Tier, record: str | None = None) -> None:
        self._tier = tier
        self._record = record

    def check(self, run: Path | str) -> Judgement:
        """Judge a finished run folder of `evaluate`.

        Raises:
            ActEvalError: if the folder is no finished run, or the baseline says nothing about it.
        """
        if isinstance(self._tier, AgainstBaseline) and self._tier.tier == "sequential" and self._record is None:
            raise UsageError("tier 'sequential' stops early, which a finished run cannot: use success_gate.rollouts")
        return self._judge(Baseline.of_run(Path(run), reason=self._record or "test"))

    def rollouts(
        self,
        episodes: Rollouts,
        suite: Suite,
        configuration: Mapping[str, Any] | None = None,
        numeric: Mapping[str, Any] | None = None,
    ) -> Judgement:
        """Run episodes of any environment with any code, and judge them.

        Args:
            episodes: called with some of the suite's seeds in order; returns for each whether it succeeded, or its
                outcome (one of `act_eval.results.records.OUTCOMES`).
            suite: what the seeds mean. Another suite than the baseline's is refused.
            configuration: what else decides the outcomes on purpose, such as a digest of the checkpoint. Leave out
                what the test is meant to compare.
            numeric: what else the numbers may depend on, beside versions and processor.

        Raises:
            ActEvalError: if an outcome is unknown, or the baseline says nothing about this suite.
        """
        run = Baseline(
            reason=self._record or "test",
            suite=suite,
            configuration=dict(configuration or {}),
            fingerprint=_fingerprint(numeric or {}),
            outcomes={ARM: ()},
        )

        def outcomes(seeds: Sequence[int]) -> list[str]:
            return [_outcome(answer) for answer in episodes(seeds)]

        tier = self._tier
        if isinstance(tier, AgainstBaseline) and tier.tier == "sequential" and self._record is None:
            baseline = Baseline.read(tier.baseline)
            baseline.check_same(run)
            return judge_sequentially(baseline, ARM, outcomes, tier.block, tier.stopping_rule)
        answers = tuple(outcomes(suite.seeds))
        if len(answers) != len(suite.seeds):
            raise UsageError(f"asked for {len(suite.seeds)} episodes, got {len(answers)} outcomes")
        return self._judge(replace(run, outcomes={ARM: answers}))

    def _judge(self, run: Baseline) -> Judgement:
        match self._tier:
            case AboveBar(bar=bar, episodes=episodes, confidence=confidence):
                return judge_bar(run.outcomes, bar, episodes, confidence)
            case AgainstBaseline(baseline=path) if self._record is not None:
                return Judgement(True, False, update(path, run, add_machine=False))
            case AgainstBaseline(baseline=path, tier="paired") as tier:
                return judge_paired(Baseline.read(path), run, tier.rules, tier.require)
            case AgainstBaseline(baseline=path, tier="exact"):
                return _exactly(Baseline.read(path), run, path)
            case AgainstBaseline(baseline=path) as tier:
                return judge(Baseline.read(path), run, tier.rules, tier.require)


def _exactly(baseline: Baseline, run: Baseline, path: Path) -> Judgement:
    baseline.check_same(run)
    recorded = baseline.recorded(run.fingerprint)
    if recorded is None:
        raise NotRecorded(
            f"{path} holds no outcomes of this machine; record them with: "
            f"python scripts/baseline.py RUN {path.name} --add-machine --reason WHY"
        )
    return judge_exactly(recorded, run)


def _outcome(answer: bool | str) -> str:
    if isinstance(answer, str):
        if answer not in OUTCOMES:
            raise UsageError(f"an episode's outcome is {answer!r}; give True, False or one of: {', '.join(OUTCOMES)}")
        return answer
    return SUCCESS if answer else _FAILURE


def _fingerprint(more: Mapping[str, Any]) -> dict[str, Any]:
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    return {**fingerprint(threads=threads, renderer=os.environ.get("MUJOCO_GL", "")), **more}
