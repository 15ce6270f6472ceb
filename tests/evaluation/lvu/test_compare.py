"""All encoders on LVU: floor, control, what is missing, place retrieval; and which clips the figures show."""

import numpy as np
import pandas as pd
import pytest

from m2s_lib.evaluation.encoders.computed_features import Vectors
from m2s_lib.evaluation.encoders.weight_files import Missing
from m2s_lib.evaluation.lvu.compare import (
    BASELINE,
    compare_lvu,
    compare_place_retrieval,
    end_to_end_lvu,
    lvu_summary,
)
from m2s_lib.evaluation.lvu.examples import place_finds, shown_predictions
from m2s_lib.evaluation.lvu.files import TASKS, read_lvu
from m2s_lib.evaluation.results import PREDICTION_COLUMNS, RESULT_COLUMNS, prediction_table
from tests.evaluation.lvu.test_evaluate import SMALL, D, only, vectors
from tests.helpers.lvu_folders import write_lvu

OURS, CONTROL, NOISE, CLIP = "ours (co-watch)", "ours (co-watch) (permuted labels)", "noise", "CLIP ViT-B/16"


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """Place with enough videos to tell chance from skill, six of them a film, and like ratio, a number."""
    folder = tmp_path_factory.mktemp("lvu")
    sizes = dict.fromkeys(TASKS, (24, 12, 12)) | {"scene": (180, 60, 180), "like_ratio": (60, 30, 60)}
    return only(read_lvu(write_lvu(folder, sizes, per_film=6)), "scene", "like_ratio")


@pytest.fixture(scope="module")
def scenes(tasks):
    """Two scenes of every video but the first test video of each task, which is gone."""
    gone = [t.split("test")["youtube_id"].iloc[0] for t in tasks.values()]
    items = [v for t in tasks.values() for v in t.rows["youtube_id"] if v not in gone for _ in range(2)]
    table = pd.DataFrame({"item": items, "film_id": items, "n_shots": 9})
    return table.assign(shot=table.groupby("item").cumcount() * 9)


