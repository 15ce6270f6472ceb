"""Which boundaries the figure shows."""

import numpy as np
import pandas as pd
import pytest

from m2s_lib.evaluation.movienet.examples import boundary_examples
from m2s_lib.evaluation.movienet.files import task_name
from m2s_lib.evaluation.movienet.place_tagging import TASK, PlaceScenes, read_places
from m2s_lib.evaluation.results import empty_results, prediction_table
from tests.helpers.boundary_films import write_annotation
from tests.helpers.fake_films import FakeStore

TASK_NAME = task_name()
SCORED = [  # film, the shot before, label, score
    ("a", 0, 1, 0.99),  # too near to the film's beginning to be drawn
    ("a", 5, 1, 0.9),
    ("a", 8, 0, 0.8),
    ("a", 11, 1, 0.1),
    ("b", 4, 1, 0.7),
    ("b", 7, 0, 0.6),
    ("b", 9, 1, 0.2),
    ("b", 17, 0, 0.95),  # too near to its end
    ("c", 6, 0, 0.3),
    ("gone", 6, 1, 0.97),  # has no pictures
]


@pytest.fixture
def predicted():
    tables = []
    for seed in (3, 2):
        for name in ("colour", "ours"):
            rows = SCORED if (seed, name) == (2, "ours") else [(f, s, 1 - y, p) for f, s, y, p in SCORED]
            items, y = [f"{f}:{s:04d}" for f, s, *_ in rows], [r[2] for r in rows]
            scores = np.array([[r[3]] for r in rows])
            above = [int(r[3] > 0.5) for r in rows]
            about = ("MovieNet", TASK_NAME, "test", name, seed)
            tables.append(prediction_table(*about, items, y, above, scores))
    return pd.concat(tables, ignore_index=True)


@pytest.fixture
def films():
    return {"a": FakeStore(1, 20), "b": FakeStore(2, 20), "c": FakeStore(3, 20)}


def test_the_surest_right_false_and_missed_in_turn_of_different_films(predicted, films):
    rows = boundary_examples(predicted, films, TASK_NAME, "ours", n=3, around=4)
    where = list(zip(rows["film_id"], rows["after"], strict=True))
    # the surest right one; the surest false alarm of another film than a; of a third film none is missed, so
    # the most surely missed of all
    assert where == [("a", 5), ("b", 7), ("a", 11)]
    assert rows[["label", "prediction"]].to_numpy().tolist() == [[1, 1], [0, 1], [1, 0]]
    assert rows["score"].tolist() == pytest.approx([0.9, 0.6, 0.1])
    assert rows["shot"].tolist() == [2, 4, 8]  # four shots before the line, four behind it
    assert rows["boundary"].eq(4).all()
    assert rows["n_shots"].eq(8).all()
    assert rows["scenes"].tolist() == ["", "", ""]


def test_no_boundary_is_shown_twice_and_none_beyond_a_film(predicted, films):
    rows = boundary_examples(predicted, films, TASK_NAME, "ours", n=20, around=4)
    where = list(zip(rows["film_id"], rows["after"], strict=True))
    assert len(set(where)) == len(where)
    assert set(where) == {(f, s) for f, s, *_ in SCORED} - {("a", 0), ("b", 17), ("gone", 6)}
    assert (rows["shot"] >= 0).all()
    assert (rows["shot"] + rows["n_shots"] <= 20).all()
    near = boundary_examples(predicted, films, TASK_NAME, "ours", n=1, around=1)
    assert near[["film_id", "after", "shot", "n_shots"]].to_numpy().tolist() == [["a", 0, 0, 2]]
    assert len(boundary_examples(predicted, films, TASK_NAME, "ours", around=11)) == 0


def test_an_encoder_without_predictions_has_no_boundary_to_draw(predicted, films):
    for encoder, task in (("CLIP", TASK_NAME), ("ours", "other task")):
        assert len(boundary_examples(predicted, films, task, encoder)) == 0
    assert len(boundary_examples(empty_results().predictions, {}, TASK_NAME, "ours")) == 0


@pytest.fixture
def tagged(tmp_path) -> PlaceScenes:
    """a: scenes 0..5, 6..11 (not tagged), 12..; b: 0..15 (of which the encoder sees the middle nine), 16.."""
    write_annotation(tmp_path, "a", [([0, 6], "hotel"), ([6, 12], None), ([12, 20], ["office", "airport"])])
    write_annotation(tmp_path, "b", [([0, 16], "office"), ([16, 20], "hotel")])
    write_annotation(tmp_path, "c", [([0, 7], "hotel"), ([7, 20], "office")])
    return read_places(tmp_path, dict.fromkeys("abc", "test"), min_count=1)


def test_places_on_both_sides_are_those_of_the_scenes_that_meet_there(predicted, films, tagged):
    names_of = {"a_0000": "hotel", "a_0002": "office", "b_0000": "airport|office", "c_0000": "office"}
    about = ("MovieNet", TASK, "test", "ours")
    tagging = pd.concat(
        [prediction_table(*about, seed, list(names_of), list(names_of), names, np.zeros((4, 3)))
         for seed, names in ((1, ["no"] * 4), (0, list(names_of.values())))],
    )  # fmt: skip
    rows = boundary_examples(predicted, films, TASK_NAME, "ours", tagged, tagging, n=20)
    got = {(r.film_id, r.after): r.scenes for r in rows.itertuples()}
    assert got["a", 5] == ""  # the scene that follows has no tag
    assert got["a", 8] == ""
    assert got["a", 11] == ""
    inside = "office (predicted airport, office)"
    for after in (4, 7, 9):  # inside one scene, also where the encoder does not look
        assert got["b", after] == f"place: {inside} | {inside}"
    assert got["c", 6] == "place: hotel (predicted office) | office (predicted -)"
    alone = boundary_examples(predicted, films, TASK_NAME, "ours", tagged, n=20).set_index(
        ["film_id", "after"]
    )
    assert alone.loc[("c", 6), "scenes"] == "place: hotel (predicted -) | office (predicted -)"


def test_a_scenes_places_are_named_one_after_the_other(predicted, films, tmp_path):
    write_annotation(tmp_path, "a", [([0, 6], ["hotel", "office"]), ([6, 20], ["airport", "hotel"])])
    both = read_places(tmp_path, {"a": "test"}, min_count=1)
    rows = boundary_examples(predicted, films, TASK_NAME, "ours", both, n=1)
    assert rows["scenes"].tolist() == ["place: hotel, office (predicted -) | airport, hotel (predicted -)"]
