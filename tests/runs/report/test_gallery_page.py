"""The page for visitors: what it runs, and what it says where there is nothing to show."""

import ast
import sys
import types

import pytest

from m2s_lib.errors import M2SError
from m2s_lib.runs.report import gallery_page
from m2s_lib.runs.report.gallery_page import TITLE, check_run, main, page_notebook
from tests.conftest import ROOT


def test_it_shows_the_run_and_runs_no_stage(tmp_path):
    (cell,) = page_notebook(tmp_path).cells
    assert "open_page(" in cell.source
    assert f"run_dir = {str(tmp_path)!r}" in cell.source
    for word in ("open_stage", "stage.", "write_parquet"):
        assert word not in cell.source
    tree = ast.parse(cell.source)
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    imported = {a.asname or a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    assert imported <= names  # what it imports it uses


def test_the_title_is_for_visitors(tmp_path):
    assert page_notebook(tmp_path).metadata["title"] == TITLE
    assert not any(word in TITLE.casefold() for word in ("notebook", "stage", "run", "08"))


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
