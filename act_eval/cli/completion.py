"""`completion`: print a script that completes commands, options and their values in a shell."""

import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

import tyro

from act_eval.cli import COMMANDS, command_module
from act_eval.cli.parsing import parse

Shell = Literal["bash", "zsh", "fish"]


@dataclass(frozen=True)
class Flags:
    """Print a script that completes commands, options and their values; see docs/command-line.md."""

    shell: tyro.conf.Positional[Shell]
    """Shell that the script is for."""


def run(argv: Sequence[str], prog: str) -> int:
    """Parse the flags and print the script; return the exit code."""
    print(script(parse(Flags, argv, prog).shell))
    return 0


def script(shell: Shell, prog: str = "act-eval") -> str:
    """Return a completion script for all commands at once.

    Args:
        shell: the shell that the script is for.
        prog: name of the completed program.
    """
    commands: Any = Union[tuple(_subcommand(name, text) for name, text in COMMANDS.items())]  # noqa: UP007  # built
    written = io.StringIO()
    with contextlib.redirect_stdout(written), contextlib.suppress(SystemExit):  # tyro prints the script and exits
        words = ["--tyro-write-completion", shell, "-"]
        tyro.cli(commands, args=words, prog=prog, config=(tyro.conf.AvoidSubcommands,))
    return "\n".join(map(_on_one_line, written.getvalue().splitlines())) + "\n"


def _on_one_line(line: str) -> str:
    """Return a line of the script with its help texts on one line: a shell would offer their second lines."""
    return re.sub(r"\\+n\s*", " ", line) if line.startswith("COMPLETION_SPEC = ") else line


def _subcommand(name: str, description: str) -> Any:
    module: Any = command_module(name)
    more = {"default": module.parse([])} if name == "train" else {}  # offers the default configuration
    return Annotated[module.Flags, tyro.conf.subcommand(name, description=description, **more)]
