# ruff: noqa: E501 - each format is one line
"""Every reader of a text format, given damaged files: it reads them, or raises M2SError, and nothing else."""

import contextlib
import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from m2s_lib import io as files
from m2s_lib.errors import M2SError
from m2s_lib.evaluation import clips
from m2s_lib.evaluation.lvu import files as lvu
from m2s_lib.evaluation.moderation import files as mcd
from m2s_lib.evaluation.movienet import files as movienet
from m2s_lib.evaluation.movienet import ovsd, place_tagging
from m2s_lib.evaluation.paper import published
from m2s_lib.films.similarity import benchmark_ids, watch_log
from m2s_lib.films.store import film_table, ingest, sources
from m2s_lib.films.video import decoding, shot_boundaries
from m2s_lib.runs.parameters import parameters
from m2s_lib.runs.parameters.profiles import load_profile
from m2s_lib.runs.records.record import why_stale
from m2s_lib.runs.report.report import summary_table, write_report
from tests.conftest import ROOT
from tests.helpers.lvu_folders import write_lvu


def _film_table(path: Path):
    films = path.parent / "films"
    films.mkdir(exist_ok=True)
    (films / "night.mp4").touch()
    return film_table.read_film_table(films, path)


def _lvu_task(path: Path):
    if not (path.parent / "lvu_1.0").is_dir():
        write_lvu(path.parent)
    (path.parent / "lvu_1.0" / "scene" / "train.csv").write_bytes(path.read_bytes())
    return lvu.read_lvu(path.parent / "lvu_1.0", ("scene",))


def _lvu_durations(path: Path):
    if not (path.parent / "lvu_1.0").is_dir():
        write_lvu(path.parent)
    (path.parent / "lvu_1.0" / "lvu_durations.csv").write_bytes(path.read_bytes())
    return lvu.read_lvu(path.parent / "lvu_1.0", ("scene",))


def _movielens(path: Path):
    (path.parent / "links.csv").write_text("movieId,imdbId,tmdbId\n1,0114709,862\n2,0113497,8844\n")
    (path.parent / "movies.csv").write_text("movieId,title,genres\n1,Toy Story (1995),Comedy\n")
    (path.parent / "ratings.csv").write_bytes(path.read_bytes())
    return watch_log.read_movielens(path.parent)


def _movielens_films(path: Path):
    (path.parent / "links.csv").write_text("movieId,imdbId,tmdbId\n1,0114709,862\n2,0113497,8844\n")
    (path.parent / "movies.csv").write_bytes(path.read_bytes())
    return watch_log.movielens_films(path.parent)


