"""The notebook of the documentation runs, cell after cell, in a kernel of its own and shows what its text announces."""

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from site_pages import ROOT

NOTEBOOK = ROOT / "docs" / "examples" / "evaluate.ipynb"


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:  # the kernel inherits both
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
        patch.setenv("OMP_NUM_THREADS", "1")
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: Any) -> dict[str, str]:
    """Return what a cell shows, joined by MIME type; printed text as `text/plain`."""
    found: dict[str, str] = {}
    for output in cell.outputs:
        data = output.data if "data" in output else {"text/plain": output.text}
        for kind, text in data.items():
            found[kind] = found.get(kind, "") + str(text)
    return found


def cell_with(cells: list[Any], source: str) -> dict[str, str]:
    (cell,) = (cell for cell in cells if source in cell.source)
    return shown(cell)


def test_a_run_shows_a_table_of_its_conditions(cells: list[Any]) -> None:
    page = cell_with(cells, "act_eval.evaluate(")["text/html"]
    assert "<table" in page
    for name in ("naive_d0_s5", "naive_d2_s5", "naive_d4_s5"):
        assert name in page


def test_a_condition_has_a_rate_and_records(cells: list[Any]) -> None:
    lines = cell_with(cells, "run.conditions.items()")["text/plain"].splitlines()
    assert len(lines) == 3
    assert all("/12" in line and ("success" in line or "timeout" in line) for line in lines)


def test_two_conditions_are_compared(cells: list[Any]) -> None:
    text = cell_with(cells, "run.compare(")["text/plain"]
    assert "12" in text
    assert any(verdict in text for verdict in ("worse", "better", "equivalent", "inconclusive"))


def test_a_video_is_shown_and_the_page_exists(cells: list[Any]) -> None:
    found = cell_with(cells, "Video(")
    assert "<video" in found["text/html"]
    assert found["text/plain"].strip().endswith("report.html")


def test_the_notebook_is_stored_without_outputs() -> None:
    stored = nbformat.read(NOTEBOOK, as_version=4)
    assert not [cell.source for cell in stored.cells if cell.cell_type == "code" and cell.outputs]


def test_the_readme_links_to_the_notebook() -> None:
    assert str(Path("docs/examples/evaluate.ipynb")) in (ROOT / "README.md").read_text()
