"""The scripts that `act-eval completion` prints, read and asked by the shells themselves."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from act_eval.cli import COMMANDS, main
from act_eval.cli.completion import script
from act_eval.cli.parsing import options
from act_eval.config import EvaluateConfig, Tool


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("completion")
    paths = {shell: folder / f"act-eval.{shell}" for shell in ("bash", "zsh", "fish")}
    for shell, path in paths.items():
        path.write_text(script(shell))
    return paths


def completions(path: Path, *words: str) -> list[str]:
    """Return what bash offers in place of the last word, as readline would ask it."""
    ask = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))\n'
    ask += 'function=$(complete -p act-eval | sed "s/.*-F \\([^ ]*\\).*/\\1/"); $function\n'
    ask += 'printf "%s\\n" "${COMPREPLY[@]}"'
    command = ["bash", "-c", ask, "ask", str(path), "act-eval", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=path.parent)
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_accepts_its_script(scripts: dict[str, Path], shell: str):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run(
        [shell, "-n", str(scripts[shell])], check=True, env={**os.environ, "HOME": str(scripts[shell].parent)}
    )


def test_bash_completes_commands(scripts: dict[str, Path]):
    assert set(completions(scripts["bash"], "")) >= set(COMMANDS)
    assert completions(scripts["bash"], "ev") == ["evaluate"]


def test_bash_completes_every_option_of_a_command(scripts: dict[str, Path]):
    offered = completions(scripts["bash"], "evaluate", "--")
    assert set(options(EvaluateConfig)) <= set(offered)
    assert {"--confusers", "--shard", "--env-options"} <= set(offered)
    assert not [word for word in offered if not word.startswith("--") or " " in word]
    assert completions(scripts["bash"], "evaluate", "--execut") == ["--execution-horizon", "--executor"]


def test_bash_completes_values_and_files(scripts: dict[str, Path]):
    assert set(completions(scripts["bash"], "evaluate", "--video", "")) == {"all", "failures", "none"}
    assert set(Tool.__args__) <= set(completions(scripts["bash"], "export", "run", "--to", ""))
    assert completions(scripts["bash"], "evaluate", "--out", "act-eval.z") == ["act-eval.zsh"]
    assert "--model.rtc-prefix-noise" in completions(scripts["bash"], "train", "--model.rtc")


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes_options_with_their_help(scripts: dict[str, Path]):
    ask = f"source {scripts['fish']}; complete -C 'act-eval evaluate --vid'"
    done = subprocess.run(
        ["fish", "-c", ask],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": str(scripts["fish"].parent)},
    )
    assert done.stdout.startswith("--video\t")


def test_the_command_prints_the_script(scripts: dict[str, Path], capsys: pytest.CaptureFixture[str]):
    assert main(["completion", "bash"]) == 0
    assert capsys.readouterr().out.strip() == scripts["bash"].read_text().strip()


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        main(["completion", "tcsh"])
    assert left.value.code == 2
    delay_estimator = capsys.readouterr().err
    assert "Invalid choice" in delay_estimator
    assert all(shell in delay_estimator for shell in ("tcsh", "bash", "zsh", "fish"))
