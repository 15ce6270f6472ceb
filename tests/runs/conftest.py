"""The toy project, and one real run of it that tests copy."""

import io
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from m2s_lib.runs.locks import _held
from tests.runs.toy import write_project


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Path:
    """A fresh toy project; the current folder and M2S_ROOT point at it."""
    root = write_project(tmp_path / "project")
    monkeypatch.chdir(root)
    monkeypatch.setenv("M2S_ROOT", str(root))
    return root


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> SimpleNamespace:
    """One run of the toy project by papermill: its root and what it printed. Copy it, do not change it."""
    from m2s_lib.runs.pipeline import run_profile

    root = write_project(tmp_path_factory.mktemp("finished") / "project")
    said = io.StringIO()
    run_profile("toy", root=root, stream=said)
    return SimpleNamespace(root=root, said=said.getvalue())


@pytest.fixture
def done(finished, tmp_path, monkeypatch) -> Path:
    """A copy of the finished project elsewhere: each test with it also shows that a run can be moved."""
    root = tmp_path / "moved" / "project"
    shutil.copytree(finished.root, root)
    monkeypatch.chdir(root)
    monkeypatch.setenv("M2S_ROOT", str(root))
    return root


@pytest.fixture(autouse=True)
def _no_lock_left():
    """A stage that a test leaves open must not hold its lock into the next test."""
    yield
    for lock in list(_held.values()):
        lock.release()
