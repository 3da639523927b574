"""A comparison as JUnit XML: one test case per arm, as continuous integration shows them."""

from xml.etree import ElementTree as ET

from act_eval.comparison.compare import ArmFinding, Comparison
from act_eval.comparison.wording import finding_text, headline, method_text

_CLASS = "act_eval.compare"


def comparison_junit(comparison: Comparison) -> str:
    """Return the document: an arm that does not meet the requirement is a failure, an open one an error."""
    suite = ET.Element("testsuite", _counts(comparison.findings))
    for finding in comparison.findings:
        case = ET.SubElement(suite, "testcase", {"classname": _CLASS, "name": _legal(finding.arms.name), "time": "0"})
        text = _legal(finding_text(finding, len(comparison.findings)))
        if finding.passed is not True:
            kind = ("error", "cannot say") if finding.passed is None else ("failure", "regression")
            ET.SubElement(case, kind[0], {"message": text, "type": kind[1]}).text = text
        ET.SubElement(case, "system-out").text = text
    lines = [headline(comparison.decision), method_text(comparison), *comparison.remarks]
    ET.SubElement(suite, "system-out").text = _legal("\n".join(lines))
    return _document(suite)


def refusal_junit(text: str) -> str:
    """Return the document of a comparison that could not be made: one error."""
    suite = ET.Element("testsuite", {"name": _CLASS, "tests": "1", "failures": "0", "errors": "1", "skipped": "0"})
    case = ET.SubElement(suite, "testcase", {"classname": _CLASS, "name": "comparable", "time": "0"})
    ET.SubElement(case, "error", {"message": _legal(text), "type": "not comparable"}).text = _legal(text)
    return _document(suite)


def _counts(findings: tuple[ArmFinding, ...]) -> dict[str, str]:
    passed = [finding.passed for finding in findings]
    numbers = {"tests": len(passed), "failures": passed.count(False), "errors": passed.count(None), "skipped": 0}
    return {"name": _CLASS, **{name: str(number) for name, number in numbers.items()}}


def _document(suite: ET.Element) -> str:
    suite.set("time", "0")
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


def _legal(text: str) -> str:
    """Drop what XML 1.0 cannot hold."""
    return "".join(
        c for c in text if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
    )
