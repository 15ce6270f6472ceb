"""What runs, what is skipped, what a failure says. Few tests start kernels, the rest stand in."""

import errno
import io
import os
import shlex
import subprocess
import sys

import nbformat
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.io import read_json
from m2s_lib.runs import open_stage
from m2s_lib.runs.pipeline import kernel
from m2s_lib.runs.pipeline.pipeline import StageFailed, prepare_notebooks, run_profile
from m2s_lib.runs.records.stage import PIPELINE
from tests.helpers.toy_project import ALL, HOLD, injected, notebook


def run(ran: list[str], **named) -> tuple[list[str], str]:
    """Run the toy profile; which stages ran and what was said."""
    ran.clear()
    said = io.StringIO()
    run_profile("toy", stream=said, **named)
    return list(ran), said.getvalue()


def test_what_is_up_to_date_is_skipped(ran):
    assert run(ran)[0] == ALL
    names, said = run(ran)
    assert names == []
    assert [line for line in said.splitlines() if "skipped" in line] == [
        f"{s}  skipped (up to date)" for s in ALL
    ]


def test_a_changed_parameter_runs_what_depends_on_it(ran):
    run(ran)
    names, said = run(ran, overrides=["01.count=5"])
    assert names == ["01_numbers", "02_sums"]  # 02 wrote the same bytes again, so 03 stands
    assert "(count changed from 4 to 5)" in said
    assert "(input 01_numbers/out.txt changed)" in said
    assert "03_table  skipped (up to date)" in said
    assert run(ran, overrides=["01.count=5"])[0] == []
    assert run(ran)[0] == ["01_numbers", "02_sums"]


def test_a_deleted_output_and_a_damaged_one_are_written_again(ran, toy):
    run(ran)
    output = toy / "runs/toy/02_sums/out.txt"
    before = output.read_text()
    output.unlink()
    names, said = run(ran)
    assert names == ["02_sums"]
    assert "(output out.txt is missing)" in said
    output.write_text("3;")  # the same size
    names, said = run(ran)
    assert names == ["02_sums"]  # with the same result, so 03 stands
    assert "(output out.txt is damaged)" in said
    assert output.read_text() == before


def test_nothing_is_computed_from_a_damaged_output(ran, toy):
    run(ran)
    (toy / "runs/toy/02_sums/out.txt").write_text("3;")
    message = "03_table needs 02_sums/out.txt, but 02_sums/out.txt is damaged since: run it first .*--from 02"
    with pytest.raises(M2SError, match=message):
        run(ran, only=["03"])


def test_only_from_and_fresh(ran, toy):
    run(ran)
    (toy / "runs/toy/03_table/leftover.txt").write_text("x")
    (toy / "runs/toy/02_sums/leftover.txt").write_text("x")
    assert run(ran, only=["03"], fresh=True)[0] == ["03_table"]
    assert not (toy / "runs/toy/03_table/leftover.txt").exists()
    assert (toy / "runs/toy/02_sums/leftover.txt").exists()
    assert run(ran, from_="02")[0] == []
    assert run(ran, from_="02", fresh=True)[0] == ["02_sums", "03_table"]


def test_fresh_empties_only_what_a_stage_has_made(ran, toy):
    (toy / "runs/toy/01_numbers").mkdir(parents=True)
    (toy / "runs/toy/01_numbers/mine.txt").write_text("x")
    run(ran, fresh=True)
    assert (toy / "runs/toy/01_numbers/mine.txt").exists()


def test_a_moved_run_goes_on(ran, toy, tmp_path):
    run(ran)
    (toy / "runs/toy").rename(tmp_path / "moved")
    assert run(ran, run_dir=tmp_path / "moved")[0] == []


def test_newer_code_is_said_but_not_run(ran, toy):
    run(ran)
    path = toy / "notebooks/02_sums.ipynb"
    path.write_text(path.read_text().replace("total = float", "total = 1 * float"))
    names, said = run(ran)
    assert names == []
    assert "02_sums  skipped (up to date; the notebook changed since, --fresh recomputes)" in said
    assert "01_numbers  skipped (up to date)\n" in said


def test_nothing_runs_when_anything_is_wrong(ran, toy):
    with pytest.raises(M2SError, match="nothing was run, 2 problem"):
        run(ran, overrides=["03.title=x", "03.titel=x", "01.count=x"])
    assert ran == []
    assert not (toy / "runs").exists()


