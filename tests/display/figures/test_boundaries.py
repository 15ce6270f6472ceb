"""Scene boundaries as pictures: where the line is, what is marked right or wrong, what is refused."""

import numpy as np
import pandas as pd
import pytest

from m2s_lib.display.figures import boundaries_figure
from m2s_lib.display.figures.base import FRAME_PX
from m2s_lib.display.filmstrips import GAP, frame_width
from m2s_lib.display.palette import RIGHT, WRONG
from m2s_lib.errors import M2SError
from tests.helpers.display_stores import colour, make_store
from tests.helpers.drawn import check_layout, pictures, texts


@pytest.fixture
def stores(tmp_path):
    return {
        "a": make_store(tmp_path, "a", n=20),
        "b": make_store(tmp_path, "b", n=20, k=3, aspect=2.35),
        "c": make_store(tmp_path, "c", n=20, pixels=False, timed=False),
    }


def rows():
    return pd.DataFrame(
        {
            "film_id": ["a", "b", "c"],
            "shot": [0, 7, 3],
            "n_shots": [8, 8, 2],
            "boundary": [4, 3, 1],
            "label": [1, 0, 1],
            "prediction": [1, 1, 0],
            "score": [0.914, 0.5, 0.0],
            "scenes": ["place: office | <b>hotel</b>, $school", "", "place: hotel (predicted -) | hotel" * 9],
        }
    )


def test_each_boundary_says_what_is_true_and_what_was_predicted(stores):
    fig = boundaries_figure(rows(), stores, {"a": "$10 & <b>Ünï</b>", "b": "A very long title " * 20})
    check_layout(fig)
    assert len(pictures(fig)) == 3
    said = texts(fig)
    assert "✓ the scene changes; predicted: the scene changes (0.91)" in said
    assert "✗ the scene goes on; predicted: the scene changes (0.50)" in said
    assert "✗ the scene changes; predicted: the scene goes on (0.00)" in said
    assert "after shot 3 of $10 & <b>Ünï</b>" in said
    assert "after shot 3 of c" in said  # a film without a title goes by its id
    assert "place: office | <b>hotel</b>, $school" in said
    (cut,) = [t for t in said if t.startswith("after shot 9 of A very long title")]
    assert cut.endswith("…")
    colours = {t.get_text()[0]: t.get_color() for t in fig.texts if t.get_text()[:1] in ("✓", "✗")}
    assert colours == {"✓": RIGHT, "✗": WRONG}
    assert "3 shot boundaries" in fig.m2s_alt
    assert "1 of 3 predictions are right" in fig.m2s_alt


@pytest.mark.parametrize("film", ["a", "b"])
@pytest.mark.parametrize("boundary", [1, 4, 7])
def test_the_line_lies_in_the_gap_before_the_shot_that_follows(stores, film, boundary):
    one = rows()[:1].assign(film_id=film, boundary=boundary, shot=5)
    (axes,) = pictures(boundaries_figure(one, stores))
    (line,) = axes.lines
    at = line.get_xdata()[0]
    strip = np.asarray(axes.images[0].get_array())
    across = frame_width(stores[film], FRAME_PX) + GAP
    gap = [x for x in range(boundary * across - GAP, boundary * across) if (strip[:, x] == 255).all()]
    assert len(gap) == GAP
    assert at == pytest.approx(np.mean(gap))
    frame = stores[film].frame_shape[0] // 2  # the middle keyframe of a shot is drawn
    assert strip[60, gap[0] - across // 2].tolist() == list(colour(5 + boundary - 1, frame))
    assert strip[60, gap[-1] + across // 2].tolist() == list(colour(5 + boundary, frame))


def test_what_the_scenes_are_is_left_out_where_nobody_knows(stores):
    fig = boundaries_figure(rows().drop(columns="scenes"), stores)
    check_layout(fig)
    assert not [t for t in texts(fig) if "place" in t]
    assert len(fig.texts) == len(boundaries_figure(rows(), stores).texts)


def test_all_right_and_all_wrong_are_said_in_words(stores):
    assert "2 of 2 predictions are right" in boundaries_figure(pd.concat([rows()[:1]] * 2), stores).m2s_alt
    assert "0 of 2 predictions are right" in boundaries_figure(rows()[1:], stores).m2s_alt


def test_nothing_to_draw_and_unknown_films_and_shots_say_so(stores):
    with pytest.raises(M2SError, match="no boundary to draw: the table has 0 rows"):
        boundaries_figure(rows()[:0], stores)
    with pytest.raises(M2SError, match="gone"):
        boundaries_figure(rows()[:1].assign(film_id="gone"), stores)
    with pytest.raises(M2SError, match=r"film a: a scene of 8 shots from shot 15 .* it has 20 shots"):
        boundaries_figure(rows()[:1].assign(shot=15), stores)
