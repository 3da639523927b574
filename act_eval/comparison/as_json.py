"""A comparison, a noise floor and a selection as JSON values; the fields are documented in docs/comparing.md."""

from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from act_eval.comparison.compare import ArmFinding, Comparison, Flip
from act_eval.comparison.noise import NoiseFloor
from act_eval.comparison.results import Results
from act_eval.comparison.selection import Selection
from act_eval.stats import PairedTable, SuccessRate

SCHEMA = 1


def comparison_json(comparison: Comparison, noise: Sequence[NoiseFloor] = ()) -> dict[str, Any]:
    """Return everything that a comparison found."""
    decision, rules = comparison.decision, comparison.rules
    return {
        "schema": SCHEMA,
        "base": _results(comparison.base),
        "new": _results(comparison.new),
        "rules": asdict(rules),
        "decision": {"require": decision.requirement, "passed": decision.passed, "reason": decision.reason},
        "arms": [_finding(finding) for finding in comparison.findings],
        "remarks": list(comparison.remarks),
        "noise_floor": [noise_json(floor) for floor in noise],
    }


def noise_json(floor: NoiseFloor) -> dict[str, Any]:
    """Return a noise floor."""
    return {**asdict(floor), "rates": [_rate(rate) for rate in floor.rates]}


def selection_json(selection: Selection) -> dict[str, Any]:
    """Return what several checkpoints did."""
    held_out = selection.held_out
    return {
        "schema": SCHEMA,
        "checkpoints": [_results(run) for run in selection.runs],
        "best": selection.best,
        "arms": [{**asdict(arm), "rates": [_rate(rate) for rate in arm.rates]} for arm in selection.arms],
        "held_out": held_out
        and {
            **_results(held_out.results),
            "chosen": held_out.chosen,
            "rates": {arm: _rate(rate) for arm, rate in held_out.rates.items()},
        },
    }


def _finding(finding: ArmFinding) -> dict[str, Any]:
    found = finding.assessment
    return {
        "base_arm": finding.arms.base,
        "new_arm": finding.arms.new,
        "verdict": finding.verdict,
        "doubt": finding.doubt,
        "passed": finding.passed,
        "base": _rate(finding.base),
        "new": _rate(finding.new),
        "difference": _number(finding.difference),
        "interval": list(found.interval),
        "p_value": found.p_value,
        "p_adjusted": found.adjusted,
        "test": "exact McNemar" if isinstance(found.table, PairedTable) else "Barnard",
        "pairs": asdict(finding.pairs) if finding.pairs else None,
        "invalid": list(finding.invalid),
        "detectable_drop": finding.detectable_drop,
        "detectable_gain": finding.detectable_gain,
        "migration": [{"base": b, "new": n, "episodes": count} for (b, n), count in finding.migration.items()],
        "flips": [_flip(flip) for flip in finding.flips],
    }


def _flip(flip: Flip) -> dict[str, Any]:
    clips = {"base_video": flip.base_clip, "new_video": flip.new_clip}
    return {
        "episode": flip.episode,
        "seed": flip.seed,
        "base": flip.base,
        "new": flip.new,
        **{name: clip.path.as_posix() if clip.path else None for name, clip in clips.items()},
    }


def _results(results: Results) -> dict[str, Any]:
    return {
        "place": results.place,
        "policy": dict(results.policy),
        "suite": results.suite.hash,
        "env": results.suite.env,
        "episodes": len(results.suite.seeds),
    }


def _rate(rate: SuccessRate) -> dict[str, Any]:
    interval = list(rate.wilson())
    return {"successes": rate.successes, "trials": rate.trials, "rate": _number(rate.rate), "wilson_95": interval}


def _number(value: float) -> float | None:
    return value if isfinite(value) else None
