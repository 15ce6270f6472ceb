"""When a record still holds."""

import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.io import fingerprint, read_json, write_json
from m2s_lib.runs import open_stage
from m2s_lib.runs.cli import main
from m2s_lib.runs.pipeline import kernel
from m2s_lib.runs.records.provenance import source_state
from m2s_lib.runs.records.record import (
    Fingerprints,
    code_changed,
    located,
    moved_films,
    portable,
    read_record,
    why_stale,
)

NUMBERS = {
    "count": 4,
    "scale": 1.0,
    "sleep_s": 0.0,
    "source": "",
    "order": "up",
    "fail": False,
    "seeds": [1, 2],
}


def test_a_finished_run_is_up_to_date_wherever_it_lies(done, tmp_path):
    run = done / "runs" / "toy"
    elsewhere = tmp_path / "elsewhere"
    shutil.move(run, elsewhere)
    assert why_stale(elsewhere, "01_numbers", NUMBERS, done) == ""
    assert why_stale(elsewhere, "02_sums", {"power": 2}, done) == ""
    assert str(done) not in (elsewhere / "02_sums" / "run.json").read_text()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({**NUMBERS, "count": 5}, "count changed from 4 to 5"),
        ({**NUMBERS, "new": 5}, "new changed from 'none' to 5"),
        ({k: v for k, v in NUMBERS.items() if k != "seeds"}, "seeds changed from [1, 2] to 'none'"),
    ],
)
def test_changed_parameters(done, values, words):
    assert why_stale(done / "runs" / "toy", "01_numbers", values, done) == words


def test_changed_inputs_and_outputs(done):
    run = done / "runs" / "toy"
    table = run / "01_numbers" / "numbers.parquet"
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1  # same size, same name
    table.write_bytes(content)
    assert why_stale(run, "01_numbers", NUMBERS, done) == "output numbers.parquet is damaged"
    assert why_stale(run, "02_sums", {"power": 2}, done) == "input 01_numbers/numbers.parquet changed"
    table.unlink()
    assert why_stale(run, "01_numbers", NUMBERS, done) == "output numbers.parquet is missing"
    table.write_text("short")
    assert why_stale(run, "01_numbers", NUMBERS, done) == "output numbers.parquet is of another size"


def test_runs_that_did_not_end(done):
    run = done / "runs" / "toy"
    assert why_stale(run, "04_none", {}, done) == "not run yet"
    (run / "03_table" / "notebook.ipynb").unlink()
    assert why_stale(run, "03_table", {"title": "<script>alert(1)</script>"}, done) == "did not finish"
    path = run / "02_sums" / "run.json"
    write_json(path, {**read_json(path), "status": "failed"})
    assert why_stale(run, "02_sums", {"power": 2}, done) == "did not finish"
    path.write_text('{"stage": ')
    assert read_record(run, "02_sums") == {}
    assert why_stale(run, "02_sums", {"power": 2}, done) == "not run yet"


def test_newer_code_is_named(done):
    record = read_record(done / "runs" / "toy", "02_sums")
    notebook = done / "notebooks" / "02_sums.ipynb"
    record["source"]["library"] = source_state(notebook)["library"]  # others may be editing the library
    assert code_changed(record, source_state(notebook)) == ""
    notebook.write_text(notebook.read_text().replace("** power", "** power "))
    assert code_changed(record, source_state(notebook)) == "the notebook"
    assert code_changed(record, {"notebook": "", "library": ""}) == "the notebook and m2s_lib"


def later(monkeypatch, seconds: float = 100.0) -> None:
    """Set the clock that decides what is remembered; the file system keeps its own."""
    now = time.time() + seconds
    monkeypatch.setattr("m2s_lib.runs.records.record.time", SimpleNamespace(time=lambda: now))


