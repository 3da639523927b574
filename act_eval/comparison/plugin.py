"""The pytest plugin: marker `success_rate`, fixture `success_gate`, option `--success-rate-record`.

pytest imports this module at startup wherever act_eval is installed, so it imports only pytest until a test uses the
fixture.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from act_eval.comparison.gate import SuccessGate
    from act_eval.comparison.judging import Judgement

_MARKER = (
    "success_rate(*, baseline=FILE | bar=RATE, episodes=N, tier='recorded', require='no-regression', alpha=0.05, "
    "margin=0.05, block=10, confidence=0.95): requirement of the fixture success_gate on a run's success rate"
)
_OPTION = "success_rate_record"
_SECTION = "success rate"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that records instead of judging."""
    group = parser.getgroup("act_eval")
    group.addoption(
        "--success-rate-record",
        dest=_OPTION,
        metavar="REASON",
        default=None,
        help="record the runs of tests with the fixture success_gate as their new baselines, with this reason",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def success_gate(request: pytest.FixtureRequest) -> SuccessGate:
    """Judge a run's success rate by the test's marker `success_rate`; the test fails unless it passes."""
    marker = request.node.get_closest_marker("success_rate")
    if marker is None:
        pytest.fail("success_gate needs @pytest.mark.success_rate(baseline=FILE) or (bar=RATE, episodes=N)", False)
    from act_eval.comparison.gate import SuccessGate, tier_of
    from act_eval.errors import ActEvalError

    try:
        tier = tier_of(marker.args, marker.kwargs, request.node.path.parent)
    except ActEvalError as error:
        pytest.fail(str(error), False)
    return SuccessGate(tier, request.config.getoption(_OPTION), partial(_settle, request.node))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the text of every gate, also for passed tests."""
    lines = [
        f"{report.nodeid}: {text}"
        for outcome in ("passed", "failed", "skipped")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call"
        for name, text in report.user_properties
        if name == _SECTION
    ]
    if lines:
        terminalreporter.section(_SECTION)
        for line in lines:
            terminalreporter.write_line(line)


def _settle(node: pytest.Item, judge: Callable[[], Judgement]) -> Judgement:
    """Let a judgement or its refusal decide a test."""
    from act_eval.comparison.gate import NotRecorded
    from act_eval.errors import ActEvalError

    try:
        judgement = judge()
    except NotRecorded as error:
        pytest.skip(str(error))
    except ActEvalError as error:
        pytest.fail(str(error), False)
    node.user_properties.append((_SECTION, judgement.text))
    if not judgement.passed:
        pytest.fail(judgement.text, False)
    return judgement