@pytest.fixture(scope="module")
def found(tasks, scenes):
    known = vectors(tasks, windows=2)
    values = np.stack([known[i][w // 9] for i, w in zip(scenes["item"], scenes["shot"], strict=True)])
    values = values.astype(np.float32)
    noise = np.random.default_rng(3).standard_normal(values.shape).astype(np.float32)
    return {
        OURS: Vectors(OURS, values),
        CLIP: Missing(CLIP, "weights not found"),
        NOISE: Vectors(NOISE, noise),
    }


@pytest.fixture(scope="module")
def compared(tasks, scenes, found):
    return compare_lvu(tasks, found, scenes["item"], permuted=OURS, seeds=(0, 1), lr=0.05, **SMALL)


def on_test(results, task):
    return results[(results["split"] == "test") & (results["task"] == task)]


def test_rows_of_floor_ours_control_missing_and_noise(compared):
    results = compared.results
    assert tuple(results.columns) == RESULT_COLUMNS
    assert tuple(compared.predictions.columns) == PREDICTION_COLUMNS
    assert pd.unique(results["encoder"]).tolist() == [BASELINE, OURS, CONTROL, CLIP, NOISE]
    assert set(compared.predictions["encoder"]) == {OURS, CONTROL, NOISE}
    assert set(compared.probes["encoder"]) == {OURS, CONTROL, NOISE}
    place = on_test(results, "scene").groupby("encoder")["value"].mean()
    assert place[OURS] > 0.9
    for name in (BASELINE, CONTROL, NOISE):
        assert place[name] == pytest.approx(1 / 6, abs=0.1)  # 179 videos: three standard errors are 0.08
    error = on_test(results, "like_ratio").groupby("encoder")["value"].mean()
    assert error[OURS] < 0.7 * error[BASELINE]
    assert error[CONTROL] > 0.9 * error[BASELINE]


def test_what_is_missing_is_not_measured_and_counted(compared):
    results = compared.results
    rows = results[results["encoder"] == CLIP]
    assert rows["task"].tolist() == ["scene", "like_ratio"]
    assert rows["metric"].tolist() == ["top-1", "MSE"]
    assert rows["value"].isna().all()
    assert rows[["n", "n_found", "n_listed"]].to_numpy().tolist() == [[0, 0, 180], [0, 0, 60]]
    test = on_test(results, "scene").drop_duplicates("encoder").set_index("encoder")
    assert test["n_listed"].eq(180).all()
    assert test["n_found"].to_dict() == {BASELINE: 180, OURS: 179, CONTROL: 179, CLIP: 0, NOISE: 179}


def test_the_summary_is_one_row_an_encoder_with_means_over_seeds(compared):
    table = lvu_summary(compared.results)
    assert table.index.tolist() == [BASELINE, OURS, CONTROL, CLIP, NOISE]
    assert table.columns.tolist() == ["scene", "like_ratio"]
    rows = on_test(compared.results, "scene").query("encoder == @OURS")
    assert rows["seed"].tolist() == [0, 1]
    assert table.loc[OURS, "scene"] == pytest.approx(rows["value"].mean())
    assert table.loc[CLIP].isna().all()


def test_without_encoders_there_is_the_floor(tasks):
    got = compare_lvu(tasks, {}, [])
    assert got.results["encoder"].unique().tolist() == [BASELINE]
    assert tuple(got.predictions.columns) == PREDICTION_COLUMNS
    assert lvu_summary(got.results).index.tolist() == [BASELINE]


def test_the_end_to_end_head_is_a_row_of_its_own(tasks, found, scenes):
    small = {"hidden": 16, "layers": 2, "states": 4, "epochs": 6, "lr": 0.01}
    frames = {}
    for item, x in zip(scenes["item"], found[OURS].values, strict=True):
        frames[item] = np.concatenate([frames.get(item, np.zeros((0, D), np.float32)), x[None]])
    got = end_to_end_lvu(only(tasks, "scene"), frames, length=3, seeds=(5,), **small)
    row = on_test(got.results, "scene").iloc[0]
    assert row[["encoder", "seed", "n", "n_listed"]].tolist() == ["ViS4mer-style", 5, 179, 180]
    assert row["value"] > 0.6
    noise = {item: np.random.default_rng(i).standard_normal((2, D)) for i, item in enumerate(frames)}
    chance = end_to_end_lvu(only(tasks, "scene"), noise, length=3, name="noise", **small)
    assert on_test(chance.results, "scene")["value"].item() == pytest.approx(1 / 6, abs=0.1)


@pytest.mark.parametrize("other_films_only", [False, True])
def test_places_are_retrieved_by_every_encoder_that_is_there(tasks, found, scenes, other_films_only):
    rows, neighbours = compare_place_retrieval(
        tasks["scene"], found, scenes["item"], other_films_only=other_films_only
    )
    assert tuple(rows.columns) == RESULT_COLUMNS
    assert list(neighbours) == [OURS, NOISE]
    what = f"place retrieval{' in other films' if other_films_only else ''}: all queries"
    every = rows[rows["task"] == what].set_index(["encoder", "metric"])  # the missing one among them
    assert sorted(every.index.levels[1]) == ["P@1", "P@10", "P@5"]
    for k in ("P@1", "P@5", "P@10"):
        assert every.loc[(OURS, k), "value"] > 0.9
        assert every.loc[(NOISE, k), "value"] == pytest.approx(1 / 6, abs=0.15)
        assert np.isnan(every.loc[(CLIP, k), "value"])
    assert every["n_listed"].eq(60).all()
    assert every["n_found"].groupby("encoder").first().to_dict() == {OURS: 60, NOISE: 60, CLIP: 0}
    asked = place_finds(neighbours, rows, scenes, OURS, n_queries=2, k=2)
    assert [list(by) for _, by in asked] == [[OURS, NOISE]] * 2


SAID = [  # item, label, what was predicted and how sure
    ("a", "office", "office", 0.9),
    ("b", "office", "office", 0.8),
    ("c", "hotel", "hotel", 0.7),
    ("d", "hotel", "office", 0.6),
    ("e", "office", "prison", 0.95),
    ("gone", "office", "office", 0.99),  # has no pictures
]


@pytest.fixture
def said():
    names = ("office", "hotel", "prison")
    tables = []
    for seed, split in ((4, "test"), (5, "test"), (4, "val")):
        rows = SAID if seed == 4 else [(i, lab, "prison", 0.5) for i, lab, _, _ in SAID]
        scores = np.full((len(rows), 3), 0.01)
        for score, (*_, predicted, sure) in zip(scores, rows, strict=True):
            score[names.index(predicted)] = sure
        columns = [[r[i] for r in rows] for i in range(3)]
        tables.append(prediction_table("LVU", "scene", split, "ours", seed, *columns, scores))
    number = prediction_table("LVU", "like_ratio", "test", "ours", 4, ["b", "a"], [1.5, 2.0], [0.5, 2.0],
                              np.array([[0.5], [2.0]]))  # fmt: skip
    return pd.concat([*tables, number], ignore_index=True)


@pytest.fixture
def shown():
    """Scenes of the clips; a's second scene is not shown."""
    table = pd.DataFrame({"item": list("aabcde"), "film_id": list("AABCDE"), "shot": [2, 11, 0, 0, 0, 3]})
    return table.assign(n_shots=9)


def test_right_and_wrong_clips_in_turn_the_surest_first(said, shown):
    tables = shown_predictions(said, shown, ["scene"], "ours", 4)
    table = tables["scene"]
    assert table["title"].tolist() == ["a", "e", "b", "d"]  # right, wrong, right, wrong
    assert table["score"].tolist() == pytest.approx([0.9, 0.95, 0.8, 0.6])
    assert table[["film_id", "shot", "n_shots"]].iloc[0].tolist() == ["A", 2, 9]
    assert table["prediction"].tolist() == ["office", "prison", "office", "office"]  # of the first seed
    every = shown_predictions(said, shown, ["scene"], "ours", 99)["scene"]
    assert every["title"].tolist() == ["a", "e", "b", "d", "c"]


def test_numbers_have_no_score_and_what_was_not_measured_is_not_shown(said, shown):
    tables = shown_predictions(said, shown, ["like_ratio", "genre", "scene"], "ours", 2)
    assert list(tables) == ["like_ratio", "scene"]
    assert tables["like_ratio"]["score"].isna().all()
    assert tables["like_ratio"]["title"].tolist() == ["a", "b"]
    assert shown_predictions(said, shown, ["scene"], "unknown", 2) == {}


def neighbours_of(*rows):
    table = pd.DataFrame(rows, columns=["query", "query_label", "item", "label", "distance"])
    return table.assign(rank=table.groupby("query").cumcount() + 1, same_film=False)


def p_at_1(**values):
    table = pd.DataFrame({"encoder": list(values), "value": list(values.values())})
    return table.assign(task="place retrieval: all queries", metric="P@1")


def test_queries_of_different_places_beside_the_best_other_encoder():
    scenes = pd.DataFrame(
        {"item": list("abcdpqr"), "film_id": list("ABCDPQR"), "shot": range(7), "n_shots": 9}
    )
    near = [(q, lab, i, "office", 0.1) for q, lab in zip("adbcx", ["office"] * 2 + ["hotel"] * 3, strict=True)
            for i in "pqr"]  # fmt: skip
    ours = neighbours_of(*near)
    weak, strong = ours.assign(distance=0.2), neighbours_of(*near[:12]).assign(distance=0.3)
    found = {"weak": weak, "ours": ours, "strong": strong}
    places = p_at_1(weak=0.2, ours=0.1, strong=0.9, missing=np.nan, gone=0.95)
    asked = place_finds(found, places, scenes, "ours", n_queries=3, k=2)
    assert [(q["film_id"], q["label"]) for q, _ in asked] == [("B", "hotel"), ("A", "office"), ("C", "hotel")]
    for query, by in asked:
        assert list(by) == ["ours", "strong"]
        assert query["n_shots"] == 9
        for table, distance in zip(by.values(), (0.1, 0.3), strict=True):
            assert table["film_id"].tolist() == ["P", "Q"]
            assert table["distance"].eq(distance).all()
    assert len(place_finds(found, places, scenes, "ours", n_queries=9)) == 4  # x has no pictures
    alone = place_finds({"ours": ours}, places, scenes, "ours", n_queries=1)
    assert list(alone[0][1]) == ["ours"]
    other = place_finds({"weak": weak, "strong": strong}, places, scenes, "ours", n_queries=1)
    assert list(other[0][1]) == ["strong"]
    assert place_finds({}, places, scenes, "ours") == []