def test_remembered_fingerprints_equal_fresh_ones(toy, monkeypatch):
    films, run = toy / "films", toy / "runs"
    films.mkdir()
    run.mkdir()
    for i in range(3):
        (films / f"{i}.mp4").write_text(str(i))
    later(monkeypatch)
    first = Fingerprints(run, toy).of("films")
    assert first == fingerprint(films)
    with monkeypatch.context() as patch:
        patch.setattr("m2s_lib.io.fingerprint", lambda path: pytest.fail("hashed again"))
        assert Fingerprints(run, toy).of("films") == first
    (films / "1.mp4").write_text("x")  # the same size
    assert Fingerprints(run, toy).of("films") == fingerprint(films) != first
    (films / "1.mp4").unlink()
    assert Fingerprints(run, toy).of("films") == fingerprint(films)
    assert Fingerprints(run, toy).of("none") == ""


def test_what_has_just_been_written_is_hashed_each_time(toy):
    (toy / "a.txt").write_text("a")
    known = Fingerprints(toy, toy)
    known.of("a.txt")
    assert not (toy / ".fingerprints.json").exists()


@pytest.mark.fault
@pytest.mark.parametrize("shift_s", [-1e6, 0.0, 1e6])
def test_a_change_is_seen_whatever_the_files_time_says(toy, monkeypatch, shift_s):
    path = toy / "film.mp4"
    path.write_text("one")
    then = time.time() + shift_s
    os.utime(path, (then, then))
    later(monkeypatch)
    assert Fingerprints(toy, toy).of("film.mp4") == fingerprint(path)
    path.write_text("two")  # as many bytes, and a program like rsync or tar sets the time back
    os.utime(path, (then, then))
    assert Fingerprints(toy, toy).of("film.mp4") == fingerprint(path)


@pytest.mark.fault
def test_when_the_clock_jumps_nothing_fresh_becomes_stale_and_nothing_stale_fresh(done, monkeypatch):
    run = done / "runs" / "toy"
    sums = run / "02_sums" / "sums.json"
    for seconds in (1e7, -1e7, 1e7, 0.0):
        later(monkeypatch, seconds)
        assert why_stale(run, "01_numbers", NUMBERS, done) == ""
        assert why_stale(run, "02_sums", {"power": 2}, done) == ""
        whole = sums.read_bytes()
        sums.write_bytes(whole.replace(b"14", b"41"))
        for then in (1.0, time.time() + 1e6):
            os.utime(sums, (then, then))
            assert why_stale(run, "02_sums", {"power": 2}, done) == "output sums.json is damaged"
        sums.write_bytes(whole)


@pytest.mark.fault
@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"films": 3}', '{"films": []}', '{"films": [null, 1]}']
)
def test_damaged_memory_of_fingerprints_is_no_memory(toy, text):
    (toy / "films").mkdir()
    (toy / "films" / "a.mp4").write_text("a")
    (toy / ".fingerprints.json").write_text(text)
    assert Fingerprints(toy, toy).of("films") == fingerprint(toy / "films")


def test_what_is_whole_is_summed_once(done, monkeypatch):
    run = done / "runs" / "toy"
    later(monkeypatch)
    assert Fingerprints(run, done).damaged("01_numbers") == {}
    monkeypatch.setattr("m2s_lib.io.checksum", lambda path: pytest.fail("summed again"))
    assert Fingerprints(run, done).damaged("01_numbers") == {}


@pytest.mark.fault
def test_outputs_that_changed_are_named(done):
    run = done / "runs" / "toy"
    parts = run / "01_numbers" / "parts"
    (parts / "0.json").write_bytes((parts / "0.json").read_bytes().replace(b"0", b"7"))
    (parts / "1.json").unlink()
    (parts / "2.json").write_text("")
    wrong = {"parts/0.json": "damaged", "parts/1.json": "missing", "parts/2.json": "of another size"}
    known = Fingerprints(run, done)
    assert known.damaged("01_numbers") == known.damaged("01_numbers", "parts") == wrong
    assert known.damaged("01_numbers", "parts/0.json") == {"parts/0.json": "damaged"}
    assert known.damaged("01_numbers", "numbers.parquet") == known.damaged("02_sums") == {}


def test_records_of_earlier_versions_have_no_checksums(done):
    path = done / "runs" / "toy" / "02_sums" / "run.json"
    record = read_json(path)
    record["outputs"] = [{"path": e["path"], "size": e["size"]} for e in record["outputs"]]
    write_json(path, record)
    assert why_stale(done / "runs" / "toy", "02_sums", {"power": 2}, done) == ""


