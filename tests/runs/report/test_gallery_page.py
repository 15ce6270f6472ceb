"""The page for others: what it shows of notebook 08, and what it says where there is nothing to show."""

import ast
import sys
import types

import nbformat
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.runs.report import gallery_page
from m2s_lib.runs.report.gallery_page import PAGE, STAGE, check_run, main, page_notebook
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(ROOT / "notebooks" / f"{STAGE}.ipynb", as_version=4)


def test_it_shows_the_live_section_and_runs_no_stage(notebook, tmp_path):
    page = page_notebook(notebook, tmp_path)
    code = "\n".join(c.source for c in page.cells if c.cell_type == "code")
    assert "open_gallery(" in code
    assert f"run_dir = {str(tmp_path)!r}" in code
    for word in ("open_stage", "stage.", "write_parquet"):
        assert word not in code
    assert [c.source.splitlines()[0] for c in page.cells if c.cell_type == "markdown"][0] == PAGE
    names = {
        n.id for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)
    }
    tree = ast.parse(code)
    imported = {a.asname or a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    assert imported <= names  # what it imports it uses


def test_a_notebook_without_the_section_is_refused():
    with pytest.raises(M2SError, match="has no section '## The gallery, live'"):
        page_notebook(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# other")]), "/run")


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("runs/demo", "there is no gallery in runs/demo yet; make it first: make demo"),
        ("runs/other", "name a run that has one, for example: make gallery RUN=runs/demo"),
        ("runs/begun", "finish it first: m2s run PROFILE --run-dir runs/begun"),
    ],
)
def test_a_run_without_gallery_says_what_to_do(tmp_path, run, message):
    (tmp_path / "runs/begun/01_shot_encoding").mkdir(parents=True)
    with pytest.raises(M2SError, match=message):
        check_run(tmp_path / run, tmp_path)


def test_the_command_ends_with_the_message(capsys, tmp_path):
    assert main([str(tmp_path / "nothing")]) == 2
    assert "gallery: there is no gallery in" in capsys.readouterr().err


def test_the_page_is_served_to_this_machine_only_with_a_token(monkeypatch):
    """The configuration that Voilà gets; tests/browser starts it for real where there is a browser."""
    started = []

    class Voila:
        @staticmethod
        def launch_instance(arguments, config):
            started.append((arguments, config))

    monkeypatch.setitem(sys.modules, "voila", types.ModuleType("voila"))
    monkeypatch.setitem(sys.modules, "voila.app", types.SimpleNamespace(Voila=Voila))
    monkeypatch.setattr(gallery_page, "check_run", lambda run_dir, root: None)
    monkeypatch.setenv("JUPYTER_PATH", "")
    gallery_page.serve("runs/demo", ["--port=8900"])
    ((arguments, config),) = started
    assert arguments[1:] == ["--port=8900"]
    assert (config.Voila.ip, config.Voila.auto_token) == ("127.0.0.1", True)
    assert config.VoilaConfiguration.file_allowlist == ["$^"]
    assert not [a for a in arguments if "token" in a or "ip=" in a]


def test_the_lab_listens_to_this_machine_only_and_keeps_its_token():
    make = (ROOT / "Makefile").read_text()
    lab = next(line for line in make.splitlines() if "jupyter lab" in line)
    assert "--ip=127.0.0.1" in lab
    for words in ("token", "password", "0.0.0.0", "allow_origin", "disable_check_xsrf"):
        assert words not in lab
    assert "gallery_page $(RUN)\n" in make  # no options that would open it