def _links(path: Path):
    (path.parent / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,4.0,964982703\n")
    (path.parent / "links.csv").write_bytes(path.read_bytes())
    return watch_log.read_movielens(path.parent)


def _places(path: Path):
    (path.parent / "tt0000001.json").write_bytes(path.read_bytes())
    return place_tagging.read_places(path.parent, {"tt0000001": "train"}, min_count=1)


def _boundaries(path: Path):
    return decoding._given_shots(ingest.read_boundaries(path), np.arange(41) / 24, "film")


def _published(path: Path):
    folder = path.parent / "paper"
    folder.mkdir(exist_ok=True)
    (folder / "table2.csv").write_bytes(path.read_bytes())
    return published.read_published(("Table 2",), folder)


def _settings(path: Path):
    folder = path.parent / "paper"
    folder.mkdir(exist_ok=True)
    (folder / "table2_settings.csv").write_bytes(path.read_bytes())
    return published.read_settings("Table 2", folder)


def _record(path: Path):
    """What the pipeline and the report make of a run.json."""
    run_dir = path.parent / "run"
    (run_dir / "01_shot_encoding").mkdir(parents=True, exist_ok=True)
    (run_dir / "01_shot_encoding" / "notebook.ipynb").touch()
    (run_dir / "01_shot_encoding" / "a.txt").write_text("four")
    (run_dir / "01_shot_encoding" / "run.json").write_bytes(path.read_bytes())
    why_stale(run_dir, "01_shot_encoding", {"count": 4}, ROOT)
    (run_dir / "01_shot_encoding" / "notebook.ipynb").unlink()
    write_report(run_dir)
    summary_table(run_dir)


def _notebook(path: Path):
    return parameters.read_notebook_parameters(path)


def _features_text(path: Path):
    folder = path.parent / "film"
    folder.mkdir(exist_ok=True)
    (folder / "shots.txt").write_text("0 10\n11 20\n")
    (folder / "features_x.txt").write_bytes(path.read_bytes())
    return sources.read_ready_features(folder)


def _table(read, ending: str):
    """The same reader, given the table as parquet."""

    def read_table(path: Path):
        place = path.with_name(f"table{ending}")
        place.write_bytes(path.read_bytes())
        return read(place)

    return read_table


SCENES = {"imdb_id": "tt0000001", "scene": [{"id": "scene_0", "shot": [0, 9], "place_tag": "bar"}]}
SPLIT = {"full": ["tt1", "tt2", "tt3"], "train": ["tt1"], "val": ["tt2"], "test": ["tt3"]}
LVU_SCENE = "class_id class_name youtube_id imdb_id\n0 office -Ab34567890 tt0000001\n1 airport Cd345678901 tt0000002\n"
FORMATS = {  # name: (reader, what a good file holds, the file's ending)
    "film table": (_film_table, "film_id,title,genres,year,imdb_id\nnight,Night,Drama,1999,tt0000001\n", ".csv"),
    "watch log": (watch_log.read_watch_log, "user,film_id,time\n1,night,5\n2,day,2020-01-01T00:00\n", ".csv"),
    "MovieLens ratings": (_movielens, "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,2,3,96\n", ".csv"),
    "MovieLens films": (_movielens_films, 'movieId,title,genres\n1,"Stoker, The (2013)",A|B\n2,B,C\n', ".csv"),
    "MovieLens links": (_links, "movieId,imdbId,tmdbId\n1,0114709,862\n2,0113497,\n", ".csv"),
    "LVU task": (_lvu_task, LVU_SCENE, ".csv"),
    "LVU durations": (_lvu_durations, "videoid,duration\n-Ab34567890,12\nCd345678901,99\n", ".csv"),
    "boundary table": (_boundaries, "start_frame,end_frame\n0,10\n11,20\n", ".csv"),
    "OVSD shots": (shot_boundaries.read_ovsd_shots, "0 10\n11 20\n21\t30\n", ".txt"),
    "OVSD scenes": (ovsd.read_scenes, "0 10\n11 20\n21\t30\n", ".txt"),
    "MovieNet labels": (movienet.read_labels, "0000 0\n0001 1\n0002 -1\n", ".txt"),
    "MovieNet shots": (movienet.read_shot_table, "0 48 12 24 36\n49 90 50 60 70\n", ".txt"),
    "MovieNet split": (movienet.read_split, json.dumps(SPLIT), ".json"),
    "MovieNet annotation": (_places, json.dumps(SCENES), ".json"),
    "held-out ids": (lambda p: benchmark_ids.benchmark_imdb_ids(extra=p), "tt1175709\ntt0000002,b\n", ".txt"),
    "held-out split": (lambda p: benchmark_ids.benchmark_imdb_ids(movienet_split=p), json.dumps(SPLIT), ".json"),
    "moderation": (mcd.read_mcd, "item,film_id,label,split\na,f,sex,train\nb,g,none,val\nc,h,none,test\n", ".csv"),
    "clips": (clips.read_clips, "item,film_id,start_s,end_s\na,f,0,10.5\nb,f,62,80\n", ".csv"),
    "profile": (load_profile, "description: x\nstages: ['01']\nparameters:\n  '01': {frame_size: 64}\n", ".yaml"),
}  # fmt: skip
RECORD = {
    "stage": "01_shot_encoding", "status": "done", "started": "2026-01-01T00:00:00+00:00", "seconds": 1.5,
    "parameters": {"count": 4}, "inputs": [{"path": "README.md", "fingerprint": "00"}],
    "outputs": [{"path": "a.txt", "size": 4, "xxh3": "0"}], "peak_memory_mb": 10.0,
    "metrics": {"headline": {"films": 3}, "summary": {"x": 1}}, "versions": {"python": "3.11"},
    "figures": [{"id": "f", "alt": "", "png": "figures/f.png", "pdf": "figures/f.pdf", "csv": "figures/f.csv"}],
}  # fmt: skip
CELL = {
    "cell_type": "code",
    "metadata": {"tags": ["parameters"]},
    "source": ['run_dir = "r"  # folder | the run'],
}
PUBLISHED = "table,row,model,column,metric,unit,value,reference\nTable 2,1,Ours,place,top-1,%,50.5,\nTable 2,,CLIP,scene,AP,%,3,[1]\n"
FORMATS |= {
    "published numbers": (_published, PUBLISHED, ".csv"),
    "published settings": (_settings, "row,films,shots\n1,30340,9\n2,,4\n", ".csv"),
    "run record": (_record, json.dumps(RECORD, indent=1), ".json"),
    "notebook": (_notebook, json.dumps({"cells": [CELL], "metadata": {}, "nbformat": 4}), ".ipynb"),
    "features as text": (_features_text, "0.5 1.5 2\n3 4 5\n", ".txt"),
}
TABLES = {  # name: (reader, columns)
    "film table": (_film_table, {"film_id": ["night"], "title": ["Night"], "year": [1999]}),
    "watch log": (watch_log.read_watch_log, {"user": ["1", "2"], "film_id": ["a", "b"], "time": [5, 6]}),
    "boundaries": (_boundaries, {"start_frame": [0, 11], "end_frame": [10, 20]}),
    "published": (files.read_parquet, {"x": ["1", "2"]}),
}
NASTY = [
    b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b",", b'"', b"'", b"\n", b"\r", b"\t", b" ", b"-1", b"0", b"1e400",
    b"nan", b"inf", b"9" * 25, b"9" * 5000, "٣".encode(), "²".encode(), b"../../x", b"[]", b"{}", b"null", b"[", b"}",
    b": &a [*a]", b"!!python/object/apply:os.system ['true']", b"\\N", b"tt", b"\xc3", b"true", b"01-01-99", b"#", b"=",
]  # fmt: skip
EDITS = st.lists(
    st.tuples(
        st.integers(0, 400), st.integers(0, 12), st.one_of(st.sampled_from(NASTY), st.binary(max_size=8))
    ),
    min_size=1,
    max_size=5,
)


def _damaged(text: str, edits) -> bytes:
    """The text with some bytes cut out at each place and others put in."""
    data = text.encode()
    for place, cut, put in edits:
        at = place % (len(data) + 1)
        data = data[:at] + put + data[at + cut :]
    return data


@pytest.mark.parametrize("name", FORMATS)
def test_the_good_file_is_read(name, tmp_path):
    read, text, ending = FORMATS[name]
    (tmp_path / f"given{ending}").write_text(text)
    read(tmp_path / f"given{ending}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(edits=EDITS)
@example(edits=[(0, 400, b"")])  # an empty file
@example(edits=[(0, 400, b"\x00" * 64)])  # what a full disk leaves
def test_a_damaged_file_is_read_or_gets_a_clear_error(name, edits, tmp_path):
    read, text, ending = FORMATS[name]
    path = tmp_path / f"given{ending}"
    path.write_bytes(_damaged(text, edits))
    with contextlib.suppress(M2SError):
        read(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    data=st.one_of(st.binary(max_size=300), st.text(max_size=100).map(lambda t: t.encode("utf-8", "replace")))
)
def test_any_bytes_are_read_or_get_a_clear_error(name, data, tmp_path):
    read, _, ending = FORMATS[name]
    path = tmp_path / f"given{ending}"
    path.write_bytes(data)
    with contextlib.suppress(M2SError):
        read(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TABLES)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(edits=EDITS, kind=st.sampled_from(["bytes", "dtype", "column"]), value=st.sampled_from(
    [None, True, 1.5, float("nan"), float("inf"), -1, 2**62, b"x", "x", "", [1], {"a": 1}, pd.Timestamp(0)]))  # fmt: skip
def test_a_damaged_or_odd_parquet_table_is_read_or_gets_a_clear_error(name, edits, kind, value, tmp_path):
    read, columns = TABLES[name]
    path, table = tmp_path / "given.parquet", pd.DataFrame(columns)
    column = table.columns[edits[0][0] % len(table.columns)]
    if kind == "dtype":
        table[column] = pd.Series([value] * len(table), dtype=object if value is None else None)
    if kind == "column":
        table = table.drop(columns=column)
    table.to_parquet(path)
    if kind == "bytes":
        data = path.read_bytes()
        for place, cut, put in edits:
            at = place * 7 % (len(data) + 1)
            data = data[:at] + put + data[at + cut :]
        path.write_bytes(data)
    with contextlib.suppress(M2SError):
        read(path)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.text("shot_img0123. 映é-", max_size=14).filter(str.strip), max_size=6, unique=True))
