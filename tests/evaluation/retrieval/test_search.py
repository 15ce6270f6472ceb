"""Scenes as rows: how films are cut, embedded, asked for and scored."""

import numpy as np
import pandas as pd
import pytest
import torch

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.paper.mining_precision import scene_theme
from m2s_lib.evaluation.retrieval.search import (
    _chance,
    compare_retrieval,
    example_queries,
    nearest_scenes,
    scene_embeddings,
    scene_table,
)
from m2s_lib.method.movie_encoder import MoviePairModel, Pooling, save_movie_encoder
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig
from m2s_lib.method.weights import save_encoder
from tests.helpers.display_stores import make_store


@pytest.fixture
def stores(tmp_path):
    return {film: make_store(tmp_path, film, n) for film, n in (("a", 10), ("b", 3), ("c", 2), ("d", 7))}


def test_every_shot_of_every_film_is_in_a_scene(stores):
    scenes = scene_table(stores, 3, 3)
    cut = {"a": [0, 3, 6, 9], "b": [0], "c": [0], "d": [0, 3, 6]}
    assert scenes.groupby("film_id").shot.apply(list).to_dict() == cut
    shots = scenes.groupby("film_id").n_shots.sum()
    assert shots.to_dict() == {film: store.n_shots for film, store in stores.items()}
    assert scenes.n_shots.between(1, 3).all()
    assert (scenes.end_s - scenes.start_s).eq(5.0 * scenes.n_shots).all()
    assert scenes.start_s.tolist() == (5.0 * scenes.shot).tolist()
    dense = scene_table(stores, 3, 1)
    assert dense.groupby("film_id").size().to_dict() == {"a": 8, "b": 1, "c": 1, "d": 5}
    assert dense.index.tolist() == list(range(15))
    assert scene_table(stores, 11, 1).n_shots.tolist() == [store.n_shots for store in stores.values()]


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    model = MoviePairModel(Pooling(8, 2, 1, 2, 2), 6, 5, 0.5)
    save_movie_encoder(tmp_path / "movie.safetensors", model)
    scene = SceneEncoder(SceneEncoderConfig.preset("test"), seed=1)
    save_encoder(tmp_path / "scene.safetensors", scene)
    return model.encoder.eval(), scene.eval(), tmp_path / "movie.safetensors", tmp_path / "scene.safetensors"


def features_of(stores):
    rng = np.random.default_rng(0)
    return {film: rng.normal(size=(store.n_shots, 6)).astype(np.float32) for film, store in stores.items()}


def test_every_encoder_embeds_every_scene_as_a_loop_does(stores, weights):
    movie, scene, movie_path, scene_path = weights
    features, scenes = features_of(stores), scene_table(stores, 3, 2)
    found = dict(scene_embeddings(scenes, stores, features, movie_path, scene_path, batch=2, device="cpu"))
    assert list(found) == ["E_scene", "random init", "E_movie mean", "E_shot mean", "colour"]
    rows = zip(scenes.film_id, scenes.shot, scenes.n_shots, strict=True)
    for row, (film, shot, n) in enumerate(rows):
        own = features[film][shot : shot + n]
        np.testing.assert_allclose(found["E_shot mean"][row], own.mean(0), rtol=1e-5)
        with torch.no_grad():
            hidden = torch.relu(movie.fc1(torch.from_numpy(own))).mean(0)
            pixels = torch.from_numpy(np.array(stores[film].scene(int(shot), int(n))))[None]
            token = scene.embed(pixels)[0]
        np.testing.assert_allclose(found["E_movie mean"][row], hidden, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["E_scene"][row], token, rtol=1e-3, atol=1e-4)
    assert not np.allclose(found["random init"], found["E_scene"], atol=1e-2)
    assert all(len(v) == len(scenes) and v.dtype == np.float32 for v in found.values())


def test_films_without_pictures_are_found_by_e_movies_features(tmp_path, weights):
    plain = {
        film: make_store(tmp_path / "plain", film, n, pixels=False, timed=False)
        for film, n in (("a", 6), ("b", 4))
    }
    scenes = scene_table(plain, 3, 3)
    assert scenes.start_s.isna().all()
    found = dict(scene_embeddings(scenes, plain, features_of(plain), weights[2], None, batch=4, device="cpu"))
    assert list(found) == ["E_movie mean", "E_shot mean"]


def world(seed=0, films=5, per_film=6, n=2):
    rng = np.random.default_rng(seed)
    scenes = pd.DataFrame(
        [(f"f{f}", n * s, n) for f in range(films) for s in range(per_film)],
        columns=["film_id", "shot", "n_shots"],
    )
    scenes["start_s"], scenes["end_s"] = scenes.shot * 1.0, scenes.shot + 2.0
    themes = {f"f{f}": list(np.repeat(rng.choice(list("xyz"), per_film), n)) for f in range(films)}
    return scenes, themes, rng.normal(size=(len(scenes), 8)).astype(np.float32)


