"""LVU's protocol on made-up embeddings: rows, counts, windows, the search, the control, place retrieval."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, mean_squared_error

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.lvu.evaluate import evaluate_lvu, place_retrieval
from m2s_lib.evaluation.lvu.files import SUPP_TABLE_1, TASKS, read_lvu
from m2s_lib.evaluation.probes.probe_search import SEARCH_GRID
from m2s_lib.evaluation.results import PREDICTION_COLUMNS, RESULT_COLUMNS
from tests.helpers.lvu_folders import write_lvu

SMALL = {"hidden": 16, "epochs": 15, "batch": 16, "dropout": 0.1}
D = 12


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """All nine tasks, small, but for place with enough test videos to tell chance from skill."""
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


def only(tasks, *names):
    return {n: tasks[n] for n in names}


def test_rows_of_all_nine_tasks(tasks):
    got = evaluate_lvu(tasks, vectors(tasks), "ours", seeds=(0, 1), **SMALL, lr=0.1)
    assert tuple(got.results.columns) == RESULT_COLUMNS
    assert tuple(got.predictions.columns) == PREDICTION_COLUMNS
    assert len(got.results) == 9 * 2 * 2  # tasks, splits, seeds
    assert set(got.results["metric"]) == {"top-1", "MSE"}
    assert set(got.results.loc[got.results["metric"] == "MSE", "task"]) == {"view_count", "like_ratio"}
    assert (got.results["n"] == got.results["n_listed"]).all()
    assert (got.results["ci_low"] <= got.results["value"]).all()
    assert (got.results["value"] <= got.results["ci_high"]).all()
    assert len(got.probes) == 18
    assert got.probes["chosen"].all()


@pytest.mark.parametrize("task", ["scene", "view_count"])
def test_values_follow_from_the_predictions(tasks, task):
    got = evaluate_lvu(only(tasks, task), vectors(tasks), "ours", **SMALL, lr=0.05)
    test = got.predictions[got.predictions["split"] == "test"]
    assert test["item"].tolist() == tasks[task].split("test")["youtube_id"].tolist()
    row = got.results[got.results["split"] == "test"].iloc[0]
    if task == "scene":
        wanted = accuracy_score(test["label"], test["prediction"])
        assert [tasks[task].classes[int(np.argmax(s))] for s in test["scores"]] == test["prediction"].tolist()
        assert row["value"] > 0.8
    else:
        numbers = test[["label", "prediction"]].astype(float)
        wanted = mean_squared_error(numbers["label"], numbers["prediction"])
        assert row["value"] < np.var(tasks[task].split("test")["target"])
    assert row["value"] == pytest.approx(wanted, abs=1e-4)


def test_missing_videos_are_counted_in_every_row(tasks):
    known, task = vectors(tasks), tasks["genre"]
    for split, gone in (("train", 5), ("val", 3), ("test", 2)):
        for video in task.split(split)["youtube_id"][:gone]:
            del known[video]
    got = evaluate_lvu(only(tasks, "genre"), known, "ours", **SMALL, lr=0.1).results.set_index("split")
    assert got.loc["val", ["n", "n_found", "n_listed"]].tolist() == [9, 9, 12]
    assert got.loc["test", ["n", "n_found", "n_listed"]].tolist() == [10, 10, 12]


@pytest.mark.parametrize("gone", ["train", "test"])
def test_a_split_without_videos_is_not_measured_not_zero(tasks, gone):
    known, task = vectors(tasks), tasks["genre"]
    for video in task.split(gone)["youtube_id"]:
        del known[video]
    got = evaluate_lvu(only(tasks, "genre", "year"), known, "ours", **SMALL, lr=0.1).results
    test = got[got["split"] == "test"].set_index("task")
    assert np.isnan(test.loc["genre", "value"])
    assert test.loc["genre", "n"] == 0
    assert test.loc["genre", "n_listed"] == 12
    assert test.loc["year", "n"] == 12


def test_windows_of_a_video_are_scored_together(tasks):
    got = evaluate_lvu(only(tasks, "scene"), vectors(tasks, windows=3), "ours", **SMALL, lr=0.1)
    assert len(got.predictions) == 180  # one row a video of val and test
    test = got.results[got.results["split"] == "test"].iloc[0]
    assert test["n"] == 120
    val = got.results[got.results["split"] == "val"].iloc[0]
    assert val["value"] == pytest.approx(got.probes["val_score"].iloc[0])


def test_permuted_labels_give_chance(tasks):
    known = vectors(tasks)
    true = evaluate_lvu(only(tasks, "scene"), known, "ours", **SMALL, lr=0.1).results
    chance = evaluate_lvu(only(tasks, "scene"), known, "ours", permuted=True, **SMALL, lr=0.1).results
    true, chance = (r[r["split"] == "test"].iloc[0] for r in (true, chance))
    assert true["ci_low"] > 1 / 6 + 0.3
    assert abs(chance["value"] - 1 / 6) < 0.15  # 120 videos: three standard errors are 0.10
    assert chance["encoder"] == "ours (permuted labels)"


def test_the_search_takes_the_best_on_validation(tasks):
    grid = ({"lr": 1e-6}, {"lr": 0.1}, {"lr": 1e-5})
    got = evaluate_lvu(only(tasks, "scene"), vectors(tasks), "ours", seeds=(3, 4), search_grid=grid, **SMALL)
    assert len(got.probes) == 6
    assert got.probes[got.probes["chosen"]][["lr", "seed"]].to_numpy().tolist() == [[0.1, 3], [0.1, 4]]
    best = got.probes.groupby("lr")["val_score"].mean().idxmax()
    assert best == 0.1
    assert got.results["seed"].tolist() == [3, 3, 4, 4]
    assert len(SEARCH_GRID) == 6


def test_defaults_are_supplementary_table_1():
    assert set(SUPP_TABLE_1) == set(TASKS)
    assert SUPP_TABLE_1["director"].lr == 1.0
    assert SUPP_TABLE_1["view_count"].loss == "mse"
    assert {c.hidden for c in SUPP_TABLE_1.values()} == {512}
    assert {c.layers for c in SUPP_TABLE_1.values()} == {2}


def test_embeddings_of_other_videos_are_refused(tasks):
    with pytest.raises(M2SError, match="ours: none of the 1 embeddings belongs"):
        evaluate_lvu(only(tasks, "scene"), {"other": np.ones(3)}, "ours")


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
    rows, neighbours = place_retrieval(place, known, "ours", other_films_only=other_films)
    assert len(rows) == 3 * 7
    assert neighbours["same_film"].any() == (not other_films)
    for k in (1, 5, 10):
        shares, labels = slow_precision(place, known, k, other_films)
        prefix = "place retrieval in other films" if other_films else "place retrieval"
        got = rows[rows["metric"] == f"P@{k}"].set_index("task")
        assert got.loc[f"{prefix}: all queries", "value"] == pytest.approx(shares.mean())
        for label in set(labels):
            row = got.loc[f"{prefix}: {label}"]
            assert row["value"] == pytest.approx(shares[labels == label].mean())
            assert (row["n"], row["n_listed"]) == (10, 10)
    one = neighbours[neighbours["query"] == neighbours["query"].iloc[0]]
    assert one["rank"].tolist() == list(range(1, 11))
    assert one["distance"].is_monotonic_increasing


def test_place_retrieval_without_a_gallery_says_so(tasks):
    known = {v: np.ones(3) for v in tasks["scene"].split("val")["youtube_id"]}
    with pytest.raises(M2SError, match="60 queries and a gallery of 0"):
        place_retrieval(tasks["scene"], known, "ours")
