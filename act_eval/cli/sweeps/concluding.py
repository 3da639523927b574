"""What is written, drawn and said of a sweep that has ended, or of a part of one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from act_eval.cli.sweeps.plan import PartPlan, Request
from act_eval.cli.sweeps.screen import env_table, sentences
from act_eval.results import Part as Shard
from act_eval.results.records import writing
from act_eval.results.run import read_run
from act_eval.sweeps import Analysis, Cell, Part, Setting, analyse, write_tables
from act_eval.sweeps.figures import write_figures
from act_eval.types import EpisodeRecord

Results = Mapping[str, Mapping[str, Sequence[EpisodeRecord]]]
"""Name of a run folder → arm → records."""


def conclude(request: Request, parts: Sequence[PartPlan], results: Results, console: Console) -> None:
    """Write tables and figures of a finished sweep into its folder, and show them.

    Raises:
        RunFolderError: if they cannot be written.
    """
    with writing(request.out):
        analysis = analyse([_part(part, results.get(part.job.folder.name, {})) for part in parts])
        write_tables(request.out, analysis, request.asked)
        figures = write_figures(request.out / "plots", analysis)
    _show(request.out, analysis, figures, console)


def conclude_part(out: Path, shard: Shard, results: Results, console: Console) -> None:
    """Say that a part is finished, and how the parts become a sweep. No table: a part is not what was asked for."""
    cells = [records for arms in results.values() for records in arms.values()]
    for line in (
        f"shard   {shard.text} is finished: {sum(map(len, cells))} episodes of {len(cells)} cells, "
        f"{out}/*/shards/{shard.name}.jsonl",
        f"When all {shard.count} are: this command without --shard makes the tables. Parts that lie in several folders "
        "become one before: act-eval merge SWEEP... --out OUT",
    ):
        console.print(line, markup=False)


def _show(out: Path, analysis: Analysis, figures: Sequence[Path], console: Console) -> None:
    for env in dict.fromkeys(part.env for part in analysis.parts if part.cells):
        console.print(env_table(analysis, env))
    for line in sentences(analysis):
        console.print(line, markup=False)
    console.print(
        f"results {out} (sweep.csv, sweep.json, comparisons.csv; a run folder per policy and environment)",
        markup=False,
    )
    console.print(f"plots   {out / 'plots'}: {', '.join(path.name for path in figures)}", markup=False)


def _part(plan: PartPlan, records: Mapping[str, Sequence[EpisodeRecord]]) -> Part:
    """Return a finished part, after writing what each of its arms comes to into its folder."""
    rules = {arm: series.rule for series in reversed(plan.expansion.series) for arm in series.arms}
    return Part(
        policy=plan.policy,
        env=plan.env,
        suite=plan.manifest.suite,
        control_s=plan.control_s,
        default_executor=plan.default_executor,
        cells={
            setting.arm: _cell(plan, setting, rules[setting.arm], records[setting.arm])
            for setting in plan.expansion.settings
        },
        series=plan.expansion.series,
        refused=plan.expansion.refused,
    )


def _cell(plan: PartPlan, setting: Setting, rule: str, records: Sequence[EpisodeRecord]) -> Cell:
    stored = read_run(plan.job.folder).conditions[setting.arm]
    measured = stored.episode_metrics

    def seconds(steps: int | None) -> float | None:
        return None if steps is None else steps * plan.control_s

    return Cell(
        policy=plan.policy,
        env=plan.env,
        setting=setting,
        rule=rule,
        records=tuple(records),
        metrics=stored.write_summary(),
        success_s=tuple(one.time_to_success_s for one in measured),
        informed_s=tuple(seconds(one.reaction_steps) for one in measured),
        turned_s=tuple(seconds(one.behavioural_reaction_steps) for one in measured),
    )