# -- films that move --


@pytest.fixture
def own_films(toy, tmp_path):
    """A run of stage 01 that read films outside the project: the run, and their folder."""
    notebook = toy / "notebooks/01_numbers.ipynb"
    text = notebook.read_text().replace("source = ", "films_dir = ")
    notebook.write_text(text.replace("if source: stage.input(source)", "stage.input(films_dir)"))
    films = tmp_path / "films"
    films.mkdir()
    (films / "a.mp4").write_text("a")
    values = {n: v for n, v in NUMBERS.items() if n != "source"} | {"films_dir": str(films)}
    stage = open_stage("01_numbers", {"run_dir": "runs/own"} | values)
    stage.input(stage.parameters.films_dir)
    stage.write_films(pd.DataFrame({"film_id": ["a"], "path": [str(films / "a.mp4")]}))
    stage.finish()
    return stage.run_dir, films, values


def test_films_that_moved_are_where_one_says(own_films, toy, tmp_path):
    run, films, values = own_films
    now = films.rename(tmp_path / "other disk")
    assert why_stale(run, "01_numbers", values, toy) == f"input {films} changed"
    moved_films(run, str(films), now)
    assert why_stale(run, "01_numbers", values, toy) == ""
    stage = open_stage("02_sums", {"run_dir": "runs/own", "power": 2})
    assert stage.read_films().path.tolist() == [str(now / "a.mp4")]
    assert stage.input(films) == now
    assert stage.input(now / "a.mp4") == now / "a.mp4"
    assert list(stage._inputs) == ["01_numbers/films.parquet", str(films), str(films / "a.mp4")]
    now = now.rename(tmp_path / "again")
    moved_films(run, str(films), now)
    assert located([str(films / "a.mp4"), ""], run, toy) == [str(now / "a.mp4"), ""]
    (now / "a.mp4").write_text("another film")
    assert why_stale(run, "01_numbers", values, toy) == f"input {films} changed"


def test_films_inside_a_run_or_the_project_move_with_it(toy, tmp_path):
    run = toy / "runs/own"
    inside = {
        "01_numbers/embedded/films/a.mp4": run / "01_numbers/embedded/films/a.mp4",
        "data/films/b.mp4": toy / "data/films/b.mp4",
        "/elsewhere/c.mp4": Path("/elsewhere/c.mp4"),
    }
    assert [portable(path, run, toy) for path in inside.values()] == list(inside)
    assert located(inside, tmp_path / "moved", toy) == [
        str(tmp_path / "moved/01_numbers/embedded/films/a.mp4"),
        str(toy / "data/films/b.mp4"),
        "/elsewhere/c.mp4",
    ]


def test_films_cannot_have_moved_to_no_folder(own_films, tmp_path):
    with pytest.raises(M2SError, match="none is no folder: name the one that films_dir"):
        moved_films(own_films[0], str(own_films[1]), tmp_path / "none")


def test_the_command_says_where_films_are_now(toy, ran, tmp_path, monkeypatch):
    notebook = toy / "notebooks/01_numbers.ipynb"
    text = notebook.read_text().replace("source = ", "films_dir = ")
    notebook.write_text(text.replace("# file |", "# folder |"))
    films = tmp_path / "films"
    films.mkdir()
    execute = kernel.execute

    def reads_films(node, folder, *rest):
        execute(node, folder, *rest)
        if folder.name == "01_numbers":
            record = read_json(folder / "run.json")
            inputs = [{"path": str(films), "fingerprint": fingerprint(now)}]
            write_json(folder / "run.json", record | {"inputs": inputs})

    now = films
    monkeypatch.setattr(kernel, "execute", reads_films)
    assert main(["run", "toy", "--films-dir", str(films)]) == 0
    now = films.rename(tmp_path / "now")
    ran.clear()
    assert main(["run", "toy", "--films-dir", str(now)]) == 0
    assert ran == []
    assert main(["run", "toy", "--only", "02", "--films-dir", str(now), "-p", "02.power=3"]) == 0
    assert ran == ["02_sums"]