@example(["shot_0000_img_0.jpg", "shot_0002_img_0.jpg"])
@example(["shot_" + "9" * 60 + "_img_0.jpg"])
def test_keyframe_folders_with_any_names(names):
    with tempfile.TemporaryDirectory() as place:
        for name in names:
            with contextlib.suppress(OSError):  # '.' and '..'
                (Path(place) / name).write_bytes(b"no picture")
        with contextlib.suppress(M2SError):
            sources.scan_keyframe_folder(place, decoding.ScanConfig(frame_size=16))


@pytest.mark.parametrize("number", ["9" * 25, "9" * 5000, "1e400", "-5", "nan", "²"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_number_that_is_none_in_any_place(name, number, tmp_path):
    read, text, ending = FORMATS[name]
    for found in re.finditer(r"\d+(\.\d+)?", text):
        (tmp_path / f"given{ending}").write_text(text[: found.start()] + number + text[found.end() :])
        with contextlib.suppress(M2SError):
            read(tmp_path / f"given{ending}")


@pytest.mark.parametrize("name", ["film table", "watch log", "moderation", "clips"])
def test_a_header_that_lacks_a_name_does_not_shift_the_columns(name, tmp_path):
    read, text, ending = FORMATS[name]
    header, rows = text.split("\n", 1)
    (tmp_path / f"given{ending}").write_text(header + "\n" + rows.replace("\n", ",more\n"))
    with pytest.raises(M2SError, match="more fields than the header"):
        read(tmp_path / f"given{ending}")


OTHERWISE = {"notebook", "run record", "MovieNet annotation"}  # they say it in what they return


def test_an_annotation_that_cannot_be_read_is_a_reason(tmp_path):
    pd.DataFrame({"x": [1.5]}).to_parquet(tmp_path / "given.json")
    assert "is not JSON" in _places(tmp_path / "given.json").note


@pytest.mark.parametrize("name", sorted(set(FORMATS) - OTHERWISE))
def test_a_file_of_other_kind_gets_a_clear_error(name, tmp_path):
    read, _, ending = FORMATS[name]
    path = tmp_path / f"given{ending}"
    pd.DataFrame({"x": [1.5]}).to_parquet(path)
    with pytest.raises(M2SError):
        read(path)
