"""A robustness run: every axis and severity beside the unperturbed conditions, and videos of its worst episodes."""

import re
from collections.abc import Sequence
from dataclasses import replace

from act_eval.config import EvaluateConfig
from act_eval.errors import UsageError
from act_eval.evaluation.finish import FinishedRun
from act_eval.evaluation.reporter import Reporter
from act_eval.evaluation.run import FinishedShard, evaluate
from act_eval.launch import Local
from act_eval.perturbations.base import SEVERITIES
from act_eval.report import write_report
from act_eval.results.run import read_run
from act_eval.sources.replay_env import replaying_env, title_of
from act_eval.video import SMALL
from act_eval.video.again import Shot, film_again, shots

MOST_SHOWN = 3
"""Perturbed conditions whose video is beside the twin's, of each of the worst episodes."""


def perturbations_of(axes: Sequence[str], severities: Sequence[int]) -> tuple[str, ...]:
    """Return every axis at every severity, as `--perturb` takes them.

    Raises:
        UsageError: if there is no axis or no severity, or one that does not exist.
    """
    if not axes or not severities:
        raise UsageError("--axes and --severities need at least one value each, as in --axes light blur --severities 3")
    if wrong := [one for one in severities if one not in SEVERITIES]:
        raise UsageError(f"--severities has {wrong[0]}; allowed: {', '.join(map(str, SEVERITIES))}")
    if wrong := [one for one in axes if re.search(r"=\d[\d,]*$", one)]:
        raise UsageError(f"--axes {wrong[0]}: an axis stands alone here; --severities says how strong")
    levels = ",".join(map(str, severities))
    return tuple(f"{axis}={levels}" for axis in axes)


def evaluate_robustness(config: EvaluateConfig, reporter: Reporter) -> FinishedRun | FinishedShard:
    """Evaluate a config with perturbations; render the worst episodes beside their twins if no videos were recorded.

    Raises:
        ActEvalError: as `evaluate`.
        Interrupted: as `evaluate`.
    """
    found = evaluate(config, reporter)
    if isinstance(found, FinishedShard) or found.robustness is None or config.video != "none":
        return found
    if not found.manifest.replayable:
        reporter.line("videos of the worst episodes: this environment cannot show logged states; --video all records")
        return found
    asked = _worst(found)
    workers = max(1, min(config.workers or Local().cores(), len(asked)))
    with reporter.phase(f"{len(asked)} videos of the worst episodes") as count:
        for done, (shot, problem) in enumerate(film_again(asked, workers)):
            if problem is not None:
                reporter.line(f"not rendered: {shot.path.name}: {problem}")
            count(done + 1, len(asked))
    page = write_report([found.folder], found.folder)
    return replace(found, page=page)


def _worst(found: FinishedRun) -> list[Shot]:
    """Return the missing videos of the worst episodes: the twin's, and those of some perturbed conditions."""
    run = read_run(found.folder)
    assert found.robustness is not None
    asked, title = list[Shot](), title_of(run.manifest)
    for condition, episodes in found.robustness.worst_conditions(MOST_SHOWN).items():
        left = [episode for episode in episodes if episode not in run.conditions[condition].videos]
        if left:
            numbers = ",".join(map(str, left))
            asked += shots(run, replaying_env, title, conditions=[condition], episodes=numbers, size=SMALL)
    return asked
