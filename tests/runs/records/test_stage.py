"""A stage as a notebook sees it, without a kernel."""

import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.figure
import nbformat
import numpy as np
import pandas as pd
import pytest
import xxhash

from m2s_lib.errors import M2SError
from m2s_lib.io import read_json
from m2s_lib.runs import open_stage
from m2s_lib.runs.records.record import why_stale
from tests.helpers.toy_project import HOLD

NUMBERS = {
    "run_dir": "runs/r",
    "count": 3,
    "scale": 1,
    "sleep_s": 0.0,
    "source": "",
    "order": "up",
    "fail": False,
    "seeds": [],
}
SUMS = {"run_dir": "runs/r", "power": 2}


def first(*, use="cell", **changes):
    return open_stage("01_numbers", {**NUMBERS, "another": object(), **changes}, use=use)


def run_first(**changes):
    stage = first(**changes)
    stage.write("numbers.parquet", pd.DataFrame({"number": [1, 2]}))
    stage.finish({"count": 2, "headline": {"n": 2}, "timing": {"s": os.times().elapsed}})


def test_a_stage_takes_its_own_parameters_from_the_notebook(toy):
    stage = first()
    assert stage.parameters.count == 3
    assert type(stage.parameters.scale) is float
    assert stage.run_dir == toy / "runs" / "r"
    assert not stage.run_dir.exists()  # nothing is written before there is something to write
    stage.path("a.txt")
    record = read_json(stage.folder / "run.json")
    assert (record["status"], record["pid"], record["parameters"]["order"]) == ("running", os.getpid(), "up")
    assert "run_dir" not in record["parameters"]


def test_by_hand_values_are_as_strict_as_in_the_pipeline(toy):
    with pytest.raises(M2SError) as error:
        open_stage("01_numbers", {**NUMBERS, "count": 99, "order": "sideways", "seeds": (1,), "scale": "2"})
    for words in (
        "4 problem(s)",
        "must be in 1..10",
        "must be one of: up, down",
        "expected list[int]",
        "expected float",
    ):
        assert words in str(error.value)
    with pytest.raises(M2SError, match="power is not set: run the parameters cell first"):
        open_stage("02_sums", {"run_dir": "x"})
    with pytest.raises(M2SError, match="no notebook '02_sum' .did you mean 02_sums"):
        open_stage("02_sum", {})
    assert not (toy / "runs").exists()


def test_inputs_are_recorded_relative_and_outputs_listed(toy, tmp_path):
    run_first()
    (toy / "films").mkdir()
    (toy / "films" / "a.mp4").write_text("film")
    (tmp_path / "far.csv").write_text("x")
    stage = open_stage("02_sums", SUMS)
    assert stage.read_parquet("01_numbers/numbers.parquet", ["number"]).number.tolist() == [1, 2]
    assert stage.input(toy / "runs/r/01_numbers/numbers.parquet") == stage.input("01_numbers/numbers.parquet")
    assert stage.input("films") == toy / "films"
    assert stage.input("films/../films/a.mp4") == toy / "films/a.mp4"
    assert stage.input(tmp_path / "far.csv") == tmp_path / "far.csv"
    stage.path("deep/er/x.txt").write_text("four")
    stage.path(".hidden.12.tmp").write_text("killed")
    stage.finish({"a": np.float32(0.5), "b": float("nan"), "c": np.arange(2)})
    record = read_json(stage.folder / "run.json")
    names = ["01_numbers/numbers.parquet", "films", "films/a.mp4", str(tmp_path / "far.csv")]
    assert sorted(i["path"] for i in record["inputs"]) == sorted(names)
    assert all(len(i["fingerprint"]) == 32 for i in record["inputs"])
    assert record["outputs"] == [
        {"path": "deep/er/x.txt", "size": 4, "xxh3": xxhash.xxh3_64_hexdigest(b"four")}
    ]
    assert record["metrics"] == {"a": 0.5, "b": None, "c": [0, 1]}
    assert why_stale(stage.run_dir, "02_sums", {"power": 2}, toy) == ""


