"""The library imports one way: films <- method <- evaluation <- stages; display needs films, runs none."""

import ast
import graphlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import m2s_lib

ROOT = Path(m2s_lib.__file__).parent
BELOW = {
    "films": set(),
    "method": {"films"},
    "training": {"films", "method"},
    "mining": {"films", "method"},
    "evaluation": {"films", "method", "training", "mining", "encoders"},
    "display": {"films"},
    "encoders": set(),
    "runs": set(),
    "stages": {"films", "method", "training", "mining", "evaluation", "runs", "encoders"},
}


def _imports() -> dict[str, set[str]]:
    """Every module of the library, with those it imports anywhere in it, inside functions too."""
    files = {
        p.relative_to(ROOT.parent).with_suffix("").as_posix().replace("/", "."): p for p in ROOT.rglob("*.py")
    }
    names = {name.removesuffix(".__init__"): path for name, path in files.items()}

    def imported(node: ast.AST) -> set[str]:
        if isinstance(node, ast.Import):
            return {alias.name for alias in node.names} & set(names)
        if not isinstance(node, ast.ImportFrom) or node.level or node.module not in names:
            return set()
        modules = {f"{node.module}.{alias.name}" for alias in node.names} & set(names)
        return modules or {node.module}

    return {
        name: set().union(*(imported(node) for node in ast.walk(ast.parse(path.read_text())))) - {name}
        for name, path in names.items()
    }


def test_the_page_opens_without_what_its_first_tab_does_not_need():
    code = (
        "import sys; from m2s_lib.runs.report.gallery_page import CELL; exec(CELL[: CELL.index('run_dir')]); "
    )
    code += "print({'torch', 'matplotlib', 'scipy', 'sklearn', 'plotly', 'nbformat'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent)
    assert done.stdout == "set()\n", done.stdout + done.stderr


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    found = _imports()
    assert found["m2s_lib.mining.scene_mining"] & set(found), "imports are found"
    return found


@pytest.mark.parametrize("part", sorted(BELOW))
def test_a_part_imports_only_what_is_below_it(imports, part):
    for name, used in imports.items():
        if name.split(".")[1:2] == [part]:
            parts = {p for u in used for p in u.split(".")[1:2] if p in BELOW} - {part}
            assert parts <= BELOW[part], f"{name} imports {sorted(parts - BELOW[part])}"


def test_no_folder_has_more_than_fifteen_modules():
    modules = Counter(p.parent for p in ROOT.rglob("*.py") if p.name != "__init__.py")
    assert modules[ROOT / "method"] > 1
    assert {str(folder): n for folder, n in modules.items() if n > 15} == {}


def test_no_file_is_longer_than_350_lines():
    endings = (".py", ".js", ".css", ".html", ".j2")
    lines = {p: len(p.read_text("utf-8").splitlines()) for p in ROOT.rglob("*") if p.suffix in endings}
    assert lines[ROOT / "io.py"] > 1
    assert {str(path): n for path, n in lines.items() if n > 350} == {}


def test_no_modules_import_each_other_in_a_circle(imports):
    list(graphlib.TopologicalSorter(imports).static_order())  # raises CycleError, which names them
