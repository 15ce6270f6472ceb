"""The toy project, and one real run of it that tests copy."""

import io
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from m2s_lib.runs import open_stage
from m2s_lib.runs.pipeline import kernel
from m2s_lib.runs.records.stage import PIPELINE
from tests.helpers.toy_project import ALL, injected, write_project


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
    from m2s_lib.runs.pipeline.pipeline import run_profile

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


@pytest.fixture
def ran(toy, monkeypatch) -> list[str]:
    """Names of the stages that ran: each writes its first parameter's value and reads the stage before it."""
    names: list[str] = []

    def execute(node, folder, cwd, env, stream=None):
        names.append(folder.name)
        assert (cwd, env[PIPELINE], env["M2S_ROOT"], env["PYTHONHASHSEED"]) == (toy, "1", str(toy), "0")
        values = injected(node)
        monkeypatch.setenv(PIPELINE, "1")
        stage = open_stage(folder.name, values)
        before = ALL[: ALL.index(folder.name)][-1:]
        text = "".join(stage.input(f"{b}/out.txt").read_text() for b in before)
        value = values.get("count", values.get("power", values.get("title")))
        stage.path("out.txt").write_text(f"{text}{value};"[:40] if folder.name != "02_sums" else f"{value};")
        stage.finish({"value": value})
        kernel.write_notebook(node, folder / "notebook.ipynb")

    monkeypatch.setattr(kernel, "execute", execute)
    return names
