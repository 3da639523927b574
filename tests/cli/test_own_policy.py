"""`--policy module:factory`: what a user writes runs, its faults are named, and what it remembers stays its own."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import act_eval
from act_eval.cli import main
from act_eval.results.records import read_episodes

ROOT = Path(act_eval.__file__).resolve().parent.parent
SMALL = [
    "--env",
    "pick",
    "--image-size",
    "32",
    "--seeds",
    "3,17,21",
    "--delay",
    "0",
    "--workers",
    "1",
    "--video",
    "none",
]
SOURCE = '''
import numpy as np
from act_eval.errors import UsageError
from act_eval.types import ActionChunks, PolicySpec

EVERYTHING = {"observation.state": (6,), "observation.environment_state": (2,), "observation.images.wrist": (32, 32, 3)}


class Sway:
    """Remembers its episode: the seed decides the first step, the count the others."""

    chunk, action_dim = 8, 6
    inputs = EVERYTHING
    made = []

    def __init__(self, amount=0.1, checkpoint=None):
        self.amount = amount
        Sway.made.append(self)

    def reset(self, seed):
        self.rng = np.random.default_rng(seed)

    def predict(self, observation):
        assert observation["observation.images.wrist"].dtype == np.uint8
        assert {k: v.shape for k, v in observation.items()} == EVERYTHING
        state = observation["observation.state"]
        return state + self.amount * self.rng.normal(size=(8, 6))


class Hold:
    chunk, action_dim, inputs = 4, 6, {"observation.state": (6,)}
    version = "7"

    def predict(self, observation):
        return np.repeat(observation["observation.state"][None], 4, axis=0)


class Whole:
    """The full protocol."""

    spec = PolicySpec(chunk=6, action_dim=6, window="shifted", takes_prefix=True, max_delay=2,
                      inputs={"observation.state": (6,)})

    def reset(self, rows, seeds):
        pass

    def predict(self, request):
        return ActionChunks(np.repeat(request.observation.agent_pos[:, None], 6, axis=1))


class Failing(Hold):
    def __init__(self, how):
        self.how = how

    def predict(self, observation):
        actions = super().predict(observation)
        match self.how:
            case "raise":
                raise ZeroDivisionError("in the middle")
            case "nan":
                return actions * np.nan
            case "shape":
                return actions[1:]
            case "text":
                return "left"


class Bare:
    chunk = 3


def broken():
    raise KeyError("weights.pt")


def odd():
    return Hold.__new__(type("Odd", (Hold,), {"inputs": {"image": (3,)}}))


number = 7
'''


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's folder with his module, as working directory."""
    path = tmp_path / "mine_at_home.py"
    path.write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield path
    sys.modules.pop("mine_at_home", None)


