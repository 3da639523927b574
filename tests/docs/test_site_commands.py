"""Every command of the site and of the README works: it is run, or it is said why it cannot be."""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import site_folder
from site_commands import RULES, NotRun, Run, as_run, rule_of
from site_pages import LANGUAGES, PAGES, ROOT, Command, blocks, commands

COMMANDS = {command.text: command for page in reversed(PAGES) for command in reversed(commands(page))}
RUN = [(command, rule) for command in COMMANDS.values() if isinstance(rule := rule_of(command), Run)]


def cases(slow: bool) -> list:
    return [pytest.param(command, rule, id=command.text) for command, rule in RUN if rule.slow is slow]


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("furnished")
    with pytest.MonkeyPatch.context() as patch:
        at_home(folder, patch)
        return site_folder.furnish(folder)


@pytest.fixture(scope="module")
def trained(furnished: Path) -> Path:
    site_folder.train(furnished)
    return furnished


def at_home(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let this process stand in a folder, and forget afterwards what of it was imported."""
    patch.chdir(folder)
    patch.setattr(sys, "argv", list(sys.argv))
    patch.setattr(sys, "path", list(sys.path))
    patch.setattr(sys, "modules", sys.modules)
    for name in [name for name in sys.modules if name.startswith("my_")]:
        patch.delitem(sys.modules, name)


def skip_without(packages: tuple[str, ...]) -> None:
    if missing := [name for name in packages if find_spec(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.mark.parametrize(("command", "rule"), cases(slow=False))
def test_the_command_works(
    furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command, rule: Run
):
    skip_without(rule.needs)
    folder = shutil.copytree(furnished, tmp_path / "here", symlinks=True)
    at_home(folder, monkeypatch)
    try:
        code = site_folder.here(folder, as_run(command, rule))
    finally:
        for name in [name for name in sys.modules if name.startswith("my_")]:
            del sys.modules[name]
    assert code in rule.codes, f"{command.page}:{command.line} ends with {code}: {as_run(command, rule)}"


@pytest.mark.slow
@pytest.mark.parametrize(("command", "rule"), cases(slow=True))
def test_the_longer_command_works(trained: Path, tmp_path: Path, command: Command, rule: Run):
    skip_without(rule.needs)
    folder = shutil.copytree(trained, tmp_path / "here", symlinks=True)
    done = site_folder.in_shell(folder, as_run(command, rule))
    assert done.returncode in rule.codes, f"{command.page}:{command.line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_command_is_run_or_its_reason_is_given(command: Command):
    assert rule_of(command) is not None, (
        f"{command.page}:{command.line} shows a command that nothing is said of: {command.text}\n"
        "tests/docs/site_commands.py says how each command is run, or why it is not"
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.pattern)
def test_every_rule_is_some_commands(rule: Run | NotRun):
    assert any(rule_of(command) is rule for command in COMMANDS.values()), "no page shows such a command any more"


def test_a_new_command_would_be_noticed(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "Say `python scripts/unheard.py --of`, `act-eval` or `scripts/other.py --flag`.\n"
        "```bash\npython scripts/new.py \\\n    --more   # a comment\n\nrm -rf /\n```\n"
        "```text\npython no command.py\n```\n"
    )
    found = commands(page)
    assert [(command.line, re.sub(" +", " ", command.text)) for command in found] == [
        (1, "python scripts/other.py --flag"),
        (1, "python scripts/unheard.py --of"),
        (3, "python scripts/new.py --more"),
        (6, "rm -rf /"),
    ]
    assert [rule_of(command) for command in found] == [None] * 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_say_what_they_are(page: Path):
    unnamed = [f"{block.page}:{block.line}" for block in blocks(page) if block.language not in LANGUAGES]
    assert not unnamed, f"write ```bash before commands and ```text before what they print: {unnamed}"


@pytest.mark.parametrize("text", [text for text in COMMANDS if text.startswith("make ")])
def test_make_knows_its_targets(text: str):
    done = subprocess.run(
        ["bash", "-c", text.replace("make ", "make -n ", 1)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("text", [text for text in COMMANDS if text.startswith("pytest -m slow ")])
def test_slow_tests_that_pages_name_exist(text: str):
    assert (ROOT / text.split()[-1]).exists()