def test_a_run_directory_in_use_is_refused(ran, toy, monkeypatch):
    command = [sys.executable, "-c", HOLD, str(toy / "runs/toy/.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "1\n"
        with pytest.raises(
            M2SError, match=rf"runs/toy is in use by process {other.pid} on host .* since .*m2s run toy"
        ):
            run(ran)
        monkeypatch.delenv(PIPELINE, raising=False)
        with pytest.raises(M2SError, match=f"in use by process {other.pid}"):
            open_stage("03_table", {"run_dir": "runs/toy", "title": "x"}).path("a.txt")
        other.communicate("\n")
    assert run(ran)[0] == ALL


@pytest.mark.fault
def test_a_full_disk_is_said_plainly(ran, toy, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(kernel, "execute", full)
    with pytest.raises(
        StageFailed, match=r"01_numbers: no space left on the disk .*\nTo go on .*: m2s run toy --from 01"
    ):
        run(ran)

    def full_in_our_file(*_, **__):
        raise M2SError("no space left while writing x")

    monkeypatch.setattr(kernel, "execute", full_in_our_file)
    with pytest.raises(StageFailed, match=r"01_numbers: no space left while writing x\nTo go on"):
        run(ran)


def test_a_notebook_without_an_end_is_a_failure(toy, monkeypatch):
    def execute(node, folder, cwd, env, stream=None):
        kernel.write_notebook(node, folder / "notebook.ipynb")

    monkeypatch.setattr(kernel, "execute", execute)
    with pytest.raises(StageFailed, match=r"01_numbers: the notebook ended without stage.finish"):
        run_profile("toy", stream=io.StringIO())
    record = read_json(toy / "runs/toy/01_numbers/run.json")
    assert (record["status"], record["parameters"]["count"]) == ("failed", 4)


def test_prepared_notebooks_are_valid_and_have_the_values(toy, tmp_path):
    paths = prepare_notebooks("toy", tmp_path / "out", overrides=["01.source=a'b\"c\\d\nü", "01.seeds=[3]"])
    assert [p.name for p in paths] == [f"{s}.ipynb" for s in ALL]
    for path in paths:
        node = nbformat.read(path, as_version=4)
        nbformat.validate(node)
        assert "papermill" not in path.read_text()
        assert node.metadata.kernelspec.name == "python3"
        assert all(not c.get("outputs") for c in node.cells)
    values = injected(nbformat.read(paths[0], as_version=4))
    assert values["run_dir"] == str(toy / "runs/toy")
    assert (values["count"], values["seeds"], values["source"]) == (4, [3], "a'b\"c\\d\nü")
    with pytest.raises(M2SError, match="holds the notebooks themselves"):
        prepare_notebooks("toy", toy / "notebooks")


# -- with papermill and kernels --


def test_a_real_run(finished):
    run_dir = finished.root / "runs" / "toy"
    assert [line.split("  ")[0] for line in finished.said.splitlines() if "  done in " in line] == ALL
    assert "dawdling" in finished.said  # cells' text shows while they run
    assert "Executing" not in finished.said
    assert "encryption" not in finished.said
    assert read_json(run_dir / "02_sums/sums.json") == {"total": 14.0}
    node = nbformat.read(run_dir / "02_sums/notebook.ipynb", as_version=4)
    nbformat.validate(node)
    assert "papermill" not in {**node.metadata, **{k: 0 for c in node.cells for k in c.metadata}}
    assert injected(node) == {"run_dir": "runs/toy", "power": 2}
    pictures = [o for c in node.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) == 1  # shown once although saved and returned
    assert sorted(p.name for p in (run_dir / "01_numbers").iterdir()) == [
        "notebook.ipynb",
        "numbers.parquet",
        "parts",
        "run.json",
    ]


def test_a_failure_names_stage_cell_and_how_to_go_on(toy):
    with pytest.raises(StageFailed) as error:
        run_profile("toy", overrides=["01.fail=true"], stream=io.StringIO())
    message = str(error.value)
    for words in (
        "01_numbers: cell 5 (In [4]) failed:",
        "ValueError: a <b>bad</b> day",
        "m2s run toy --from 01 -p 01.fail=true",
    ):
        assert words in message
    assert "\x1b" not in message
    folder = toy / "runs/toy/01_numbers"
    assert f"The notebook so far: {folder}/notebook.failed.ipynb" in message
    nbformat.validate(nbformat.read(folder / "notebook.failed.ipynb", as_version=4))
    record = read_json(folder / "run.json")
    assert record["status"] == "failed"
    assert "ValueError" in record["error"]
    assert not (folder / "notebook.ipynb").exists()
    assert not [p for p in folder.iterdir() if p.name.endswith(".tmp")]


@pytest.mark.fault
def test_a_kernel_that_dies_is_a_failure(toy):
    source = 'run_dir = "r"  # folder | the run'
    (toy / "notebooks/03_table.ipynb").write_text(
        notebook(source, "import os, sys\nos.write(2, b'last words')\nos._exit(9)")
    )
    with pytest.raises(StageFailed, match=r"03_table: the kernel died, most often because memory ran out"):
        run_profile("toy", only=["03"], stream=io.StringIO())
    assert read_json(toy / "runs/toy/03_table/run.json")["status"] == "failed"


def test_a_message_for_users_is_shown_without_traceback(toy, tmp_path):
    odd = tmp_path / "a {b} 'c' ü"  # papermill would format the braces
    with pytest.raises(StageFailed) as error:
        run_profile("toy", odd, only=["03"], stream=io.StringIO())
    assert (odd / "03_table" / "notebook.failed.ipynb").is_file()
    assert "M2SError: 03_table needs 02_sums/sums.json, which stage 02_sums writes" in str(error.value)
    assert "Traceback" not in str(error.value)
    assert str(error.value).endswith(f"m2s run toy --run-dir {shlex.quote(str(odd))} --only 03")