def documented(name: str) -> str:
    """Return the block of docs/own-policy.md that defines a class."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "own-policy.md").read_text(), re.DOTALL)
    (found,) = [block for block in blocks if f"class {name}" in block]
    return found


def evaluate(out: str, *arguments: object, seeds: str = "3") -> int:
    return main(["evaluate", *SMALL, "--seeds", seeds, "--no-probe", "--out", out, *map(str, arguments)])


def policy_of(run: str) -> dict:
    return json.loads((Path(run) / "manifest.json").read_text())["configuration"]["policy"]


def lines(run: str) -> str:
    (path,) = Path(run).glob("*/episodes.jsonl")
    return path.read_text()


def test_a_policy_that_remembers_is_the_same_beside_any_neighbours():
    sway = ["--policy", "mine_at_home:Sway", "--policy-options", "amount=0.02"]
    assert evaluate("alone", *sway, "--batch", 1, seeds="3,17") == 0
    alone = len(sys.modules["mine_at_home"].Sway.made)
    assert evaluate("beside", *sway, "--batch", 2, seeds="3,17") == 0
    beside = len(sys.modules["mine_at_home"].Sway.made) - alone
    assert lines("alone") == lines("beside")
    assert (alone, beside) == (1, 2), "one for each slot, the first one included"
    assert evaluate("other", "--policy", "mine_at_home:Sway", "--policy-options", "amount=0.2", seeds="3,17") == 0
    assert lines("other") != lines("alone")


def test_the_whole_protocol_runs_with_prefix_and_delay(capsys: pytest.CaptureFixture[str]):
    assert evaluate("run", "--policy", "mine_at_home:Whole", "--delay", 2) == 0
    assert "Whole: chunk C = 6, shifted window, prefix of up to 2" in capsys.readouterr().out
    assert [record.outcome for record in read_episodes(Path("run/rtc_d2_s3/episodes.jsonl"))] == ["timeout"]


@pytest.mark.parametrize(("name", "options"), [("Reach", ["--policy-options", "gain=0.1"]), ("Follow", [])])
def test_the_documented_examples_run(name: str, options: list[str], monkeypatch: pytest.MonkeyPatch):
    Path("my_policy.py").write_text(documented(name))
    monkeypatch.delitem(sys.modules, "my_policy", raising=False)
    command = ["evaluate", "--policy", f"my_policy:{name}", *options, "--env", "pick", "--seeds", "3", "--no-probe"]
    assert main([*command, "--delay", "2", "--workers", "1", "--video", "none", "--out", "run"]) == 0
    (path,) = Path("run").glob("*/episodes.jsonl")
    assert [record.outcome for record in read_episodes(path)] in (["timeout"], ["missed"])
    del sys.modules["my_policy"]


def test_the_manifest_tells_code_options_and_files_apart(module: Path):
    Path("a.txt").write_text("1")
    runs = {
        "plain": (),
        "option": ("--policy-options", "amount=0.2"),
        "file": ("--policy-options", "checkpoint=a.txt"),
    }
    for run, options in runs.items():
        assert evaluate(run, "--policy", "mine_at_home:Sway", *options) == 0
    Path("a.txt").write_text("2")
    assert evaluate("other file", "--policy", "mine_at_home:Sway", *runs["file"]) == 0
    module.write_text(SOURCE + "\n# changed\n")
    assert evaluate("other code", "--policy", "mine_at_home:Sway") == 0
    digests = [policy_of(run)["digest"] for run in (*runs, "other file", "other code")]
    assert len(set(digests)) == 5
    assert evaluate("version", "--policy", "mine_at_home:Hold") == 0
    assert policy_of("version")["version"] == "7"
    assert policy_of("version")["factory"] == "mine_at_home:Hold"


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("raise", "ZeroDivisionError: in the middle"),
        ("nan", "non-finite action: nan at index 0, dimension 0"),
        ("shape", r"shape \(1, 3, 6\), expected \(1, 4, 6\)"),
        ("text", "actions of type <U4, expected floating-point numbers"),
    ],
)
def test_its_faults_are_failed_episodes(how: str, text: str):
    assert evaluate("run", "--policy", "mine_at_home:Failing", "--policy-options", f"how={how}") == 1
    (path,) = Path("run").glob("*/episodes.jsonl")
    assert len(read_episodes(path)) == 1
    for record in read_episodes(path):
        assert record.outcome == "policy_error"
        assert record.error is not None
        assert re.search(text, record.error)


@pytest.mark.parametrize(
    ("policy", "options", "text"),
    [
        ("nowhere:make", [], "--policy nowhere:make: there is no module 'nowhere', neither installed nor in /"),
        ("mine_at_home:Missing", [], "mine_at_home has no 'Missing'; it has .*Hold"),
        ("mine_at_home:number", [], "number is not callable, it is a int"),
        ("mine_at_home:Bare", [], "made a Bare without action_dim, inputs, predict.observation.; a policy has chunk"),
        ("mine_at_home:broken", [], r"raised KeyError: 'weights.pt' \(.*mine_at_home.py, line \d+\)"),
        ("mine_at_home:odd", [], r"inputs are some of observation.state, .*, got \['image'\]"),
        ("mine_at_home:Sway", ["size=3"], r"calling it with \(size=3\) raised TypeError: .*'size'"),
        ("mine_at_home:Sway", ["size"], "--policy-options 'size': expected NAME=VALUE"),
        ("mine_at_home:Sway", ["a=1", "a=2"], "--policy-options gives 'a' twice"),
        ("act_rtc", ["a=1"], "--policy-options are for module:factory, lerobot:FOLDER and servers; 'act_rtc'"),
        ("expert", ["a=1"], "the expert takes no --policy-options"),
    ],
)
def test_what_does_not_run_is_named(policy: str, options: list[str], text: str, capsys: pytest.CaptureFixture[str]):
    given = ["--policy-options", *options] if options else []
    assert evaluate("run", "--policy", policy, *given) == 2
    error = capsys.readouterr().err
    assert re.search(text, error)
    assert "Traceback" not in error


@pytest.mark.parametrize("flag", [("--device", "cpu"), ("--compile", "off"), ("--rows-per-call", "2")])
def test_flags_about_a_checkpoints_network_are_refused(flag: tuple[str, str], capsys: pytest.CaptureFixture[str]):
    for policy in ("mine_at_home:Hold", "ws://127.0.0.1:1"):
        assert evaluate("run", "--policy", policy, *flag) == 2
        assert f"{flag[0]} is about a checkpoint's network; {policy} runs as its own" in capsys.readouterr().err


def test_an_import_that_fails_inside_names_what_is_missing(module: Path, capsys: pytest.CaptureFixture[str]):
    module.write_text("import not_there_at_all\n")
    assert evaluate("run", "--policy", "mine_at_home:Hold") == 2
    assert "module 'mine_at_home' needs 'not_there_at_all', which is not installed" in capsys.readouterr().err
    sys.modules.pop("mine_at_home", None)
    module.write_text("def broken(:\n")
    assert evaluate("run", "--policy", "mine_at_home:Hold") == 2
    assert "module 'mine_at_home' cannot be imported: SyntaxError" in capsys.readouterr().err


def test_it_can_be_probed_and_swept(capsys: pytest.CaptureFixture[str]):
    assert main(["probe", "--policy", "mine_at_home:Hold", "--short", "--env", "pick", "--episodes", "2"]) in (0, 3)
    grid = [
        "--envs",
        "pick",
        "--image-size",
        "32",
        "--delays",
        "0",
        "1",
        "--execution-horizon",
        "2",
        "--executors",
        "naive",
    ]
    assert (
        main(["sweep", "--policies", "mine_at_home:Hold", *grid, "--episodes", "1", "--workers", "1", "--out", "s"])
        == 0
    )
    assert (Path("s") / "Hold_pick" / "manifest.json").is_file()
