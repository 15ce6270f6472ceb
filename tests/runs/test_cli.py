"""The m2s command: what it prints and how it ends."""

import subprocess
import sys

import pytest

from m2s_lib import __version__
from m2s_lib.io import read_json, write_json
from m2s_lib.runs.cli import main
from m2s_lib.runs.parameters.parameters import REPLACED
from m2s_lib.runs.pipeline.pipeline import StageFailed
from m2s_lib.runs.records.record import MOVED
from tests.helpers.toy_project import write_profile


def test_it_starts_light():
    heavy = "{'torch', 'pandas', 'papermill', 'numpy'}"
    code = f"import sys, m2s_lib.runs.cli as c; c._parser(); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_help_and_version(capsys):
    for arguments, words in (
        (["--version"], f"m2s {__version__}"),
        (["--help"], "exit status"),
        (["run", "--help"], "NN.NAME=VALUE"),
    ):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 0
        assert words in capsys.readouterr().out


def test_params(toy, capsys):
    assert main(["params"]) == 0
    out = capsys.readouterr().out
    assert "01_numbers" in out
    assert "02.power  2        exponent, 1..4  of each number" in out
    assert "run_dir" not in out
    assert main(["params", "02"]) == 0
    assert "01_numbers" not in capsys.readouterr().out
    assert main(["params", "9"]) == 2
    assert "there is no notebook '9'" in capsys.readouterr().err


def test_profiles(toy, capsys):
    write_profile(toy, "bad", "[]")
    assert main(["profiles"]) == 0
    out = capsys.readouterr().out
    assert "toy      the toy" in out
    assert "bad      (cannot be used:" in out


def test_a_bad_request_ends_with_2_and_no_traceback(toy, capsys):
    assert main(["run", "toy", "-p", "01.count=0", "--only", "07"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("m2s: nothing was run, 2 problem(s) with profile toy:\n")
    assert "Traceback" not in err
    assert main(["run", "demo"]) == 2
    assert "there is no profile 'demo'; the profiles are toy" in capsys.readouterr().err


def test_a_failed_stage_ends_with_1_and_the_report_of_what_is_done(done, capsys, monkeypatch):
    def fail(*_, **__):
        raise StageFailed("03_table: it broke")

    monkeypatch.setattr("m2s_lib.runs.pipeline.pipeline.run_profile", fail)
    assert main(["run", "toy"]) == 1
    out, err = capsys.readouterr()
    assert err == "m2s: 03_table: it broke\n"
    assert "total 14, of 4" in out
    assert (done / "runs/toy/report.html").is_file()


def test_files_and_folders_that_are_not_there(toy, capsys, tmp_path):
    path = toy / "notebooks" / "01_numbers.ipynb"
    path.write_text(
        path.read_text().replace("seeds = [1, 2]", "films_dir = ''  # folder | films\\nseeds = [1, 2]")
    )
    assert main(["run", "toy", "--films-dir", str(tmp_path / "gone")]) == 2
    err = capsys.readouterr().err
    folder = str(tmp_path / "gone")
    assert f"01.films_dir = {folder!r}: there is no folder {folder}; say where it is: " in err
    assert err.endswith("m2s run toy --films-dir FOLDER\n")
    assert main(["run", "toy", "-p", "01.source=gone.csv"]) == 2
    expected = f"01.source = 'gone.csv': there is no file {toy}/gone.csv; say where it is: m2s run toy -p "
    assert f"{expected}01.source=PATH\n" in capsys.readouterr().err
    assert not (toy / "runs").exists()


@pytest.fixture
def requests(monkeypatch) -> list[list[str]]:
    """The overrides of each run that was asked for; nothing runs."""
    seen = []

    def note(*request, **_):
        seen.append(request[4])
        return request[1]

    monkeypatch.setattr("m2s_lib.runs.pipeline.pipeline.run_profile", note)
    monkeypatch.setattr("m2s_lib.runs.cli._show", lambda run_dir: None)
    return seen


def test_a_films_folder_is_seen_from_the_current_folder(toy, requests, monkeypatch):
    monkeypatch.chdir(toy / "notebooks")
    for folder in ("../films", "../../films", "embedded"):
        assert main(["run", "toy", "--films-dir", folder, "-p", "01.count=2"]) == 0
    texts = ["films", str(toy.parent / "films"), "embedded"]
    assert requests == [[f"01.films_dir={text}", "01.count=2"] for text in texts]


def test_a_run_whose_films_have_moved_keeps_what_is_computed(toy, requests, tmp_path):
    run_dir = toy / "runs/toy"
    write_json(run_dir / "01_numbers/run.json", {"parameters": {"films_dir": str(tmp_path / "old")}})
    (tmp_path / "new").mkdir()
    assert main(["run", "toy", "--films-dir", str(tmp_path / "new")]) == 0
    assert read_json(run_dir / MOVED) == {str(tmp_path / "old"): str(tmp_path / "new")}
    assert main(["run", "toy", "--films-dir", str(tmp_path / "new"), "--only", "02"]) == 0
    (tmp_path / "old").mkdir()  # other films, then
    assert main(["run", "toy", "--films-dir", str(tmp_path / "new")]) == 0
    assert requests == [[f"01.films_dir={tmp_path}/old"], [], [f"01.films_dir={tmp_path}/new"]]


def test_what_is_renamed_is_refused_with_its_new_name(toy, capsys, monkeypatch):
    assert main(["run", "toy", "--row", "x"]) == 2
    assert "--row is now --setting: m2s run toy --setting 'x'" in capsys.readouterr().err
    monkeypatch.setitem(REPLACED, "amount", "write 01.count")
    assert main(["run", "toy", "-p", "01.amount=3"]) == 2
    assert "01_numbers has no parameter 'amount'; it is gone: write 01.count" in capsys.readouterr().err


def test_a_run_ends_with_the_table_and_the_report(done, capsys):
    assert main(["run", "toy"]) == 0
    out = capsys.readouterr().out
    assert out.count("skipped (up to date)") == 3
    assert f"report: {done}/runs/toy/report.html" in out
    assert (done / "runs/toy/report.html").is_file()
    assert main(["report", "runs/toy"]) == 0
    assert "total 14, of 4" in capsys.readouterr().out
    assert main(["report", "runs/none"]) == 2
    assert "is not a run directory" in capsys.readouterr().err


def test_prepare(toy, capsys, tmp_path):
    assert main(["prepare", "toy", "--out", str(tmp_path / "p"), "--run-dir", str(tmp_path / "r")]) == 0
    assert f"3 notebooks in {tmp_path / 'p'}" in capsys.readouterr().out
    assert f'run_dir = \\"{tmp_path / "r"}\\"' in (tmp_path / "p" / "01_numbers.ipynb").read_text()


@pytest.mark.slow
def test_prepared_notebooks_pass_nbval_in_order(toy, tmp_path):
    main(["prepare", "toy", "--out", str(tmp_path / "p"), "--run-dir", str(tmp_path / "r")])
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval-lax",
        str(tmp_path / "p"),
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "12 passed" in done.stdout
    assert (tmp_path / "r" / "03_table" / "run.json").is_file()