def test_inputs_that_are_refused(toy):
    stage = open_stage("02_sums", SUMS)
    with pytest.raises(
        M2SError, match=r"needs 01_numbers/numbers.parquet, which stage 01_numbers writes, but .*--from 01"
    ):
        stage.read_parquet("01_numbers/numbers.parquet")
    with pytest.raises(
        M2SError, match=r"reads only from the stages before it \(01_numbers\), not from '03_table'"
    ):
        stage.input("03_table/table.txt")
    with pytest.raises(M2SError, match="not from '02_sums'"):
        stage.input("02_sums/x")
    with pytest.raises(M2SError, match="01_numbers is a whole stage"):
        stage.input("01_numbers")
    with pytest.raises(M2SError, match="not from '07'"):
        stage.earlier("07")
    with pytest.raises(M2SError, match="which does not exist; relative paths are seen from"):
        stage.input("films/none.mp4")


def test_a_stage_that_has_not_finished_is_no_input(toy):
    first().write("numbers.parquet", pd.DataFrame({"number": [1]}))
    stage = open_stage("02_sums", SUMS)
    with pytest.raises(M2SError, match="stage 01_numbers has not finished in .* run it first"):
        stage.input("01_numbers/numbers.parquet")


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/x", ".", "", "run.json", "notebook.ipynb", "a/../run.json"]
)
def test_outputs_stay_in_the_stage_folder(toy, name):
    with pytest.raises(M2SError, match=r"writes only into its own folder|is kept for the record"):
        first().path(name)


def test_earlier_counts_what_was_computed_not_when(toy):
    run_first()
    stage = open_stage("02_sums", SUMS)
    before = stage.earlier("01")
    assert (before.stage, before.parameters.count, before.metrics["count"]) == ("01_numbers", 3, 2)
    stage.finish()
    run_first()  # other times, the same results
    assert why_stale(stage.run_dir, "02_sums", {"power": 2}, toy) == ""
    run_first(count=4)
    assert why_stale(stage.run_dir, "02_sums", {"power": 2}, toy) == "input 01_numbers/run.json changed"


def test_figures_are_saved_once_with_table_and_alt_text(toy):
    stage = first()
    figure = matplotlib.figure.Figure(figsize=(2, 1))
    figure.subplots().plot([1, 2])
    table = pd.DataFrame({"x": [1.5]}, index=pd.Index(["film"], name="id"))
    assert stage.save_figure(figure, "fig-2", table=table, alt="A line") is figure
    stage.finish()
    bytes_then = {p.name: p.read_bytes() for p in stage.path("figures").iterdir()}
    (stage.path("figures") / "old.png").write_bytes(b"of a figure that is drawn no more")
    (stage.folder / "run.json").unlink()
    stage = first()
    stage.save_figure(figure, "fig-2", table=table, alt="A line")
    stage.save_figure(figure, "fig-2", table=table, alt="A line, again")
    assert (stage.folder / "figures/old.png").exists()  # until the new ones are complete
    stage.finish()
    assert {p.name: p.read_bytes() for p in stage.path("figures").iterdir()} == bytes_then
    assert bytes_then["fig-2.csv"] == b"id,x\nfilm,1.5\n"
    assert b"CreationDate" not in bytes_then["fig-2.pdf"]
    entry = {"id": "fig-2", "alt": "A line, again", "png": "figures/fig-2.png", "pdf": "figures/fig-2.pdf"}
    assert read_json(stage.folder / "run.json")["figures"] == [{**entry, "csv": "figures/fig-2.csv"}]
    with pytest.raises(M2SError, match="cannot be a figure's id"):
        stage.save_figure(figure, "../x")
    with pytest.raises(M2SError, match="takes matplotlib Figures"):
        stage.save_figure([1], "x")


def test_metrics_that_are_refused(toy):
    stage = first()
    with pytest.raises(M2SError, match="metric 'x' is a object"):
        stage.finish({"x": object()})
    with pytest.raises(M2SError, match=r"metrics\['headline'\] has to be a dict"):
        stage.finish({"headline": 3})
    with pytest.raises(M2SError, match="may not hold 'stages'"):
        stage.finish({"summary": {"stages": 1}})


