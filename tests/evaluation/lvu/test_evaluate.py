"""LVU's tasks for the protocol, and place retrieval against sorting all distances."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from m2s_lib.evaluation.encoders.computed_features import Vectors
from m2s_lib.evaluation.encoders.weight_files import Missing
from m2s_lib.evaluation.lvu.evaluate import compare_place_retrieval, lvu_tasks, place_retrieval
from m2s_lib.evaluation.lvu.examples import place_finds
from m2s_lib.evaluation.lvu.files import SUPP_TABLE_1, TASKS, read_lvu
from m2s_lib.evaluation.protocol import evaluate
from m2s_lib.evaluation.results import RESULT_COLUMNS
from tests.helpers.lvu_folders import write_lvu

D = 12


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """All nine tasks, small, but for place with enough videos to tell chance from skill."""
    folder = tmp_path_factory.mktemp("lvu")
    write_lvu(folder, {t: (120, 60, 120) if t == "scene" else (24, 12, 12) for t in TASKS})
    return read_lvu(folder)


def vectors(tasks, windows=1, seed=0):
    """Embeddings that know each video's class or number, with some noise."""
    rng = np.random.default_rng(seed)
    centres, direction = 2 * rng.standard_normal((10, D)), rng.standard_normal(D)
    found = {}
    for task in tasks.values():
        for video, target in zip(task.rows["youtube_id"], task.targets, strict=True):
            signal = 0.4 * target * direction if task.kind.regression else centres[target]
            x = signal + 0.7 * rng.standard_normal((windows, D))
            found[video] = x[0] if windows == 1 else x
    return found


def test_rows_of_all_nine_tasks(tasks):
    got = evaluate(lvu_tasks(tasks), vectors(tasks), "ours", seeds=(0, 1), hidden=8, epochs=2)
    assert tuple(got.results.columns) == RESULT_COLUMNS
    assert len(got.results) == 9 * 2 * 2  # tasks, splits, seeds
    assert set(got.results.loc[got.results["metric"] == "MSE", "task"]) == {"view_count", "like_ratio"}
    assert (got.results["n"] == got.results["n_listed"]).all()
    assert len(got.probes) == 18
    assert got.probes["chosen"].all()


def test_the_floor_is_the_largest_class_or_the_mean_of_training(tasks):
    for task in lvu_tasks({n: tasks[n] for n in ("genre", "view_count")}):
        train, test = (tasks[task.name].split(s) for s in ("train", "test"))
        rows = task.chance_rows().set_index("split")
        if task.classes:
            wanted = (test["class_id"] == train["class_id"].mode()[0]).mean()
        else:
            wanted = ((test["target"] - train["target"].mean()) ** 2).mean()
        assert rows.loc["test", "value"] == pytest.approx(wanted)
        assert rows.index.tolist() == ["val", "test"]


def test_defaults_are_supplementary_table_1(tasks):
    assert {t.name: t.config for t in lvu_tasks(tasks)} == SUPP_TABLE_1
    assert SUPP_TABLE_1["director"].lr == 1.0
    assert SUPP_TABLE_1["view_count"].loss == "mse"
    assert {c.hidden for c in SUPP_TABLE_1.values()} == {512}
    assert {c.layers for c in SUPP_TABLE_1.values()} == {2}


def slow_precision(place, known, k, other_films):
    """Oracle: sort all distances, take k, count the label."""
    queries, gallery = place.split("val"), place.split("train")
    shares = []
    for q in queries.itertuples():
        near = sorted(
            (
                float(
                    np.linalg.norm(
                        known[q.youtube_id].astype(np.float32) - known[g.youtube_id].astype(np.float32)
                    )
                ),
                i,
            )
            for i, g in enumerate(gallery.itertuples())
            if not (other_films and g.imdb_id == q.imdb_id)
        )
        shares.append(np.mean([gallery["label"].iloc[i] == q.label for _, i in near[:k]]))
    return np.array(shares), queries["label"].to_numpy()


