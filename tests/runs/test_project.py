"""Finding the project, its stages, and run directories."""

import pytest

from m2s_lib.errors import M2SError
from m2s_lib.runs import project_root
from m2s_lib.runs.project import find_stage, run_folder


def test_the_root_is_found_from_below_and_by_name(toy, monkeypatch, tmp_path):
    monkeypatch.chdir(toy / "notebooks")
    monkeypatch.delenv("M2S_ROOT")
    assert project_root() == toy
    monkeypatch.setenv("M2S_ROOT", str(tmp_path))
    with pytest.raises(M2SError, match="M2S_ROOT is .* which has no notebooks/"):
        project_root()


def test_a_project_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.delenv("M2S_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("m2s_lib.runs.project.is_root", lambda folder: False)
    with pytest.raises(M2SError, match="no project found from .* upwards"):
        project_root()


def test_stages_by_number_and_name():
    names = ["01_a", "08_b"]
    assert [find_stage(t, names) for t in ("01", 1, "1", "08_b", 8, "8")] == ["01_a"] * 3 + ["08_b"] * 3
    assert [find_stage(t, names) for t in ("02", "01_", "", "a", True)] == [None] * 5


def test_run_folders(tmp_path):
    assert run_folder("runs/../x", tmp_path) == tmp_path / "x"
    assert run_folder("/a/b", tmp_path).as_posix() == "/a/b"
