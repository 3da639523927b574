"""The sentences that every form of a comparison shares: screen, Markdown, JUnit."""

import shlex

from act_eval.comparison.compare import ArmFinding, Comparison, Decision
from act_eval.comparison.selection import ArmSelection, Selection
from act_eval.stats import SuccessRate

PASSED, FAILED, REFUSED = "PASS", "FAIL", "CANNOT SAY"


def headline(decision: Decision) -> str:
    """Return the decision in a line."""
    word = {True: PASSED, False: FAILED, None: REFUSED}[decision.passed]
    return f"{word} --require {decision.requirement}: {decision.reason}"


def rate_text(rate: SuccessRate) -> str:
    """Return a rate with its counts, as in `41/50 = 0.82`."""
    return f"{rate.successes}/{rate.trials} = {rate.rate:.2f}" if rate.trials else "0/0"


def difference_text(finding: ArmFinding) -> str:
    """Return the difference with its interval, as in `-0.06 [-0.14, 0.01]`."""
    return f"{finding.difference:+.2f} {finding.interval}" if finding.base.trials and finding.new.trials else "–"


def p_text(p_value: float) -> str:
    """Return a p-value, as in `0.031`."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def p_values_text(finding: ArmFinding, arms: int) -> str:
    """Return the p-value, with its adjustment where there are several arms."""
    found = finding.assessment
    return p_text(found.p_value) if arms == 1 else f"{p_text(found.p_value)}, Holm {p_text(found.adjusted)}"


def method_text(comparison: Comparison) -> str:
    """Return how the figures were made."""
    rules, arms = comparison.rules, len(comparison.findings)
    how = "paired by episode seed; exact McNemar" if rules.paired else "different episodes; Barnard's exact test"
    family = "" if arms == 1 else f", Holm over {arms} arms"
    level = f"{100 * (1 - rules.alpha):g}"
    return f"{how}{family}, level {rules.alpha:g}; Newcombe {level}% interval of NEW - BASE; margin {rules.margin:g}"


def finding_text(finding: ArmFinding, arms: int) -> str:
    """Return one arm's finding in a line."""
    pairs = finding.pairs
    counted = f"{pairs.only_first} lost, {pairs.only_second} won, " if pairs else ""
    doubt = f" ({finding.doubt})" if finding.doubt else ""
    return (
        f"{finding.arms.name}: BASE {rate_text(finding.base)}, NEW {rate_text(finding.new)}, difference "
        f"{difference_text(finding)}, {counted}p {p_values_text(finding, arms)}: {finding.verdict}{doubt}; "
        f"{finding.detectable()}"
    )


def selection_lines(selection: Selection) -> list[str]:
    """Return what is to be said of several checkpoints, beside their table."""
    lines = [_mean_text(arm, len(selection.runs)) for arm in selection.arms]
    best = selection.runs[selection.best].place
    if selection.held_out is None:
        lines.append(
            f"warning: the rate of the best of {len(selection.runs)} on the episodes that chose it is biased upwards; "
            f"report the mean, or evaluate the chosen one ({best}) again with --held-out and name that run here "
            "with --held-out"
        )
        return lines
    chosen = selection.runs[selection.held_out.chosen].place
    for arm, rate in selection.held_out.rates.items():
        lines.append(f"{arm}: held out, {chosen}: {rate.describe()}: the number to report for this checkpoint")
    return lines


def _mean_text(arm: ArmSelection, count: int) -> str:
    return (
        f"{arm.arm}: mean over {count} checkpoints {arm.mean:.3f}, standard deviation {arm.spread:.3f}; if all were "
        f"equally good, the best would still lie {arm.luck:.3f} above the mean by luck, and at least as high as here "
        f"with a chance of {arm.chance:.2f}"
    )


def side_by_side(comparison: Comparison) -> str | None:
    """Return the command that shows flipped seeds side by side; None where there are none, or nothing to show."""
    folders = dict.fromkeys(results.folder for results in (comparison.base, comparison.new))
    if None in folders or not any(finding.flips for finding in comparison.findings):
        return None
    return shlex.join(["python", "scripts/report.py", *map(str, folders)])