@pytest.mark.parametrize("other_films", [False, True])
def test_place_retrieval_equals_sorting_all_distances(tasks, other_films):
    rng = np.random.default_rng(1)
    known = {v: x + 3 * rng.standard_normal(D) for v, x in vectors(tasks).items()}  # noisy: neither 0 nor 1
    place = dataclasses.replace(tasks["scene"], rows=tasks["scene"].rows.copy())
    place.rows.loc[place.rows["split"] == "val", "imdb_id"] = place.split("train")["imdb_id"].to_numpy()[:60]
    prefix = "place retrieval in other films" if other_films else "place retrieval"
    rows, neighbours = place_retrieval(place, known, "ours", prefix, other_films)
    assert len(rows) == 3 * 7
    assert neighbours["same_film"].any() == (not other_films)
    for k in (1, 5, 10):
        shares, labels = slow_precision(place, known, k, other_films)
        got = rows[rows["metric"] == f"P@{k}"].set_index("task")
        assert got.loc[f"{prefix}: all queries", "value"] == pytest.approx(shares.mean())
        for label in set(labels):
            row = got.loc[f"{prefix}: {label}"]
            assert row["value"] == pytest.approx(shares[labels == label].mean())
            assert (row["n"], row["n_listed"]) == (10, 10)
    one = neighbours[neighbours["query"] == neighbours["query"].iloc[0]]
    assert one["rank"].tolist() == list(range(1, 11))
    assert one["distance"].is_monotonic_increasing


@pytest.mark.parametrize("other_films_only", [False, True])
def test_places_are_retrieved_by_every_encoder_that_is_there(tasks, other_films_only):
    place, known = tasks["scene"], vectors(tasks)
    items = place.rows["youtube_id"].tolist()
    values = np.stack([known[i] for i in items]).astype(np.float32)
    noise = np.random.default_rng(3).standard_normal(values.shape).astype(np.float32)
    found = {"ours": Vectors("ours", values), "CLIP": Missing("CLIP", "no weights")}
    found["random init"] = Vectors("random init", noise)
    rows, neighbours = compare_place_retrieval(place, found, items, other_films_only=other_films_only)
    assert tuple(rows.columns) == RESULT_COLUMNS
    names = ["ours", "random init", "random init, whitened"]
    assert pd.unique(neighbours["encoder"]).tolist() == names
    task = f"place retrieval{' in other films' if other_films_only else ''}: all queries"
    every = rows[rows["task"] == task].set_index(["encoder", "metric"])
    for k in ("P@1", "P@5", "P@10"):
        assert every.loc[("ours", k), "value"] > 0.9
        assert every.loc[("random init", k), "value"] == pytest.approx(1 / 6, abs=0.15)
        assert np.isnan(every.loc[("CLIP", k), "value"])
    assert every["n_listed"].eq(60).all()
    assert every.loc[("CLIP", "P@1"), "n_found"] == 0
    scenes = pd.DataFrame({"item": items, "film_id": items, "shot": 0, "n_shots": 9})
    asked = place_finds(neighbours, rows, scenes, "ours", n_queries=2, k=2)
    assert [list(by)[0] for _, by in asked] == ["ours"] * 2
    assert all(len(by) == 2 for _, by in asked)


@pytest.mark.parametrize("split", ["val", "train"])
def test_place_retrieval_without_queries_or_a_gallery_is_not_measured(tasks, split):
    known = {v: np.ones(3) for v in tasks["scene"].split(split)["youtube_id"]}
    rows, neighbours = place_retrieval(tasks["scene"], known, "ours")
    assert rows["value"].isna().all()
    assert rows["metric"].tolist() == ["P@1", "P@5", "P@10"]
    assert not len(neighbours)
    assert place_retrieval(tasks["scene"], {}, "ours")[0]["n_found"].eq(0).all()
