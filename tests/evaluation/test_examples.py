"""Which clips the figures show: right and wrong ones in turn, the surest first; queries and their finds."""

import numpy as np
import pandas as pd
import pytest

from m2s_lib.evaluation.examples import best_other
from m2s_lib.evaluation.lvu.examples import place_finds, shown_predictions
from m2s_lib.evaluation.moderation.examples import class_examples, surest_errors
from m2s_lib.evaluation.moderation.files import CLASSES
from m2s_lib.evaluation.results import prediction_table
from m2s_lib.evaluation.tasks import RANDOM

LABELLED = [  # item, label, what was predicted and how sure
    ("a", "office", "office", 0.9),
    ("b", "office", "office", 0.8),
    ("c", "hotel", "hotel", 0.7),
    ("d", "hotel", "office", 0.6),
    ("e", "office", "prison", 0.95),
    ("gone", "office", "office", 0.99),  # has no pictures
]


@pytest.fixture
def predicted():
    names = ("office", "hotel", "prison")
    tables = []
    for seed, split in ((4, "test"), (5, "test"), (4, "val")):
        rows = LABELLED if seed == 4 else [(i, lab, "prison", 0.5) for i, lab, _, _ in LABELLED]
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


def test_right_and_wrong_clips_in_turn_the_surest_first(predicted, shown):
    tables = shown_predictions(predicted, shown, ["scene"], "ours", 4)
    table = tables["scene"]
    assert table["title"].tolist() == ["a", "e", "b", "d"]  # right, wrong, right, wrong
    assert table["score"].tolist() == pytest.approx([0.9, 0.95, 0.8, 0.6])
    assert table[["film_id", "shot", "n_shots"]].iloc[0].tolist() == ["A", 2, 9]
    assert table["prediction"].tolist() == ["office", "prison", "office", "office"]  # of the first seed
    every = shown_predictions(predicted, shown, ["scene"], "ours", 99)["scene"]
    assert every["title"].tolist() == ["a", "e", "b", "d", "c"]


def test_numbers_have_no_score_and_what_was_not_measured_is_not_shown(predicted, shown):
    tables = shown_predictions(predicted, shown, ["like_ratio", "genre", "scene"], "ours", 2)
    assert list(tables) == ["like_ratio", "scene"]
    assert tables["like_ratio"]["score"].isna().all()
    assert tables["like_ratio"]["title"].tolist() == ["a", "b"]
    assert shown_predictions(predicted, shown, ["scene"], "unknown", 2) == {}


def neighbours_of(*rows):
    table = pd.DataFrame(rows, columns=["query", "query_label", "item", "label", "distance"])
    return table.assign(rank=table.groupby("query").cumcount() + 1, same_film=False)


def together(tables):
    return pd.concat([t.assign(encoder=e) for e, t in tables.items()], ignore_index=True)


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
    asked = place_finds(together(found), places, scenes, "ours", n_queries=3, k=2)
    assert [(q["film_id"], q["label"]) for q, _ in asked] == [("B", "hotel"), ("A", "office"), ("C", "hotel")]
    for query, by in asked:
        assert list(by) == ["ours", "strong"]
        assert query["n_shots"] == 9
        for table, distance in zip(by.values(), (0.1, 0.3), strict=True):
            assert table["film_id"].tolist() == ["P", "Q"]
            assert table["distance"].eq(distance).all()
    assert len(place_finds(together(found), places, scenes, "ours", n_queries=9)) == 4  # x has no pictures
    alone = place_finds(together({"ours": ours}), places, scenes, "ours", n_queries=1)
    assert list(alone[0][1]) == ["ours"]
    other = place_finds(together({"weak": weak, "strong": strong}), places, scenes, "ours", n_queries=1)
    assert list(other[0][1]) == ["strong"]
    assert place_finds(together({"ours": ours[:0]}), places, scenes, "ours") == []


PREDICTED = [  # item, label, what ours says and how sure, what the other says
    ("a", "sex", "sex", 0.9, "none"),
    ("b", "sex", "sex", 0.8, "sex"),
    ("c", "sex", "none", 0.6, "sex"),
    ("d", "none", "violence", 0.7, "none"),
    ("e", "none", "none", 0.5, None),  # the other encoder has no features of this clip
    ("gone", "none", "none", 0.99, "none"),  # has no pictures
]


@pytest.fixture
def moderated():
    tables = []
    for seed, encoder, column in ((1, "ours", 2), (0, "ours", 2), (0, "other", 4)):
        rows = [r for r in PREDICTED if r[column] is not None]
        scores = np.full((len(rows), 4), 0.01)
        for i, r in enumerate(rows):
            scores[i, CLASSES.index(r[column])] = r[3] if encoder == "ours" else 0.4
        scores = scores[:, ::-1] if seed == 1 else scores  # the second seed is not shown
        items, labels, predictions = [r[0] for r in rows], [r[1] for r in rows], [r[column] for r in rows]
        tables.append(
            prediction_table("MCD", "moderation", "test", encoder, seed, items, labels, predictions, scores)
        )
    return pd.concat(tables, ignore_index=True)


@pytest.fixture
def clips():
    return pd.DataFrame(
        {"item": list("aabcde"), "film_id": list("aabcde"), "shot": [0, 9, 0, 0, 0, 0]}
    ).assign(n_shots=9)


def test_examples_are_right_and_wrong_in_turn_the_surest_first(moderated, clips):
    rows = class_examples(moderated, clips, "ours", "other", classes=("sex", "none"), n=2)
    assert rows["title"].tolist() == ["a", "c", "e", "d"]
    assert rows["score"].tolist() == pytest.approx([0.9, 0.6, 0.5, 0.7])
    assert rows["other_prediction"].tolist() == ["none", "sex", "", "none"]
    assert rows["other_score"].tolist() == pytest.approx([0.4, 0.4, np.nan, 0.4], nan_ok=True)
    assert rows["shot"].tolist() == [0, 0, 0, 0]
    alone = class_examples(moderated, clips, "ours", classes=("sex",), n=9)
    assert alone["title"].tolist() == ["a", "c", "b"]
    assert "other_prediction" not in alone.columns
    assert len(class_examples(moderated, clips, "unknown")) == 0


def test_errors_are_those_it_is_surest_of(moderated, clips):
    rows = surest_errors(moderated, clips, "ours", "other", n=5)
    assert rows["title"].tolist() == ["d", "c"]
    assert rows["prediction"].tolist() == ["violence", "none"]


def test_the_best_other_encoder_is_no_control_and_not_chance():
    names = ["ours", "ours (permuted labels)", RANDOM, "noise", "colour", "gone"]
    rows = pd.DataFrame({"encoder": names, "value": [0.9, 0.8, 0.7, 0.2, 0.1, np.nan]})
    rows = rows.assign(task="average", metric="AP")
    assert best_other(rows, "ours", "average", "AP") == "noise"
    assert best_other(rows[:3], "ours", "average", "AP") == ""
    assert best_other(rows, "noise", "average", "AP") == "ours"
    assert best_other(rows, "ours", "sex", "AP") == ""
