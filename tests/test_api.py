"""The front door from Python: what a script or a notebook calls, without console and without a guard."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import act_eval
from act_eval.errors import TimingError, UnknownName, UsageError
from act_eval.evaluation.reporter import EpisodeProgress, Silent
from act_eval.progress import Tally
from act_eval.run import Run
from act_eval.timing import Constant
from act_eval.types import EpisodeRecord

QUICK: dict[str, Any] = {"image_size": 32, "video": "none", "probe": False, "compile": "off"}
SCRIPT = """
import act_eval
run = act_eval.evaluate("expert", "pick", episodes=4, image_size=32, video="none", workers=2, out={out!r})
print(sum(len(one.records) for one in run.conditions.values()), "episodes")
"""


class Recorder(Silent):
    """A reporter that keeps what it receives."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps = 0
        self.amounts: list[float] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    @contextmanager
    def episodes(
        self, finished: Mapping[str, Sequence[EpisodeRecord]], episodes: int, horizons: Mapping[str, int]
    ) -> Iterator[EpisodeProgress]:
        tally, recorder = Tally(finished, episodes, horizons), self

        class Progress:
            def ended(self, condition: str, record: EpisodeRecord) -> None:
                tally.ended(condition, record)
                recorder.amounts.append(tally.total)

            def stepped(self, condition: str, steps: int) -> None:
                recorder.steps += steps
                tally.stepped(condition, steps)
                recorder.amounts.append(tally.total)

        yield Progress()


def expert(out: Path, **fields: object) -> Run:
    return act_eval.evaluate(
        "expert", "pick", out=out, workers=1, **{"episodes": 3, "progress": False, **QUICK, **fields}
    )


def test_a_finished_run_is_returned_at_once_and_equals_the_first(tmp_path: Path) -> None:
    first, again = Recorder(), Recorder()
    run = expert(tmp_path / "run", progress=first)
    assert [record.outcome for record in run.conditions["expert"].records] == ["success"] * 3
    assert run.report == tmp_path / "run" / "report.html"
    repeated = expert(tmp_path / "run", progress=again)
    assert repeated.conditions["expert"].records == run.conditions["expert"].records
    assert "3/3 = 1.00, 95% Wilson" in str(run)
    assert "3/3 = 1.00" in run._repr_html_()
    same = act_eval.compare(run, expert(tmp_path / "other").folder)
    assert same.exit_code == 0
    assert act_eval.load_run(run.folder).report == run.report
    assert "3 episodes are finished already; 0 are left to run" in again.lines
    assert (first.steps > 0, again.steps) == (True, 0)


def test_progress_moves_while_all_episodes_are_in_one_batch(tmp_path: Path) -> None:
    recorder = Recorder()
    expert(tmp_path / "run", episodes=2, progress=recorder)
    assert recorder.amounts[0] < 1
    assert recorder.amounts == sorted(recorder.amounts)
    assert recorder.amounts[-1] == 2


@pytest.mark.parametrize("from_stdin", [False, True])
def test_a_plain_script_may_use_several_processes(tmp_path: Path, from_stdin: bool) -> None:
    code = SCRIPT.format(out=str(tmp_path / "run"))
    script = tmp_path / "plain.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, "-" if from_stdin else str(script)],
        input=code if from_stdin else None, capture_output=True, text=True, cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "4 episodes\n"  # once: no worker has run the script again


def test_delays_are_numbers_texts_or_models(tmp_path: Path, checkpoint: str) -> None:
    run = act_eval.evaluate(
        checkpoint,
        "pick",
        delays=[0, "1", Constant(2)],
        episodes=1,
        out=tmp_path / "run",
        workers=1,
        progress=False,
        **QUICK,
    )
    assert list(run.conditions) == ["naive_d0_s4", "naive_d1_s4", "naive_d2_s4"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    from untrained import write_checkpoint

    return str(write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "act", "act", image_size=32))


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"horizn": 40}, UnknownName, "unknown field of EvaluateConfig 'horizn'; there are: action_noise, .*horizon"),
        ({"episodes": "many"}, UsageError, "episodes of EvaluateConfig is 'many'; it must be a number"),
        ({"video": "some"}, UsageError, "video of EvaluateConfig is 'some'; allowed: all, failures, none"),
        ({"probe": 1}, UsageError, "probe of EvaluateConfig is 1; it must be True or False"),
        ({"episodes": 0}, UsageError, "--episodes is 0; it must be at least 1"),
        ({"delays": []}, UsageError, "no delay is given"),
        ({"delays": ["fast"]}, TimingError, "delay 'fast'"),
        ({"shard": "1/2"}, UsageError, "for the command line"),
        ({"policy": "no_such_policy"}, UnknownName, "unknown policy 'no_such_policy'"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(
    fields: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        act_eval.evaluate(**{"progress": False, **fields})


def test_the_front_door_names_what_it_has() -> None:
    with pytest.raises(AttributeError, match=r"module 'act_eval' has no attribute 'evalute'; it has .*evaluate"):
        _ = act_eval.evalute  # pyright: ignore[reportAttributeAccessIssue]
