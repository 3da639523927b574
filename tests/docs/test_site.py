"""The site builds without a warning, shows every page, and its reference shows what it promises."""

import os
import re
import subprocess
import sys
from html import unescape
from importlib.util import find_spec
from pathlib import Path

import pytest
from site_pages import DOCS, ROOT

REFERENCE = re.compile(r"^::: ([\w.]+)\n(?:    options:\n      members: \[(.*)\]\n)?", re.M)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if missing := [name for name in ("mkdocs", "material", "mkdocstrings") if find_spec(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)} (pip install 'act_eval[docs]')")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def test_every_page_is_in_the_menu():
    text = (ROOT / "mkdocs.yml").read_text()
    listed = re.findall(r": ([\w/-]+\.md)$", text, re.M)
    ours = {name for name in listed if not name.startswith("shipped/")}
    assert ours == {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    shipped = {path.parent.name for path in (ROOT / "policies" / "pretrained").glob("*/README.md")}
    assert {name for name in listed if name.startswith("shipped/")} == {f"shipped/{name}.md" for name in shipped}


def test_every_page_is_on_the_site(site: Path):
    for page in DOCS.rglob("*.md"):
        shown = (site / page.relative_to(DOCS)).with_suffix(".html").read_text()
        assert "<h1" in shown, page


@pytest.mark.parametrize("page", sorted((DOCS / "api").glob("*.md")), ids=lambda page: page.stem)
def test_the_reference_shows_what_it_names(site: Path, page: Path):
    shown = set(re.findall(r'id="(act_eval[\w.]*)"', (site / "api" / f"{page.stem}.html").read_text()))
    for module, members in REFERENCE.findall(page.read_text()):
        assert module in shown
        missing = [name for name in members.split(", ") if name and f"{module}.{name}" not in shown]
        assert not missing, f"{module} shows no {missing}: they do not exist, or have no docstring"


def test_public_modules_are_shown_whole(site: Path):
    from act_eval import diagnostics, executors, metrics, rollout, timing

    for page, modules in {"timing": (timing, executors, rollout), "statistics": (metrics, diagnostics)}.items():
        shown = set(re.findall(r'id="(act_eval[\w.]*)"', (site / "api" / f"{page}.html").read_text()))
        for module in modules:
            # A function that is called as its module is shown with that module.
            missing = [name for name in module.__all__ if not any(place.endswith(f".{name}") for place in shown)]
            assert not missing, f"{module.__name__}: {missing} have no docstring"


def test_links_to_the_shipped_policies_lead_to_their_pages(site: Path):
    assert "shipped/act_collapsed.html" in unescape((site / "mode-collapse.html").read_text())
    assert (site / "shipped" / "act_collapsed.html").is_file()


def test_what_is_built_needs_no_other_host(site: Path):
    loaded = re.findall(r'<(?:script|link)[^>]+(?:src|href)="(https?://[^"]+)"', (site / "index.html").read_text())
    assert not [address for address in loaded if "canonical" not in address]
