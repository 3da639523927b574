"""The printed summary of a sweep: a table per environment, and a sentence per finding."""

from act_eval.results.tables import Table
from act_eval.stats import Interval
from act_eval.sweeps.analysis import Analysis, p_text
from act_eval.sweeps.comparisons import Comparison
from act_eval.sweeps.grid import PLAIN
from act_eval.sweeps.results import Cell


def env_tables(analysis: Analysis) -> list[Table]:
    """Return a table per environment that has cells."""
    envs = dict.fromkeys(run.env for run in analysis.runs if run.cells)
    return [_env_table(analysis, env) for env in envs]


def _env_table(analysis: Analysis, env: str) -> Table:
    """Return the table of an environment's cells, with the effects of delay, executor and variant.

    Effects are in percentage points of success, with the 95 % interval and the adjusted p-value. Empty columns are
    left out.
    """
    cells = [cell for run in analysis.runs if run.env == env for cell in run.cells.values()]
    changes = {
        header: {one.second.name: one for one in reversed(analysis.comparisons) if one.family == family}
        for header, family in (
            *(("against d = 0", "delay"), ("against", "executor"), ("against plain", "variant")),
            ("against unperturbed", "perturbation"),
        )
    }
    columns = {
        "policy": [cell.policy for cell in cells],
        "executor": [cell.setting.executor + str(cell.setting.variant) for cell in cells],
        "d": [str(cell.setting.delay) for cell in cells],
        "s": [str(cell.setting.execution_horizon) for cell in cells],
        "success, 95 % Wilson": [_rate(cell) for cell in cells],
        **{
            header: [_change(found.get(cell.name), header == "against") for cell in cells]
            for header, found in changes.items()
        },
    }
    filled = {header: values for header, values in columns.items() if any(values)}
    return Table(heads=tuple(filled), rows=tuple(zip(*filled.values(), strict=True)), title=env, keys=4)


def sentences(analysis: Analysis) -> list[str]:
    """Return one line per series, recovered share, environment, and cell with invalid episodes."""
    lines = [found.sentence() for found in analysis.trends]
    # A wrong delay estimate is compared with the right one; it is not expected to recover a loss.
    lines += [
        found.sentence()
        for found in analysis.recovered
        if found.other.setting.variant.delay_estimator == PLAIN.delay_estimator
    ]
    for env, falls in analysis.sensitive_environments().items():
        effect = "success falls with delay" if falls else "no fall with delay detected"
        lines.append(f"{env} under naive execution: {effect}")
    for cell in (cell for run in analysis.runs for cell in run.cells.values()):
        total, rate = len(cell.records), cell.rate
        if invalid := total - rate.trials:
            failed = f"{rate.successes}/{total} = {100 * rate.successes / total:.0f} %"
            lines.append(f"{cell.name}: {invalid} invalid episodes, excluded from the rate; as failures: {failed}")
    return lines


def _rate(cell: Cell) -> str:
    rate = cell.rate
    if not rate.trials:
        return "no valid episode"
    return f"{rate.successes}/{rate.trials} = {100 * rate.rate:.0f} % {_percent(rate.wilson())}"


def _change(comparison: Comparison | None, named: bool) -> str:
    if comparison is None:
        return ""
    against = f"{comparison.first.setting.executor}: " if named else ""
    return f"{against}{100 * comparison.difference:+.1f} {_percent(comparison.interval)}, p {p_text(comparison.p_holm)}"


def _percent(interval: Interval) -> str:
    return f"[{round(100 * interval.low)}, {round(100 * interval.high)}]"