def slow_precision(scenes, themes, vectors, k):
    labels = [scene_theme(themes[r.film_id], r.shot, r.n_shots) for r in scenes.itertuples()]
    shares = []
    for i, film in enumerate(scenes.film_id):
        others = [j for j in range(len(scenes)) if scenes.film_id[j] != film]
        others.sort(key=lambda j: (np.linalg.norm(vectors[i].astype(float) - vectors[j]), j))
        shares.append(np.mean([labels[j] == labels[i] for j in others[:k]]))
    return np.mean(shares)


def test_precision_equals_a_loop_that_leaves_the_own_film_out():
    scenes, themes, vectors = world()
    table, chance = compare_retrieval(scenes, {"noise": vectors}, themes)
    assert list(table.columns) == ["encoder", "metric", "value", "ci_low", "ci_high", "n"]
    for k in (1, 5, 10):
        row = table[table.metric == f"P@{k}"].iloc[0]
        assert row.value == pytest.approx(slow_precision(scenes, themes, vectors, k))
        assert row.ci_low <= row.value <= row.ci_high
    labels = [scene_theme(themes[r.film_id], r.shot, r.n_shots) for r in scenes.itertuples()]
    films = scenes.film_id.tolist()
    same = [labels[i] == labels[j] for i in range(30) for j in range(30) if films[i] != films[j]]
    assert chance == pytest.approx(np.mean(same))


def test_an_encoder_that_knows_the_theme_is_right_and_one_that_knows_the_film_is_not_favoured():
    scenes, themes, noise = world(films=8)
    labels = np.array([scene_theme(themes[r.film_id], r.shot, r.n_shots) for r in scenes.itertuples()])
    knows = (labels[:, None] == np.array(list("xyz"))).astype(np.float32) + 0.01 * noise[:, :3]
    film = np.eye(8, dtype=np.float32)[scenes.film_id.str[1:].astype(int)] + 0.01 * noise
    table, chance = compare_retrieval(scenes, {"theme": knows, "film": film}, themes, ks=(1, 5))
    value = table.set_index(["encoder", "metric"]).value
    assert value["theme", "P@1"] == value["theme", "P@5"] == 1.0
    assert abs(value["film", "P@5"] - chance) < 0.25


def test_queries_are_the_one_asked_for_or_spread_over_all():
    scenes, _, _ = world()
    assert example_queries(scenes, 3, film_id="f2", shot=5) == [14]
    assert scenes.loc[14, ["film_id", "shot"]].tolist() == ["f2", 4]
    spread = example_queries(scenes, 4)
    assert len(set(spread)) == 4
    assert spread == sorted(spread)
    assert len(set(scenes.film_id[spread])) >= 3
    assert len(example_queries(scenes.head(2), 10)) == 2
    with pytest.raises(M2SError, match="query_film 'f9' has no scene in the index; films that have: f0, f1"):
        example_queries(scenes, 1, film_id="f9")


def test_neighbours_are_the_nearest_of_other_films():
    scenes, themes, vectors = world()
    found = nearest_scenes(vectors, scenes, 7, 4, themes)
    others = [j for j in range(30) if scenes.film_id[j] != "f1"]
    nearest = sorted(others, key=lambda j: np.linalg.norm(vectors[7] - vectors[j]))[:4]
    pd.testing.assert_frame_equal(
        found[list(scenes.columns)], scenes.iloc[nearest].reset_index(drop=True), check_dtype=False
    )
    assert found.distance.tolist() == pytest.approx(
        [float(np.linalg.norm(vectors[7] - vectors[j])) for j in nearest], rel=1e-5
    )
    assert found.label.tolist() == [themes[r.film_id][r.shot] for r in found.itertuples()]
    assert found.attrs["query_label"] == themes["f1"][scenes.shot[7]]


def test_without_themes_or_enough_neighbours():
    scenes, _, vectors = world(films=2, per_film=3)
    found = nearest_scenes(vectors, scenes, 0, 10)
    assert found.film_id.tolist() == ["f1"] * 3
    assert "label" not in found
    assert found.attrs["query_label"] == ""


def test_one_film_or_unknown_themes_measure_nothing():
    scenes, themes, vectors = world(films=1)
    table, chance = compare_retrieval(scenes, {"noise": vectors}, themes)
    assert table.empty
    assert np.isnan(chance)
    assert list(table.columns) == ["encoder", "metric", "value", "ci_low", "ci_high", "n"]
    assert nearest_scenes(vectors, scenes, 0, 4, themes).empty
    scenes, _, vectors = world()
    assert compare_retrieval(scenes, {"noise": vectors}, {})[0].empty


def test_one_scene_is_a_query_without_neighbours():
    scenes, themes, vectors = world(films=1, per_film=1)
    assert example_queries(scenes, 3) == [0]
    found = nearest_scenes(vectors, scenes, 0, 4, themes)
    assert found.empty
    assert {*scenes.columns, "distance", "label"} == set(found.columns)
    assert found.attrs["query_label"] == themes["f0"][0]


def test_chance_is_the_share_of_pairs_of_different_films_by_counting():
    rng = np.random.default_rng(0)
    labels, films = (np.array(list(letters), object)[rng.integers(0, 3, 40)] for letters in ("xyz", "abc"))
    other = films[:, None] != films[None, :]
    assert _chance(labels, films) == (labels[:, None] == labels[None, :])[other].mean()
    assert np.isnan(_chance(labels[:2], np.array(["a", "a"], object)))