def test_by_hand_the_record_is_that_of_the_pipeline(toy, finished):
    run_first(count=2, order="down")
    folder = toy / "runs" / "r" / "01_numbers"
    pipeline = read_json(finished.root / "runs" / "toy" / "01_numbers" / "run.json")
    by_hand = read_json(folder / "run.json")
    assert list(by_hand) == list(pipeline)
    assert (by_hand["made_by"], pipeline["made_by"]) == ("hand", "pipeline")
    assert by_hand["source"]["notebook"] == pipeline["source"]["notebook"]
    for name in ("versions", "git", "parameters"):
        assert list(by_hand[name]) == list(pipeline[name])
    kept = nbformat.read(folder / "notebook.ipynb", as_version=4)
    nbformat.validate(kept)
    injected = next(c for c in kept.cells if "injected-parameters" in c.metadata.get("tags", []))
    assert "count = 2\n" in injected.source
    assert "order = 'down'\n" in injected.source


def test_beginning_again_clears_what_a_killed_run_left(toy):
    run_first()
    folder = toy / "runs" / "r" / "01_numbers"
    (folder / "figures").mkdir()
    for name in (".numbers.parquet.999999999.tmp", "figures/old.png", "notebook.html"):
        (folder / name).write_text("stale")
    (folder / "numbers.parquet").write_text("damaged")
    stage = first(count=4)
    assert len(list(folder.rglob("*.*"))) == 6
    stage.path("more.txt")
    names = ["figures/old.png", "notebook.html", "notebook.ipynb", "run.json"]
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*")) == names
    assert json.loads((folder / "run.json").read_text())["status"] == "running"
    stage.finish()
    assert sorted(p.name for p in folder.rglob("*.*")) == ["notebook.ipynb", "run.json"]


# -- by hand --


def state(folder: Path) -> dict[str, tuple]:
    """Every file below a folder: its bytes, inode and time; without the memory of what was checked."""
    about = {p.relative_to(folder): p.stat() for p in folder.rglob("*") if p.is_file()}
    return {
        name.as_posix(): (s.st_ino, s.st_mtime_ns, (folder / name).read_bytes())
        for name, s in about.items()
        if name.name != ".fingerprints.json"
    }


def work(stage, calls: list[str], factor: float = 2.0):
    """What the cells of a notebook do after the set-up cell."""

    def compute(what: str, value):
        calls.append(what)
        return value

    table = stage.kept("table.parquet", compute, "table", pd.DataFrame({"a": [factor]}))
    both = stage.kept(("sums.npz", "n.json"), compute, "both", ({"x": np.ones(2)}, [1, None]))
    stage.write("by_hand.json", {"factor": factor})
    figure = matplotlib.figure.Figure(figsize=(1, 1))
    stage.save_figure(figure, "empty", table=table)
    stage.finish({"factor": factor})
    return table, both


def test_run_all_on_a_finished_stage_computes_and_writes_nothing(toy, capsys):
    calls: list[str] = []
    once = work(first(use=""), calls)
    assert calls == ["table", "both"]
    before = state(toy / "runs")
    stage = first(use="")
    assert stage.done
    assert "01_numbers is up to date in" in capsys.readouterr().out
    again = work(stage, calls, factor=3.0)
    assert calls == ["table", "both"]
    assert state(toy / "runs") == before
    assert repr(again) == repr(once)


def test_what_a_finished_stage_lacks_is_computed_and_all_that_follows(toy):
    calls: list[str] = []
    work(first(use=""), calls)
    stage = first(use="")
    assert stage.kept("new.json", lambda: 7) == 7
    work(stage, calls, factor=3.0)
    assert calls == ["table", "both"] * 2
    record = read_json(stage.folder / "run.json")
    assert record["metrics"] == {"factor": 3.0}
    assert {"new.json", "figures/empty.png"} <= {e["path"] for e in record["outputs"]}
    assert first(use="").done


