"""Found boundaries beside a reference's: which films it names, and frames of a thinned-out file."""

import numpy as np
import pandas as pd
import pytest

from m2s_lib.films.store.film_table import read_film_table
from m2s_lib.films.store.ingest import ingest_films
from m2s_lib.films.store.reference_shots import compare_with_reference, reference_folder
from m2s_lib.films.store.shot_store import ShotStore, open_stores, write_shots
from m2s_lib.films.video.decoding import ScanConfig

COLUMNS = ["film_id", "title", "precision", "recall", "f1", "n_found", "n_truth", "n_matched", "every"]


def film(folder, name, starts, n_frames, source="video") -> ShotStore:
    ends = [*(s - 1 for s in starts[1:]), n_frames - 1]
    shots = pd.DataFrame({"shot": range(len(starts)), "start_frame": starts, "end_frame": ends})
    path = folder / f"{name}.arrow"
    write_shots(path, shots.assign(start_s=np.nan, end_s=np.nan), None, aspect=1.0, fps=24.0, source=source)
    return ShotStore(path)


def reference(folder, **films):
    for number, (name, text) in enumerate(films.items()):
        (folder / f"{number:02d}").mkdir(parents=True)
        (folder / f"{number:02d}" / "name.txt").write_text(f"{name.replace('_', ' ')}\n")
        (folder / f"{number:02d}" / "shots.txt").write_text(text)
    return folder


def test_the_folder_is_the_one_given_or_ovsd_beside_the_films(tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    assert reference_folder(films, "") is None
    (tmp_path / "ovsd").mkdir()
    assert reference_folder(films, "") == tmp_path / "ovsd"
    assert reference_folder(films, str(tmp_path / "other")) == tmp_path / "other"


def test_boundaries_are_counted_by_hand(tmp_path):
    folder = reference(tmp_path / "ovsd", Big_Buck="0 9\n10 19\n20 29\n30 39\n")
    stores = {
        "a": film(tmp_path, "a", [0, 11, 20, 35], 40),  # 11 is one frame off, 35 is none, 30 is missed
        "b": film(tmp_path, "b", [0, 10], 40),
    }
    found = compare_with_reference(
        {"a": "big-buck (2008)", "b": "Another film", "c": "Big Buck"}, stores, folder
    )
    assert list(found.columns) == COLUMNS
    (row,) = found.to_dict("records")
    assert row == pytest.approx({
        "film_id": "a", "title": "big-buck (2008)", "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3,
        "n_found": 3, "n_truth": 3, "n_matched": 2, "every": 1,
    })  # fmt: skip
    strict = compare_with_reference({"a": "Big Buck"}, stores, folder, tolerance=0)
    assert strict.n_matched.tolist() == [1]


def test_a_file_with_every_sixth_frame_is_compared_on_its_own_frames(tmp_path):
    starts = np.array([0, 61, 119, 240, 301])
    lines = "".join(f"{a} {b}\n" for a, b in zip(starts, [*(starts[1:] - 1), 359], strict=True))
    folder = reference(tmp_path / "ovsd", Thin=lines)
    kept = [
        0,
        *(-(-(s - 1) // 6) for s in starts[1:].tolist()),
    ]  # ceil((s - 1) / 6), as the data's README says
    found = compare_with_reference({"a": "Thin"}, {"a": film(tmp_path, "a", kept, 60)}, folder, tolerance=0)
    assert found[["f1", "n_matched", "every"]].to_numpy().tolist() == [[1.0, 4, 6]]


def test_nothing_to_compare_is_an_empty_table(tmp_path):
    folder = reference(tmp_path / "ovsd", Big_Buck="0 9\n")
    for titles, where in (({}, folder), ({"a": "Big Buck"}, folder), ({"a": "Big Buck"}, None)):
        found = compare_with_reference(titles, {}, where)
        assert found.empty
        assert list(found.columns) == COLUMNS


def test_a_name_without_latin_letters_is_not_every_films_name(tmp_path):
    folder = reference(tmp_path / "ovsd", 映画="0 9\n10 39\n")
    stores = {"a": film(tmp_path, "a", [0, 10], 40)}
    assert compare_with_reference({"a": "Big Buck"}, stores, folder).empty
    assert len(compare_with_reference({"a": "映画"}, stores, folder)) == 1


@pytest.mark.parametrize("source", ["features", "movienet"])
def test_shots_that_came_with_the_film_are_not_praised_as_found(tmp_path, source):
    """Ready shots of OVSD lie beside themselves: comparing them would say 1.0 of nothing that was found."""
    folder = reference(tmp_path / "ovsd", Big_Buck="0 9\n10 39\n")
    stores = {"a": film(tmp_path, "a", [0, 10], 40, source)}
    assert compare_with_reference({"a": "Big Buck"}, stores, folder).empty


@pytest.mark.slow
def test_big_buck_bunny_as_the_first_notebook_compares_it(shared_data, tmp_path):
    films = read_film_table(shared_data / "films")
    films = films[films.film_id.str.startswith("big_buck")]
    films = ingest_films(films, tmp_path, ScanConfig(frame_size=64), workers=1)
    folder = reference_folder(shared_data / "films", "")
    titles = films.set_index("film_id").title.to_dict()
    (row,) = compare_with_reference(titles, open_stores(tmp_path / "shots"), folder).to_dict("records")
    assert row["film_id"] == "big_buck_bunny_2008"
    assert (row["n_truth"], row["every"]) == (131, 6)
    assert row["f1"] > 0.8
    assert min(row["precision"], row["recall"]) > 0.75
