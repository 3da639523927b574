"""Whatever a JSON file holds, its reader gives a value or names the file and the field, in the error of its room."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_runs import make_run, outcomes

import act_eval.policies
from act_eval.comparison.baselines import Baseline
from act_eval.datasets import Demonstrations
from act_eval.datasets.cache import FrameCache, open_cache
from act_eval.decoding import JSON, build, decode, read_json
from act_eval.encoding import encode_line
from act_eval.errors import ActEvalError, CheckpointError, DatasetError, RunFolderError, TimingError, UsageError
from act_eval.policies.checkpoint import load_config
from act_eval.policies.pipeline import read_processor
from act_eval.policies.training_state import Progress
from act_eval.results import Manifest
from act_eval.results.records import read_episodes, read_timings
from act_eval.timing.parsing import read_trace

SHIPPED = Path(act_eval.policies.__file__).parent / "pretrained" / "act"
DEEP = "[" * 100_000 + "]" * 100_000
LONG = "9" * 5000


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Condition:
    delay: int
    rate: float = 0.5
    name: str | None = None

    def __post_init__(self) -> None:
        if self.delay < 0:
            raise UsageError(f"delay is {self.delay}; it must be at least 0")


@dataclass(frozen=True, kw_only=True)
class Content:
    conditions: Mapping[str, Condition]
    window: Literal["same", "shifted"]
    colour: Colour
    on: bool
    sizes: tuple[int, ...] = ()
    pair: tuple[int, str] = (0, "")
    seeds: Mapping[int, float | None]
    notes: JSON


VALUES: dict[str, Any] = {
    "conditions": {"rtc_d4": {"delay": 4, "rate": 1, "name": None}},
    "window": "same",
    "colour": "red",
    "on": True,
    "sizes": [1, 2],
    "pair": [1, "x"],
    "seeds": {"7": None, "18446744073709551615": 0.5},
    "notes": {"a": [1, None, {"b": "ü"}]},
}


def test_well_formed_values_become_the_annotated_types() -> None:
    assert decode(json.dumps(VALUES), Content, "x.json") == Content(
        conditions={"rtc_d4": Condition(4, 1, None)},
        window="same",
        colour=Colour.RED,
        on=True,
        sizes=(1, 2),
        pair=(1, "x"),
        seeds={7: None, 2**64 - 1: 0.5},
        notes={"a": [1, None, {"b": "ü"}]},
    )


def test_numbers_keep_their_kind_so_that_lines_are_written_again_as_they_were() -> None:
    line = '{"delay":4,"rate":1,"name":"ü"}\n'
    assert encode_line(decode(line, Condition, "x")) == json.dumps(json.loads(line), separators=(",", ":")) + "\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"conditions": {"rtc_d4": {"delay": "4", "rate": 1, "name": None}}},
            "conditions.rtc_d4.delay is '4'; it",
        ),
        ({"conditions": {"rtc_d4": {"delay": True, "rate": 1, "name": None}}}, "conditions.rtc_d4.delay is true; it"),
        (
            {"conditions": {"rtc_d4": {"delay": 4, "rate": 1}}},
            "conditions.rtc_d4.name is missing; the fields are",
        ),
        (
            {"conditions": {"a": {"delay": -1, "rate": 1, "name": None}}},
            "x.json: conditions.a: delay is -1; it must",
        ),
        ({"conditions": {"a\n": 3}}, r"conditions.'a\n' is 3; it must be an object (the fields are delay, rate, name)"),
        ({"window": "other"}, "window is 'other'; it must be one of 'same', 'shifted'"),
        ({"colour": 3}, "colour is 3; it must be one of 'red', 'blue'"),
        ({"on": 1}, "on is 1; it must be true or false"),
        ({"sizes": [1, 2.0]}, "sizes[1] is 2.0; it must be a whole number"),
        ({"sizes": 10**25}, "sizes is 10000000000000000000000000; it must be a list"),
        ({"sizes": [2**64]}, "sizes[0] is 18446744073709551616; it must be a whole number"),
        ({"pair": [1]}, "pair is a list with 1 entries; it must be a list of 2 entries"),
        ({"seeds": {"x": None}}, "seeds.x has a name that is not a whole number"),
        ({"seeds": {"07": None}}, "seeds.07 has a name that is not a whole number"),
        ({"seeds": {"7": "x" * 99}}, f"seeds.7 is '{'x' * 57}'…; it must be a finite number or null"),
        ({"notes": None}, "notes is null; it must be an object"),
        ({"notes": {"a": [1, float("nan")]}}, "notes.a[1] is NaN; it must be a finite number"),
        ({"notes": {"a": "\ud800"}}, r"notes.a is '\ud800'; it must be text"),
        ({"unknown": 3}, "unknown is unknown; the fields are conditions, window"),
    ],
)
def test_the_field_its_value_and_what_was_expected_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TimingError) as refusal:
        decode(json.dumps(VALUES | change), Content, "x.json", TimingError)
    assert message in str(refusal.value)
    assert str(refusal.value).startswith("x.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not JSON"),
        (b'{"delay": 4', "not JSON"),
        (b'{"delay": 4, "rate": 1, "name": null} 3', "not JSON"),
        (b'\xef\xbb\xbf{"delay": 4}', "byte order mark"),
        (b'{"delay": 4, "name": "\xff"}', "not JSON"),
        ('{"delay": 4}'.encode("utf-16"), "not JSON"),
        (f'{{"delay": {LONG}}}'.encode(), "delay is a whole number of 5000 digits; it must be a whole number"),
        (f'{{"delay": 4, "rate": {LONG}}}'.encode(), "rate is a whole number of 5000 digits; it must be a finite"),
        (f'{{"delay": 4, "name": {DEEP}}}'.encode(), "nested too deeply"),
        (b'{"delay": 4, "rate": 1e999}', "rate is no finite number"),
        (b'{"delay": 4, "rate": -Infinity}', "rate is no finite number"),
        (b'{"delay": 4, "rate": NaN}', "rate is NaN"),
        (b'{"delay": 4, "delay": 5}', "delay is given twice"),
        (b'{"delay": 4, "name": "\\ud800"}', "name is '\\ud800'; it must be text or null"),
        (b'{"rate": 4}', "delay is missing; the fields are delay, rate, name"),
        (b"[]", "it is a list with 0 entries; it must be an object"),
        (b"null", "it is null; it must be an object"),
    ],
)
def test_texts_of_every_kind_of_damage_are_named(text: bytes, message: str) -> None:
    with pytest.raises(RunFolderError) as refusal:
        decode(text, Condition, "x.json", use_defaults=True)
    assert message in str(refusal.value)
    assert str(refusal.value).startswith("x.json is damaged: ")


def test_foreign_files_may_hold_more_and_ours_may_not() -> None:
    text = '{"delay": 4, "theirs": [NaN, {"a": 1}]}'
    assert decode(text, Condition, "x", ignore_unknown=True, use_defaults=True) == Condition(4)
    with pytest.raises(RunFolderError, match="theirs is unknown"):
        decode(text, Condition, "x", use_defaults=True)


@given(st.integers(65, 900))
def test_open_sections_nest_so_far_and_no_further(levels: int) -> None:
    decode('{"a": ' + "[" * 60 + "]" * 60 + "}", JSON, "x")
    with pytest.raises(RunFolderError, match=r"is nested too deeply|nested too deeply; at most 64 levels"):
        decode('{"a": ' + "[" * levels + "]" * levels + "}", JSON, "x")


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([2**70, 10**400, "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*VALUES, "else"]), _ANY))
def test_any_values_are_built_or_named(change: dict[str, Any]) -> None:
    text = _error_of(lambda: build(Content, VALUES | change, "x.json", TimingError), TimingError)
    assert text is None or text.startswith("x.json")


@given(_ANY)
def test_what_is_read_in_an_open_section_can_be_written(value: Any) -> None:
    try:
        found = build(JSON, {"a": value}, "x")
    except RunFolderError:
        return
    assert decode(encode_line(found), JSON, "x") == found


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    for path, text in (
        (tmp_path / "none.json", "none.json is missing"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "a\0b", "cannot be read"),
    ):
        with pytest.raises(CheckpointError, match=text):
            read_json(path, JSON, CheckpointError)


@dataclass(frozen=True)
class Format:
    """A file that the product reads, with the field that is damaged (a path of keys) and the error of its room."""

    file: str
    read: Callable[[Path], Any]
    field: tuple[Any, ...]
    error: type[ActEvalError]
    lines: bool = False


FORMATS = {
    "manifest": Format("run/manifest.json", lambda r: Manifest.read(r / "run"), ("suite", "horizon"), RunFolderError),
    "episodes": Format(
        "run/d0/episodes.jsonl",
        lambda r: read_episodes(r / "run/d0/episodes.jsonl"),
        ("steps",),
        RunFolderError,
        lines=True,
    ),
    "timings": Format(
        "run/d0/timings.jsonl",
        lambda r: read_timings(r / "run/d0/timings.jsonl"),
        ("wall_s",),
        RunFolderError,
        lines=True,
    ),
    "trace": Format("trace.json", lambda r: read_trace(r / "trace.json"), ("episodes", "7"), TimingError),
    "baseline": Format("base.json", lambda r: Baseline.read(r / "base.json"), ("outcomes", "d0"), RunFolderError),
    "config": Format("policy/config.json", lambda r: load_config(r / "policy"), ("dim_model",), CheckpointError),
    "processor": Format(
        "policy/policy_preprocessor.json",
        lambda r: read_processor(r / "policy", load_config(r / "policy")),
        ("steps",),
        CheckpointError,
    ),
    "progress": Format(
        "progress.json", lambda r: read_json(r / "progress.json", Progress, CheckpointError), ("step",), CheckpointError
    ),
    "info": Format("set/meta/info.json", lambda r: Demonstrations(r / "set"), ("features",), DatasetError),
    "stats": Format(
        "set/meta/stats.json", lambda r: Demonstrations(r / "set").stats(), ("action", "mean"), DatasetError
    ),
    "cache": Format("cached/contents.json", lambda r: FrameCache(r / "cached"), ("shapes", "action"), DatasetError),
}
OF_FIELDS = {
    "null": "null",
    "true": "true",
    "text": '"x"',
    "NaN": "NaN",
    "Infinity": "Infinity",
    "out of range": "1e999",
    "5,000 digits": LONG,
    "lone surrogate": '"\\ud800"',
    "wrong kind": '{"a": {"b": []}, "c": "d"}',
}
OF_FILES: dict[str, Callable[[bytes], bytes]] = {
    "byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "no UTF-8": lambda content: content.replace(b'"', b'"\xff', 1),
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "list": lambda content: b"[3, 4]\n",
    "null": lambda content: b"null\n",
    "too deep": lambda content: DEEP.encode() + b"\n",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, make_demos: Callable[..., Any]) -> Path:
    """One undamaged file of every format."""
    root = tmp_path_factory.mktemp("formats")
    make_run(root / "run", {"d0": outcomes(3, 2)})
    Baseline.of_run(root / "run", "made").write(root / "base.json")
    (root / "trace.json").write_text(json.dumps({"steps": [1, 2, None], "episodes": {"7": [1, None], "8": [3]}}))
    (root / "progress.json").write_text(json.dumps({"step": 3, "seconds": 1.5}))
    shutil.copytree(SHIPPED, root / "policy", ignore=shutil.ignore_patterns("model.safetensors"))
    make_demos(root / "set")
    open_cache(Demonstrations(root / "set"), root / "caches").folder.rename(root / "cached")
    return root


def _error_of(read: Callable[[], Any], error: type[ActEvalError]) -> str | None:
    try:
        read()
    except error as refusal:
        return str(refusal).encode().decode()
    return None


def _changed(content: bytes, form: Format, change: Callable[[Any, Any], None]) -> bytes:
    """Return the content of a file, changed where its field is; `@` marks what is replaced as text."""
    first, newline, rest = content.partition(b"\n") if form.lines else (content, b"", b"")
    values = json.loads(first)
    parent = values
    for key in form.field[:-1]:
        parent = parent[key]
    change(parent, form.field[-1])
    return json.dumps(values).encode() + newline + rest


def _check(form: Format, root: Path, content: bytes, *named: str) -> None:
    path = root / form.file
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        with pytest.raises(form.error) as refusal:
            form.read(root)
    finally:
        path.write_bytes(before)
    text = str(refusal.value)
    assert path.name in text
    assert len(text) < 2000
    for word in named:
        assert word in text


@pytest.mark.parametrize("name", FORMATS)
def test_undamaged_files_are_read(files: Path, name: str) -> None:
    FORMATS[name].read(files)


@pytest.mark.parametrize("damage", OF_FIELDS)
@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_field_is_named(files: Path, name: str, damage: str) -> None:
    form = FORMATS[name]
    content = (files / form.file).read_bytes()
    marked = _changed(content, form, lambda parent, key: parent.__setitem__(key, "@damage@"))
    _check(form, files, marked.replace(b'"@damage@"', OF_FIELDS[damage].encode()), str(form.field[-1]))


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"processor", "config", "trace", "baseline", "stats"}))
def test_a_missing_field_is_named(files: Path, name: str) -> None:
    form = FORMATS[name]
    _check(form, files, _changed((files / form.file).read_bytes(), form, lambda parent, key: parent.pop(key)))


@pytest.mark.parametrize("name", ["manifest", "episodes", "timings", "progress"])
def test_an_unknown_field_is_named(files: Path, name: str) -> None:
    form = FORMATS[name]
    content = (files / form.file).read_bytes()
    _check(form, files, _changed(content, form, lambda parent, key: parent.update(unheard_of=3)), "unheard_of")


@pytest.mark.parametrize("name", FORMATS)
def test_a_field_that_is_given_twice_is_named(files: Path, name: str) -> None:
    form = FORMATS[name]
    key = str(form.field[0])
    content = (files / form.file).read_bytes()
    _check(form, files, content.replace(b"{", f'{{"{key}": 1, '.encode(), 1), f"{key} is given twice")


@pytest.mark.parametrize("damage", OF_FILES)
@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_named(files: Path, name: str, damage: str) -> None:
    form = FORMATS[name]
    if damage == "list" and name == "trace":  # a list of delays is a trace
        return
    _check(form, files, OF_FILES[damage]((files / form.file).read_bytes()))


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_value_in_a_field_is_read_or_named(files: Path, name: str, data: st.DataObject) -> None:
    form = FORMATS[name]
    path = files / form.file
    before = path.read_bytes()
    value = data.draw(_ANY)
    path.write_bytes(_changed(before, form, lambda parent, key: parent.__setitem__(key, value)))
    try:
        text = _error_of(lambda: form.read(files), form.error)
    finally:
        path.write_bytes(before)
    assert text is None or path.name in text


@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_in_the_place_of_a_file_is_named(files: Path, name: str) -> None:
    form = FORMATS[name]
    path = (files / form.file).resolve()
    before = path.read_bytes()
    path.unlink()
    path.mkdir()
    try:
        with pytest.raises(form.error, match=path.name):
            form.read(files)
    finally:
        path.rmdir()
        path.write_bytes(before)
