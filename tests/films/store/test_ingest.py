"""Ingesting folders: good films get stores, bad ones rows, and nothing is done twice."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.films.store.film_table import read_film_table
from m2s_lib.films.store.ingest import ingest_film, ingest_films
from m2s_lib.films.store.shot_store import ShotStore, open_stores
from m2s_lib.films.video.decoding import ScanConfig
from tests.helpers.ingest_tasks import fated, logged
from tests.helpers.videos import damage, number_of, render, render_audio

SMALL = ScanConfig(frame_size=64)


@pytest.fixture
def films(tmp_path):
    render(tmp_path / "films" / "two shots.mp4", shots=(20, 20))
    render(tmp_path / "films" / "映画 été.mkv", shots=(40,))
    render(tmp_path / "films" / "sub" / "three.mp4", shots=(20, 30, 20), audio=True)
    return tmp_path / "films"


def ingest(films, out, **options):
    options = dict(config=SMALL, task=logged, workers=2, timeout_s=120) | options
    return ingest_films(read_film_table(films), out, **options).set_index("film_id")


def worked(out) -> list[str]:
    """Films that workers touched since the last call."""
    path = out / "log"
    lines = sorted(path.read_text().splitlines()) if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_good_films_get_stores_and_bad_files_get_rows(films, tmp_path):
    (films / "empty.mp4").write_bytes(b"")
    (films / "text.mp4").write_text("not a film")
    render_audio(films / "song.mp4")
    cut = render(films / "cut.mp4", shots=(20, 20))
    cut.write_bytes(cut.read_bytes()[:-900])
    damage(render(films / "flipped.mp4", shots=(60, 60)), flips=4, seed=3)
    render(films / "sub" / "two shots.mkv", shots=(20, 20))
    out = tmp_path / "out"
    table = ingest(films, out)
    good = table[table["status"] == "ok"]
    assert good["n_shots"].to_dict() == {"two shots": 2, "映画 été": 1, "three": 3}
    assert good["reason"].tolist() == ["", "", ""]
    assert good["fps"].tolist() == [24.0] * 3
    np.testing.assert_allclose(good.loc["three", "duration_s"], 70 / 24, atol=2e-3)
    reasons = table[table["status"] == "failed"]["reason"]
    for film, words in {
        "empty": "empty.mp4 is empty (0 bytes)",
        "text": "text.mp4 is not a video",
        "song": "song.mp4 has no video stream",
        "cut": "cut.mp4 is cut short",
        "flipped": "flipped.mp4 is damaged",
        "two shots (2)": "rename one",
    }.items():
        assert words in reasons[film], film
    assert len(reasons) == 6
    assert table["n_shots"][reasons.index].eq(0).all()
    stores = open_stores(out / "shots")
    assert sorted(stores) == sorted(good.index)
    store = stores["three"]
    assert store.metadata["width"] == "160"
    assert store.aspect == 160 / 128
    assert [number_of(f) for f in store.keyframes()[:, 0]] == [10, 35, 60]


def test_what_is_done_is_not_done_again_and_what_changed_is(films, tmp_path):
    out = tmp_path / "out"
    first = ingest(films, out)
    assert worked(out) == sorted(first.index)
    times = {p.name: p.stat().st_mtime_ns for p in (out / "shots").iterdir()}
    pd.testing.assert_frame_equal(ingest(films, out), first)
    assert worked(out) == []
    assert {p.name: p.stat().st_mtime_ns for p in (out / "shots").iterdir()} == times

    render(films / "two shots.mp4", shots=(20, 20, 20))  # the film changes
    assert ingest(films, out).loc["two shots", "n_shots"] == 3
    assert worked(out) == ["two shots"]

    (out / "shots" / "three.arrow").write_bytes(b"ARROW1 damaged")  # a store is damaged
    assert ingest(films, out).loc["three", "status"] == "ok"
    assert worked(out) == ["three"]

    ingest(films, out, config=ScanConfig(frame_size=32))  # the settings change
    assert worked(out) == sorted(first.index)
    assert ShotStore(out / "shots" / "three.arrow").frame_shape == (1, 32, 32, 3)


def test_a_film_that_is_gone_loses_its_row_its_store_and_its_features(films, tmp_path):
    out = tmp_path / "out"
    ingest(films, out)
    (out / "features").mkdir()
    for name in ("three", "two shots"):
        np.save(out / "features" / f"{name}.npy", np.zeros((3, 512), np.float32))
    (films / "sub" / "three.mp4").unlink()
    table = ingest(films, out)
    assert sorted(table.index) == ["two shots", "映画 été"]
    assert sorted(open_stores(out / "shots")) == ["two shots", "映画 été"]
    assert [p.name for p in (out / "features").iterdir()] == ["two shots.npy"]


def test_a_film_that_breaks_loses_its_old_store(films, tmp_path):
    out = tmp_path / "out"
    ingest(films, out)
    (films / "two shots.mp4").write_bytes(b"now broken")
    assert ingest(films, out).loc["two shots", "status"] == "failed"
    assert "two shots" not in open_stores(out / "shots")


@pytest.mark.fault
def test_a_crash_and_a_hang_are_rows_and_the_others_are_done(films, tmp_path):
    for name in ("crash one", "hang two"):
        render(films / f"{name}.mp4", shots=(20,))
    out = tmp_path / "out"
    table = ingest(films, out, task=fated, timeout_s=6)
    assert table["status"].to_dict() == {
        "two shots": "ok", "映画 été": "ok", "three": "ok", "crash one": "failed", "hang two": "failed",
    }  # fmt: skip
    assert table.loc["crash one", "reason"].startswith("the decoder crashed the process (exit code ")
    assert table.loc["hang two", "reason"].startswith("decoding took longer than 6 s")
    assert not list((out / "shots").glob(".*.tmp"))


@pytest.mark.fault
def test_a_single_film_that_crashes_does_not_crash_the_caller(tmp_path):
    render(tmp_path / "films" / "crash.mp4", shots=(20,))
    table = ingest(tmp_path / "films", tmp_path / "out", task=fated, workers=1)
    assert "crashed the process" in table.loc["crash", "reason"]


@pytest.mark.fault
def test_a_full_disk_stops_the_run_and_keeps_what_is_done(films, tmp_path):
    render(films / "full.mp4", shots=(20,))
    out = tmp_path / "out"
    with pytest.raises(M2SError, match="no space left while writing"):
        ingest(films, out, task=fated)
    assert len(open_stores(out / "shots")) >= 1
    (films / "full.mp4").unlink()
    assert ingest(films, out)["status"].eq("ok").all()
    assert len(worked(out)) < 3


def test_a_full_disk_while_writing_a_store_is_not_a_films_fault(films, tmp_path):
    """The real worker, in this process, with a temporary name that leads to a full device."""
    import os

    out, jobs = tmp_path / "out", []
    table = read_film_table(films)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("m2s_lib.films.store.ingest._run", lambda engine, todo, *rest: jobs.extend(todo) or [])
        ingest_films(table, out, SMALL)
    job = next(j for j in jobs if j.film_id == "three")
    (out / "shots" / f".three.arrow.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(M2SError, match=r"no space left while writing .*three.arrow"):
        ingest_film(job)
    assert ingest_film(job)["status"] == "ok"


def test_user_boundaries_are_used_where_there_are_any(films, tmp_path):
    tables = tmp_path / "boundaries"
    tables.mkdir()
    (tables / "three.csv").write_text("start_frame,end_frame\n5,24\n30,69\n")
    (tables / "two shots.txt").write_text("0 9\n10 400\n")
    out = tmp_path / "out"
    table = ingest(films, out, boundaries_dir=tables)
    assert ShotStore(out / "shots" / "three.arrow").shots["start_frame"].tolist() == [5, 30]
    assert (
        "shot 1 of the boundary table is frames 10..400; the film has frames 0..39"
        in table.loc["two shots", "reason"]
    )
    assert table.loc["映画 été", "n_shots"] == 1
    worked(out)
    (tables / "three.csv").write_text("start_frame,end_frame\n5,29\n30,69\n")
    ingest(films, out, boundaries_dir=tables)
    assert worked(out) == ["three", "two shots"]
    with pytest.raises(M2SError, match="boundaries_dir .*nowhere is not a folder"):
        ingest(films, out, boundaries_dir=tmp_path / "nowhere")


def test_movienet_folders(tmp_path):
    from PIL import Image

    for film, shots in (("tt0000001", 3), ("tt0000002", 2)):
        (tmp_path / "240P" / film).mkdir(parents=True)
        for shot in range(shots):
            for image in range(3):
                path = tmp_path / "240P" / film / f"shot_{shot:04d}_img_{image}.jpg"
                Image.new("RGB", (40, 30), (shot * 20, image * 20, 9)).save(path)
    (tmp_path / "240P" / "tt0000002" / "shot_0001_img_2.jpg").unlink()
    table = read_film_table(tmp_path / "240P", source="movienet")
    done = ingest_films(table, tmp_path / "out", SMALL, source="movienet").set_index("film_id")
    assert done["status"].to_dict() == {"tt0000001": "ok", "tt0000002": "failed"}
    assert "shot_0001_img_2.jpg is missing" in done.loc["tt0000002", "reason"]
    store = ShotStore(tmp_path / "out" / "shots" / "tt0000001.arrow")
    assert (store.n_shots, store.source) == (3, "movienet")
    assert store.aspect == pytest.approx(40 / 30)


def test_ready_features_become_a_store_without_pixels_and_an_array(shared_data, tmp_path):
    table = read_film_table(shared_data / "ovsd", source="features")
    done = ingest_films(table, tmp_path, source="features").set_index("film_id")
    assert done["status"].eq("ok").all()
    assert done.loc["01", "n_shots"] == 132
    features = np.load(tmp_path / "features" / "01.npy")
    assert (features.shape, features.dtype) == ((132, 512), np.float32)
    assert not ShotStore(tmp_path / "shots" / "01.arrow").has_pixels
    (tmp_path / "features" / "01.npy").unlink()
    assert ingest_films(table, tmp_path, source="features")["status"].eq("ok").all()
    assert (tmp_path / "features" / "01.npy").exists()


def test_impossible_arguments(films, tmp_path):
    for options, message in [
        (dict(source="vhs"), "source is 'vhs'"),
        (dict(workers=-1), r"workers \(-1\) must be 0 or more"),
        (dict(timeout_s=0), r"timeout_s \(0\) more than 0"),
    ]:
        with pytest.raises(M2SError, match=message):
            ingest(films, tmp_path / "out", **options)


def test_a_worker_imports_nothing_heavy():
    heavy = {"torch", "decord", "faiss", "matplotlib"}
    code = f"import sys, m2s_lib.films.store.ingest; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
