"""What the page and the workflow on comparisons say exists."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from made_runs import make_run, outcomes

import act_eval
from act_eval.cli import main
from act_eval.comparison.findings import compare
from act_eval.comparison.formats import comparison_json
from act_eval.comparison.gate import AboveBar, AgainstBaseline
from act_eval.comparison.pairing import ConditionPair
from act_eval.comparison.sides import Side
from act_eval.comparison.verdicts import REQUIREMENTS, Rules, Verdict

DOCS = Path(act_eval.__file__).resolve().parent.parent / "docs"


def test_the_workflow_uses_commands_and_flags_that_exist(capsys: pytest.CaptureFixture[str]):
    commands = re.findall(r"act-eval (\w+) (.*)", (DOCS / "examples" / "success-rate.yml").read_text())
    assert {name for name, _ in commands} == {"evaluate", "compare", "baseline"}
    for name, arguments in commands:
        with pytest.raises(SystemExit) as left:
            main([name, "--help"])
        assert left.value.code == 0
        shown = capsys.readouterr().out
        flags = re.findall(r"--[\w-]+", arguments)
        assert flags
        assert not [flag for flag in flags if not re.search(rf"{flag}(?![\w-])", shown)]


def test_every_field_verdict_requirement_and_option_is_documented(tmp_path: Path):
    page = (DOCS / "comparing.md").read_text()
    base = Side.read(make_run(tmp_path / "a", {"d0": outcomes(5, 5)}))
    new = Side.read(make_run(tmp_path / "b", {"d0": outcomes(6, 4)}))
    values = comparison_json(compare(base, new, [ConditionPair("d0", "d0")], Rules(), "no-regression"))
    names = {*values, *values["conditions"][0]} - {"schema", "base_condition", "new_condition"}
    assert not [name for name in names if f"`{name}`" not in page]
    assert not [verdict for verdict in Verdict.__args__ if f"`{verdict}`" not in page]
    assert not [name for name in REQUIREMENTS if name not in page]
    gate = (DOCS / "regression.md").read_text()
    options = {field.name for kind in (AgainstBaseline, AboveBar) for field in fields(kind)}
    assert not [name for name in options if not re.search(rf"\b{name}=|`{name}`", gate)]