def test_a_damaged_output_is_named_and_computed_again(toy, capsys):
    calls: list[str] = []
    work(first(use=""), calls)
    (toy / "runs/r/01_numbers/n.json").write_text("[2, null]\n")
    stage = first(use="")
    assert "01_numbers is computed in" in (said := capsys.readouterr().out)
    assert "(output n.json is of another size)" in said
    assert work(stage, calls)[1][1] == [1, None]
    assert calls == ["table", "both"] * 2


def test_fresh_begins_from_nothing(toy):
    calls: list[str] = []
    work(first(use=""), calls)
    stage = open_stage("01_numbers", dict(NUMBERS), fresh=True)
    assert not stage.done
    assert (stage.folder / "table.parquet").exists()
    stage.path("other.txt")
    assert sorted(p.name for p in stage.folder.rglob("*.*")) == ["notebook.ipynb", "run.json"]


def test_values_that_differ_from_the_runs_stop_the_notebook_before_anything_is_written(toy):
    run_first(count=5, order="down")
    before = state(toy / "runs")
    with pytest.raises(M2SError) as error:
        first(use="")
    assert str(error.value) == (
        f"01_numbers was run in {toy}/runs/r with other values than the parameters cell has. Nothing was "
        "computed or written.\n\n"
        "  parameter  the run  the cell\n"
        "  count      5        3\n"
        "  order      'down'   'up'\n\n"
        "Say in the set-up cell which hold:\n"
        '  stage = open_stage("01_numbers", globals(), use="record")  # the run\'s; they are put into this '
        "notebook\n"
        '  stage = open_stage("01_numbers", globals(), use="cell")    # the cell\'s; the stage is computed '
        "again\n"
        "or set run_dir to a folder of its own."
    )
    names = dict(NUMBERS)
    stage = open_stage("01_numbers", names, use="record")
    assert stage.done
    assert (names["count"], names["order"], stage.parameters.count) == (5, "down", 5)
    assert state(toy / "runs") == before
    stage = open_stage("01_numbers", names | {"count": 3}, use="cell")
    assert (stage.done, stage.parameters.count, stage.parameters.order) == (False, 3, "down")
    with pytest.raises(M2SError, match='use=\'both\': expected "record" or "cell"'):
        open_stage("01_numbers", names, use="both")


def test_the_pipeline_is_not_asked(toy, monkeypatch):
    run_first(count=5)
    monkeypatch.setenv("M2S_PIPELINE", "1")
    stage = first(use="")
    assert (stage.done, stage.parameters.count) == (False, 3)


@pytest.mark.slow
def test_a_notebook_by_hand_leaves_its_outputs_and_run_all_leaves_them_alone(toy):
    from nbclient import NotebookClient

    run_first(count=2)
    for name in ("01_numbers", "02_sums"):
        for once in (True, False):
            node = nbformat.read(toy / f"notebooks/{name}.ipynb", as_version=4)
            node.cells[1].source += '\nrun_dir = "runs/hand"'
            before = state(toy / "runs")
            NotebookClient(node, resources={"metadata": {"path": str(toy)}}).execute()
            assert (state(toy / "runs") != before) == once
    kept = nbformat.read(toy / "runs/hand/02_sums/notebook.ipynb", as_version=4)
    nbformat.validate(kept)
    outputs = [o for c in kept.cells if c.cell_type == "code" for o in c.outputs]
    assert "02_sums is computed in" in outputs[0].text
    assert [o for o in outputs if "image/png" in o.get("data", {})]


def test_the_kernel_of_a_killed_pipeline_is_waited_for_then_named(toy, monkeypatch):
    monkeypatch.setattr("m2s_lib.runs.records.stage.ORPHAN_WAIT_S", 0.3)
    command = [sys.executable, "-c", HOLD, str(toy / "runs/r/.stage.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as orphan:
        assert orphan.stdout.readline() == "1\n"
        stage = first()
        with pytest.raises(M2SError, match=f"in use by process {orphan.pid}"):
            stage.path("a.txt")
        orphan.communicate("\n")
    assert stage.path("a.txt").parent.is_dir()
