import json
from dataclasses import replace

import pytest

from act_eval.errors import RunFolderError, SuiteMismatch, UsageError
from act_eval.results.suites import Suite, differences, parse_seeds, warnings_about, warnings_about_starts

SUITE = Suite(
    env="act_eval/ConfuserPick-v0",
    kwargs={"confusers": 1, "image_size": (96, 96)},
    horizon=200,
    facts={"scene_hash": "ab12", "outcome_rules": 1},
    seeds=(3, 17, 4348884358902),
)


def test_a_suite_survives_json_with_its_hash():
    read = Suite.from_json(json.loads(json.dumps(SUITE.to_json())), "suite")
    assert read == SUITE
    assert read.hash == SUITE.hash


def test_the_hash_is_that_of_the_content_and_of_nothing_else():
    assert SUITE.hash == "f726d3717fce6c39"
    reordered = replace(SUITE, kwargs={"image_size": [96, 96], "confusers": 1})
    assert reordered.hash == SUITE.hash


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"env": "act_eval/Pick-v0"}, "suite.env: act_eval/ConfuserPick-v0 against act_eval/Pick-v0"),
        ({"kwargs": {"confusers": 2, "image_size": [96, 96]}}, "suite.kwargs.confusers: 1 against 2"),
        ({"horizon": 100}, "suite.horizon: 200 against 100"),
        ({"facts": {"scene_hash": "ab12", "outcome_rules": 2}}, "suite.facts.outcome_rules: 1 against 2"),
        ({"facts": {"scene_hash": "ab12"}}, "suite.facts.outcome_rules: 1 against (absent)"),
        ({"seeds": (3, 18, 4348884358902)}, "suite.seeds: entry 1 is 17 against 18"),
        ({"seeds": (3, 17)}, "suite.seeds: 3 entries against 2"),
    ],
)
def test_another_suite_is_refused_by_field(change: dict, line: str):
    other = replace(SUITE, **change)
    assert other.hash != SUITE.hash
    with pytest.raises(SuiteMismatch) as refusal:
        SUITE.check_same(other)
    assert str(refusal.value).splitlines()[1:] == [f"  {line}"]


def test_the_same_suite_is_accepted():
    SUITE.check_same(replace(SUITE))


def test_a_tampered_or_incomplete_file_is_refused():
    values = SUITE.to_json()
    with pytest.raises(RunFolderError, match=f"the recorded hash is '{SUITE.hash}'"):
        Suite.from_json({**values, "horizon": 150}, "suite")
    with pytest.raises(RunFolderError, match=r"suite is damaged: horizon is missing; the fields are env, kwargs"):
        Suite.from_json({k: v for k, v in values.items() if k != "horizon"}, "suite")
    with pytest.raises(RunFolderError, match=r"suite is damaged: colour is unknown; the fields are env, kwargs"):
        Suite.from_json(values | {"colour": 1}, "suite")


def test_a_suite_without_episodes_or_steps_is_refused():
    with pytest.raises(UsageError, match="at least one episode"):
        replace(SUITE, seeds=())
    with pytest.raises(UsageError, match="horizon of at least one step, got 0"):
        replace(SUITE, horizon=0)


def test_equal_numbers_of_different_kinds_differ():
    """`True == 1` in Python, but a flag that became a count is another configuration."""
    assert differences({"a": True}, {"a": 1}, "x") == ["x.a: true against 1"]
    assert differences({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, "x") == []


def test_repeated_seeds_and_starts_are_warned_of():
    assert warnings_about([1, 2, 3]) == []
    assert warnings_about([1, 2, 1, 1]) == ["2 of 4 episode seeds repeat another: these episodes are not independent"]
    assert warnings_about_starts(["a", "b"]) == []
    assert warnings_about_starts(["a", "b", "a"]) == [
        "only 2 distinct initial states in 3 episodes: the intervals are too narrow"
    ]


def test_seeds_are_parsed_or_refused():
    assert parse_seeds("3,17") == (3, 17)
    assert parse_seeds(" 5 ") == (5,)
    for text, entry in [("3,", "''"), ("3,-1", "'-1'"), ("1.5", "'1.5'"), ("9007199254740992", "'9007199254740992'")]:
        with pytest.raises(UsageError) as refusal:
            parse_seeds(text)
        assert f"got {entry} in" in str(refusal.value)
