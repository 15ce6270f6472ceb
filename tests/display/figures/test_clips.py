"""Predictions and finds as pictures: what is drawn, what is marked right or wrong, what is refused."""

import numpy as np
import pandas as pd
import pytest

from m2s_lib.display.figures import found_by_figure, predictions_figure
from m2s_lib.errors import M2SError
from tests.helpers.display_stores import make_store
from tests.helpers.drawn import check_layout, pictures, texts


@pytest.fixture
def stores(tmp_path):
    names = ("a", "b", "c")
    return {name: make_store(tmp_path, name, n=12, pixels=name != "c") for name in names}


def rows():
    return pd.DataFrame(
        {
            "film_id": ["a", "b", "c"],
            "shot": [0, 3, 1],
            "n_shots": [9, 4, 9],
            "label": ["office", "<b>hotel</b>", "$school"],
            "prediction": ["office", "prison", "$school"],
            "score": [0.91, 0.5, np.nan],
        }
    )


def test_each_clip_has_its_label_and_a_mark(stores):
    fig = predictions_figure(rows(), stores, "place")
    check_layout(fig)
    assert len(pictures(fig)) == 3
    said = texts(fig)
    assert "✓ predicted: office (0.91)" in said
    assert "✗ predicted: prison (0.50)" in said
    assert "✓ predicted: $school" in said  # no score is drawn where there is none
    assert "label: <b>hotel</b>" in said
    assert "2 of 3 are right" in fig.m2s_alt


def test_a_long_label_has_a_second_line(stores):
    long = rows().assign(
        prediction="Action-Crime-Adventure and more", label="Action-Crime-Adventure and more"
    )
    fig = predictions_figure(long, stores)
    check_layout(fig)
    assert not [words for words in texts(fig) if "…" in words]


def test_a_second_encoder_has_a_line_of_its_own(stores):
    two = rows().assign(other_prediction=["hotel", "", "$school"], other_score=[0.4, np.nan, 0.8])
    fig = predictions_figure(two, stores, "place", names=("ours", "colour"))
    check_layout(fig)
    said = texts(fig)
    assert "✓ ours: office (0.91)" in said
    assert "✗ colours: hotel (0.40)" in said
    assert "✓ colours: $school (0.80)" in said
    assert (
        sum(s.startswith(("✓ colours", "✗ colours")) for s in said) == 2
    )  # nothing is said where it was silent
    assert "2 of 3 are right" in fig.m2s_alt


def test_keyframes_are_edited_before_they_are_drawn(stores):
    fig = predictions_figure(rows()[:1], stores, edit=np.zeros_like)
    picture = pictures(fig)[0].images[0].get_array()
    assert set(np.unique(picture)) <= {0, 255}  # black keyframes, white gaps


def test_nothing_to_draw_says_so(stores):
    with pytest.raises(M2SError, match="no prediction to draw: the table has 0 rows"):
        predictions_figure(rows()[:0], stores)
    with pytest.raises(M2SError, match="nothing to draw"):
        found_by_figure([], stores)


def test_two_encoders_stand_side_by_side(stores):
    query = {"film_id": "a", "shot": 0, "n_shots": 9, "label": "office"}
    found = pd.DataFrame(
        {
            "film_id": ["b", "c"],
            "shot": [0, 2],
            "n_shots": [9, 9],
            "label": ["office", "hotel"],
            "distance": [0.1, 0.25],
        }
    )
    fig = found_by_figure([(query, {"ours": found, "colour": found[:1]})] * 2, stores, {"a": "A title"})
    check_layout(fig)
    said = texts(fig)
    assert said.count("query: office (A title)") == 2
    assert said.count("✓ office · 0.1") == 4
    assert said.count("✗ hotel · 0.25") == 2
    assert "ours 2 of 4" in fig.m2s_alt
    assert "colours 2 of 4" in fig.m2s_alt
