"""The Python of the pages runs as it stands, block after block of a page, in a folder with what the page speaks of."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_runs import make_run, outcomes
from site_folder import furnish, python_of
from site_pages import PAGES, ROOT, Block, blocks
from test_site_commands import at_home

from act_eval.config import EnvDeclaration
from act_eval.sources.env_declaration import declared

BLOCKS = [block for page in PAGES for block in blocks(page) if block.language == "python"]
BY_PAGE = {page: [block for block in BLOCKS if block.page == page] for page in {block.page for block in BLOCKS}}
NOT_RUN = {
    "@pytest.mark.success_rate": "tests: test_the_gates_of_a_users_repository runs them with pytest",
}


def why_not(block: Block) -> str | None:
    return next((why for text, why in NOT_RUN.items() if text in block.text), None)


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("furnished")
    with pytest.MonkeyPatch.context() as patch:
        at_home(folder, patch)
        return furnish(folder)


def compiles(page: str) -> bool:
    return any("torch.compile" in block.text for block in BY_PAGE[page])


@pytest.mark.parametrize("page", sorted(page for page in BY_PAGE if not compiles(page)))
def test_the_python_of_a_page_runs(furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str):
    here = shutil.copytree(furnished, tmp_path / "here", symlinks=True)
    at_home(here, monkeypatch)
    monkeypatch.syspath_prepend(here)  # as for a script in this folder
    names: dict[str, object] = {"__name__": "page"}
    for block in BY_PAGE[page]:
        if why_not(block) is None:
            exec(compile(block.text, f"{page}:{block.line}", "exec"), names)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(page for page in BY_PAGE if compiles(page)))
def test_the_python_of_a_page_that_compiles_runs(furnished: Path, page: str):
    # In a process of its own: Triton, loaded after OpenGL's software renderer, crashes it (both bring LLVM).
    text = "".join(block.text for block in BY_PAGE[page])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", text], cwd=furnished, env=environment, check=True)


@pytest.mark.parametrize("text", NOT_RUN)
def test_what_is_not_run_is_there(text: str):
    assert any(text in block.text for block in BLOCKS)


@pytest.mark.slow
def test_the_gates_of_a_users_repository(tmp_path: Path):
    (tmp_path / "test_success_rate.py").write_text(
        "from types import SimpleNamespace\n"
        "def my_rollout(seed):\n    return SimpleNamespace(success=seed % 20 > 0)\n"
        + python_of("regression.md", "success_gate")
    )
    make_run(tmp_path / "run", {"rtc_d4_s10": outcomes(195, 5)})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    for more in (["--success-rate-record", "why"], []):
        done = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "3 passed" in done.stdout


@pytest.mark.parametrize("example", sorted((ROOT / "docs" / "examples").glob("own_*.py")), ids=lambda file: file.stem)
def test_a_page_quotes_its_example_in_full(example: Path):
    page = f"docs/{'perturbations' if example.stem == 'own_perturbation' else example.stem.replace('_', '-')}.md"
    assert example.read_text() in [block.text for block in BLOCKS if block.page == page]


def test_the_declaration_of_an_environment_is_read(tmp_path: Path):
    (text,) = (b.text for page in PAGES for b in blocks(page) if b.language == "toml")
    (tmp_path / "mine.toml").write_text(text)
    options, declaration = declared(EnvDeclaration(env_file=tmp_path / "mine.toml"))
    assert options == {"obs_type": "pixels_agent_pos"}
    assert declaration.images is not None
    assert set(declaration.images) == {"top", "front"}
