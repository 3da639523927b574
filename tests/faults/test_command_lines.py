"""Whatever is typed: a command answers with an exit code and a sentence, and raises nothing."""

import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from act_eval.cli import COMMANDS, command_module, main
from act_eval.cli.parsing import options
from act_eval.cli.train import parse as parse_training
from act_eval.errors import LaunchError

DOORS = {
    # Where each command begins to load and to run: what is typed has been understood by then.
    "evaluate": "act_eval.evaluation.run.worker_pool",
    "sweep": "act_eval.sweeps.run.survey",
    "probe": "act_eval.sources.probing.probe_inputs",
    "train": "act_eval.training.run.train",
    "serve": "act_eval.cli.serve.serve",
    "serve-env": "act_eval.cli.serve_env.serve",
    "collect": "act_eval.cli.collect.collect",
}
FLAGS = {name: options(parse_training([]) if name == "train" else command_module(name).Flags) for name in COMMANDS}
NEEDED = {
    "baseline": ("RUN", "file.json", "--reason", "new"),
    "completion": ("bash",),
    "publish": ("NAME",),
    "render": ("RUN",),
    "export": ("RUN",),
    "export-lerobot": ("CHECKPOINT", "OUT"),
}
WORDS = st.one_of(
    st.sampled_from(
        ["", "0", "1", "-1", "4", "1e9", "nan", "inf", "0.5", "None", "true", "expert", "act", "act_rtc", "pick", "all"]
        + ["none", "auto", "cpu", "cuda", "off", "3,17", "3,x", "1/2", "0/0", "9/3", "naive", "rtc", "oracle", "local"]
        + [
            "uniform:1,6",
            "uniform:6,1",
            "lognormal:shift=x",
            "trace:nowhere.json",
            "constant:4",
            "lossy:of=4",
            "-",
            "--",
        ]
        + [
            "module:factory",
            "ws://localhost:1",
            "a/b",
            "nowhere.json",
            "x=1",
            "x",
            "../..",
            "ä",
            "\x00",
            "ray",
            "slurm",
        ]
    ),
    st.integers(-(2**70), 2**70).map(str),
    st.text(max_size=6),
)
SHORT, LONG = 25, 1000


@pytest.fixture(scope="module", autouse=True)
def shut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let nothing run, far away from the results of others."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise LaunchError("stopped at the door")

    with pytest.MonkeyPatch.context() as patch:
        for door in DOORS.values():
            module, _, name = door.rpartition(".")
            patch.setattr(import_module(module), name, refuse)
        if find_spec("ray") is not None:  # without it --launcher ray says so
            patch.setattr("act_eval.launch.ray.cluster_cores", lambda: 2)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        yield


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from(sorted(COMMANDS)))
    words = [name]
    for _ in range(draw(st.integers(0, 5))):
        flag = draw(
            st.one_of(
                st.sampled_from([*FLAGS[name], "--help"]), st.text(min_size=1, max_size=5).map(lambda t: f"--{t}")
            )
        )
        values = draw(st.lists(WORDS, max_size=2))
        words += draw(st.sampled_from([[flag, *values], [f"{flag}={values[0] if values else ''}"], values]))
    return words


def check(words: list[str]) -> str:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as ended:
            code = ended.code
    assert code in (0, 1, 2, 3), words
    said = err.getvalue()
    assert "Traceback" not in said
    assert code == 0 or said.strip() or out.getvalue().strip(), words
    return said


@settings(max_examples=SHORT, suppress_health_check=list(HealthCheck))
@given(words=command_lines())
def test_any_command_line_is_answered(words: list[str]) -> None:
    check(words)


@pytest.mark.slow
@settings(max_examples=LONG, suppress_health_check=list(HealthCheck))
@given(words=command_lines())
def test_very_many_command_lines_are_answered(words: list[str]) -> None:
    check(words)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_an_unknown_option_is_answered_with_those_that_there_are(name: str) -> None:
    said = check([name, *NEEDED.get(name, ()), "--no-such-option", "1"])
    assert said.startswith("error: unknown option '--no-such-option'; there are: " + ("--" if FLAGS[name] else "none"))
    assert all(flag in said for flag in FLAGS[name])


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_is_given(name: str) -> None:
    assert check([name, "--help"]) == ""


def test_the_doors_are_reached() -> None:
    before = set(Path.cwd().iterdir())  # of command lines that chance wrote
    assert check(["evaluate", "--policy", "expert", "--episodes", "2"]) == "error: stopped at the door\n"
    assert check(["train", "--steps", "3"]) == "error: stopped at the door\n"
    assert Path.cwd().name.startswith("elsewhere")
    assert set(Path.cwd().iterdir()) == before
