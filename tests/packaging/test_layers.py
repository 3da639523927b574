"""Who may import whom: the import-linter contracts of pyproject.toml hold, and they can fail."""

import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

import act_eval

ROOT = Path(act_eval.__file__).resolve().parent.parent
LINT = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]


def test_contracts_are_kept() -> None:
    done = subprocess.run(LINT, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout
    assert "0 kept" not in done.stdout


def test_no_files_import_one_another_in_a_circle() -> None:
    """Of any size; imports in functions and under TYPE_CHECKING count."""
    graph = grimp.build_graph("act_eval", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 200
    TopologicalSorter(imports).prepare()  # raises CycleError with the circle
    with pytest.raises(CycleError, match=r"act_eval\.errors"):
        TopologicalSorter({**imports, "act_eval.errors": {"act_eval.cli"}}).prepare()


def test_a_forbidden_import_is_found(tmp_path: Path) -> None:
    package = tmp_path / "act_eval"
    package.mkdir()
    package.joinpath("__init__.py").touch()
    package.joinpath("types.py").write_text("import torch\n")
    contract = """
[tool.importlinter]
root_packages = ["act_eval"]
include_external_packages = true
[[tool.importlinter.contracts]]
name = "no torch"
type = "forbidden"
source_modules = ["act_eval.types"]
forbidden_modules = ["torch"]
"""
    tmp_path.joinpath("pyproject.toml").write_text(contract)
    done = subprocess.run(LINT, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "act_eval.types -> torch" in done.stdout
