"""Scene pairs and retrieval: what is drawn, what is written, what is refused."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from m2s_lib.display.figures import retrieval_figure, scene_pairs_figure
from m2s_lib.errors import M2SError
from tests.helpers.display_stores import make_store
from tests.helpers.drawn import check_layout, pictures, texts

TITLES = {"a": "$10 and <b>$20</b> " * 9, "b": "千と千尋 ünï"}


@pytest.fixture
def stores(tmp_path):
    return {
        "a": make_store(tmp_path, "a", n=30),
        "b": make_store(tmp_path, "b", n=30, aspect=2.35),
        "c": make_store(tmp_path, "c", n=30, pixels=False, timed=False),
    }


def pairs(film_a="a", film_b="b", rows=7, n_shots=9):
    return pd.DataFrame(
        {
            "film_a": film_a,
            "film_b": film_b,
            "shot_a": range(rows),
            "shot_b": range(rows),
            "n_shots": n_shots,
            "score": [0.9 - 0.1 * i for i in range(rows)],
            "rank": range(1, rows + 1),
        }
    )


def test_one_film_pair(stores):
    fig = scene_pairs_figure(pairs(), stores, TITLES, n_rows=5)
    assert len(pictures(fig)) == 10
    assert len([axes for axes in fig.axes if not axes.images]) == 5  # arrows
    written = texts(fig)
    assert written[0].startswith("$10 and <b>$20</b> $10")
    assert written[0].endswith("…")
    assert [t for t in written if t.startswith("#")] == ["#1", "#2", "#3", "#4", "#5"]
    scores = [t for t in written if t.startswith("score")]
    assert scores == ["score 0.9", "score 0.8", "score 0.7", "score 0.6", "score 0.5"]
    assert written.count("00:00-00:45, from shot 0") == 2
    assert fig.get_size_inches()[0] == 9
    check_layout(fig)
    assert "5 scene pairs, scores 0.9 to 0.5" in fig.m2s_alt
    assert "千と千尋 ünï" in fig.m2s_alt


def test_themes_in_the_rows_are_drawn_too(stores):
    themes = {"theme_a": ["chase", "duel"], "theme_b": ["chase", "feast"]}
    fig = scene_pairs_figure({"ours": pairs(rows=2).assign(**themes), "raw": pairs(rows=1)}, stores, TITLES)
    assert [t[0] for t in texts(fig) if t[0] in "✓✗" and "score" in t] == ["✓", "✗"]
    assert "(1 of 2)" in fig.m2s_alt
    check_layout(fig)
    unknown = scene_pairs_figure(pairs(rows=2).assign(theme_a="", theme_b=""), stores, TITLES)
    assert texts(unknown) == texts(scene_pairs_figure(pairs(rows=2), stores, TITLES))


def test_several_encoders_on_the_same_film_pair(stores):
    fig = scene_pairs_figure({"ours": pairs(), "CLIP $1$": pairs(rows=2)}, stores, TITLES, n_rows=3)
    assert len(pictures(fig)) == 2 * (3 + 2)
    assert {"ours", "CLIP $1$"} <= set(texts(fig))
    check_layout(fig)
    assert "ours: 3 scene pairs" in fig.m2s_alt
    assert "CLIP $1$: 2 scene pairs" in fig.m2s_alt


def test_several_film_pairs_have_their_titles_in_each_row(stores):
    rows = pd.concat([pairs(rows=1), pairs("a", "c", rows=1, n_shots=4), pairs("b", "c", rows=1, n_shots=1)])
    fig = scene_pairs_figure(rows, stores, TITLES)
    written = texts(fig)
    assert written.count("c") == 2  # a film without a title goes by its id
    assert "shots 0-3" in written
    assert "shot 0" in written
    check_layout(fig)
    assert fig.m2s_alt.startswith("Filmstrips of similar scenes from 3 film pairs")


def test_themes_that_are_known_make_ticks_and_crosses(stores):
    themes = {"a": ["duel"] * 9 + ["way_speaking"] * 21, "b": ["duel"] * 30}
    fig = scene_pairs_figure(pairs(rows=7).iloc[[0, 6]], stores, TITLES, themes=themes)
    written = texts(fig)
    assert [t for t in written if "score" in t] == ["✓ score 0.9", "✗ score 0.3"]
    assert [t for t in written if t in ("duel", "way of speaking")] == [
        "duel",
        "duel",
        "way of speaking",
        "duel",
    ]
    assert "✓ the two scenes have the same theme (1 of 2), ✗ they have not." in written
    check_layout(fig)
    unknown = texts(scene_pairs_figure(pairs(), stores, TITLES, themes={"a": themes["a"]}))
    assert not [t for t in unknown if t.startswith(("✓", "✗"))]


def test_pairs_that_cannot_be_drawn(stores):
    assert scene_pairs_figure(pairs().head(0), stores, TITLES).startswith("There is no scene pair to draw")
    with pytest.raises(M2SError, match="film z has no shot store among the 3 given"):
        scene_pairs_figure(pairs("a", "z"), stores, TITLES)
    with pytest.raises(M2SError, match="film a: a scene of 40 shots"):
        scene_pairs_figure(pairs(n_shots=40), stores, TITLES)


def found(labels):
    n = len(labels)
    return pd.DataFrame(
        {
            "film_id": ["b", "c", "a"][:n],
            "shot": range(n),
            "n_shots": 9,
            "distance": [0.1, 0.25, 0.5][:n],
            "label": labels,
        }
    )


def test_retrieval(stores):
    query = {"film_id": "a", "shot": 4, "n_shots": 9, "label": "office"}
    fig = retrieval_figure(query, found(["office", "prison", "office"]), stores, TITLES)
    assert len(pictures(fig)) == 4
    written = texts(fig)
    assert written[0] == "query"
    assert [t for t in written if "distance" in t] == [
        "1 · distance 0.1",
        "2 · distance 0.25",
        "3 · distance 0.5",
    ]
    assert [t for t in written if t.endswith(("office", "prison"))] == [
        "office",
        "✓ office",
        "✗ prison",
        "✓ office",
    ]
    assert "shots 1-9" in written
    check_layout(fig)
    assert fig.m2s_alt.endswith("its 3 nearest scenes; 2 of 3 have the query's label office.")


def test_retrieval_without_labels(stores):
    query = {"film_id": "a", "shot": 4, "n_shots": 2}
    fig = retrieval_figure(query, found([None, None]).drop(columns="label"), stores, TITLES)
    assert not [t for t in texts(fig) if t.startswith(("✓", "✗"))]
    assert fig.m2s_alt.endswith("its 2 nearest scenes.")
    check_layout(fig)
    with pytest.raises(M2SError, match="no neighbour to draw"):
        retrieval_figure(query, found([]), stores, TITLES)


def test_figures_leave_pyplot_alone(stores):
    before = plt.get_fignums()
    scene_pairs_figure(pairs(), stores, TITLES)
    assert plt.get_fignums() == before
