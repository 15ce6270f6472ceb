"""What stage 08 wrote, read back: vectors of asked scenes, labels, and files that do not belong together."""

import json

import numpy as np
import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.encoders import ColourEncoder, embed_scenes
from m2s_lib.evaluation.retrieval.collection import read_vectors, scene_labels, write_vectors
from m2s_lib.films.store.shot_store import open_stores
from m2s_lib.io import write_json, write_npy, write_parquet
from m2s_lib.stages.screens import read_collection, read_pair_views
from tests.helpers.display_stores import make_store

N = 4
SCAN = {"frame_size": 32, "frames_per_shot": 1, "detector": "adaptive", "detector_threshold": 0.0,
        "min_shot_s": 0.4, "reader": "pyav"}  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """A run as stages 01 and 08 leave it, with colour as its only encoder."""
    first, last = tmp_path / "01_shot_encoding", tmp_path / "08_retrieval_gallery"
    (first / "shots").mkdir(parents=True)
    for film, n in (("a", 12), ("b", 9)):
        make_store(first / "shots", film, n=n)
    write_json(first / "run.json", {"parameters": SCAN})
    films = pd.DataFrame({"film_id": ["a", "b"], "title": ["A", "B"], "path": ["a.mp4", "b.mp4"]})
    write_parquet(films, first / "films.parquet")
    rows = [("a", s, N, 5.0 * s, 5.0 * (s + N)) for s in (0, 4, 8)] + [
        ("b", 0, N, 0.0, 20.0),
        ("b", 4, N, 20.0, 40.0),
    ]
    scenes = pd.DataFrame(rows, columns=["film_id", "shot", "n_shots", "start_s", "end_s"])
    write_parquet(scenes, last / "scenes.parquet")
    stores = open_stores(first / "shots")
    colours = embed_scenes(ColourEncoder(), stores, scenes)
    write_vectors(last, [("colour", colours), ("other one", np.eye(5, 7, dtype=np.float32))])
    return tmp_path


def test_vectors_are_files_by_encoder_mapped_into_memory(tmp_path):
    values = {"E_scene": np.eye(5, 7, dtype=np.float32), "E_shot mean": np.ones((5, 3), np.float32)}
    found = write_vectors(tmp_path, values.items())
    named = json.loads((tmp_path / "encoders.json").read_text())
    assert named == {"E_scene": "embeddings.npy", "E_shot mean": "encoders/1_e_shot_mean.npy"}
    assert list(read_vectors(tmp_path, 5)) == list(found) == list(values)
    for name, x in found.items():
        assert isinstance(x, np.memmap)
        np.testing.assert_array_equal(x, values[name])
    assert sorted(p.name for p in tmp_path.rglob(".*")) == []


def test_a_scene_between_the_scenes_has_the_vector_that_08_would_have_given_it(run):
    collection = read_collection(run)
    assert collection.encoders == ("colour", "other one")
    store = collection.stores["a"]
    table = pd.DataFrame({"film_id": ["a", "a"], "shot": [4, 3], "n_shots": [N, N]})
    expected = embed_scenes(ColourEncoder(), collection.stores, table)
    np.testing.assert_allclose(collection.vector("colour", store, 4, N), expected[0], atol=1e-6)
    np.testing.assert_allclose(collection.vector("colour", store, 3, N), expected[1], atol=1e-6)
    distance, found = collection.nearest("colour", store, 3, N, 2)
    by_hand = np.linalg.norm(collection._vectors["colour"][3:] - expected[1], axis=1)
    np.testing.assert_allclose(distance, np.sort(by_hand), atol=1e-5)
    assert set(found) == {3, 4}  # its own film is left out
    with pytest.raises(M2SError, match="a new scene cannot be encoded by 'other one'"):
        collection.vector("other one", store, 3, N)


def test_scenes_without_truth_have_no_labels(run):
    collection = read_collection(run)
    assert collection.labels(collection.stores["a"], 0, N) == {}
    assert scene_labels(collection.scenes, collection.stores, run / "embedded").equals(collection.scenes)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: (f / "encoders.json").unlink(), "has no gallery yet: make it with `m2s run demo`"),
        (lambda f: np.save(f / "embeddings.npy", np.eye(3, dtype=np.float32)), "float32 rows for 5 scenes"),
        (lambda f: (f / "embeddings.npy").write_bytes(b"\x93NUMPY"), "cannot be read"),
        (lambda f: (f / "encoders.json").write_text(json.dumps({"x": "../../x.npy"})), "not in its folder"),
        (lambda f: (f / "scenes.parquet").unlink(), "scenes.parquet"),
    ],
)  # fmt: skip
def test_files_that_do_not_belong_together(run, break_it, message):
    break_it(run / "08_retrieval_gallery")
    with pytest.raises(M2SError, match=message):
        read_collection(run)


def test_films_lend_their_scenes_genre_and_year(run):
    path = run / "01_shot_encoding/films.parquet"
    films = pd.read_parquet(path).assign(genres=["Drama|Comedy", ""], year=pd.array([1999, None], "Int64"))
    write_parquet(films, path)
    scenes = read_collection(run).scenes
    assert dict(zip(scenes.film_id, scenes.genre, strict=True)) == {"a": "Drama|Comedy", "b": ""}
    assert dict(zip(scenes.film_id, scenes.year, strict=True)) == {"a": "1999", "b": ""}
    write_parquet(films.assign(genres="", year=pd.array([None, None], "Int64")), path)
    assert not {"genre", "year"} & set(read_collection(run).scenes)


def test_an_older_runs_map_is_computed_once_and_kept(run):
    stored = read_collection(run).plane
    (run / "08_retrieval_gallery/map.npy").unlink()
    np.testing.assert_allclose(read_collection(run).plane, stored)
    write_npy(run / ".cache/map.npy", stored + 1)
    np.testing.assert_allclose(read_collection(run).plane, stored + 1)


def test_any_two_films_can_be_compared_without_stage_03s_pairs(run):
    """Films of one's own: no film pairs, no E_movie."""
    path = run / "01_shot_encoding/films.parquet"
    write_parquet(pd.read_parquet(path).assign(status="ok"), path)
    for film, n in (("a", 12), ("b", 9)):
        write_npy(run / "01_shot_encoding/features" / f"{film}.npy", np.eye(n, 6, dtype=np.float32))
    asked = {"shots_per_scene": N, "keep": "best_half", "keep_ratio": 0.5, "normalise_scenes": False}
    write_json(run / "03_scene_mining/run.json", {"parameters": asked})
    none = pd.DataFrame({"film_a": [], "film_b": [], "score": []})
    write_parquet(none, run / "02_movie_similarity/film_pairs.parquet")
    found = read_pair_views(run)
    assert list(found["views"]) == ["raw E_shot"]
    assert found["n_shots"] == N
    b, _ = found["views"]["raw E_shot"]("a", "b")
    assert b.shape == (9, 6)
