"""Precision of mined pairs against counting by hand."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.paper.mining_precision import (
    chance_precisions,
    count_same_theme,
    pair_themes,
    precision_by_score,
    precision_by_theme,
    precision_interval,
    same_theme,
    scene_theme,
    scene_themes,
)


def by_hand(themes, start, n):
    """Oracle: Counter keeps the order of first appearance among equals."""
    return Counter(themes[start : start + n]).most_common(1)[0][0]


THEMES = {
    "a": ["war", "war", "love", "love", "love", "war"],
    "b": ["love", "love", "love", "war", "heist", "heist"],
    "c": ["heist"] * 5,
}
FILM_PAIRS = pd.DataFrame({"film_a": ["a", "a"], "film_b": ["b", "c"]})


def scene_pairs(rows):
    table = pd.DataFrame(rows, columns=["film_a", "film_b", "shot_a", "shot_b", "score", "rank"])
    return table.assign(n_shots=3)


PAIRS = scene_pairs(
    [
        ("a", "b", 2, 0, 0.9, 1),  # love, love
        ("a", "b", 0, 3, 0.8, 2),  # war, heist
        ("a", "b", 3, 1, 0.7, 3),  # love, love
        ("a", "c", 0, 0, 0.6, 1),  # war, heist
    ]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(1, 9))
def test_majority_and_its_ties(themes, n):
    rows = max(len(themes) - n + 1, 0)
    expected = [by_hand(themes, start, n) for start in range(rows)]
    assert [scene_theme(themes, start, n) for start in range(rows)] == expected
    assert scene_themes(themes, n).tolist() == expected
    names = [f"theme{t}" for t in themes]
    assert scene_themes(names, n).tolist() == [f"theme{t}" for t in expected]


def test_scenes_beyond_the_film_are_refused():
    assert scene_theme(["x", "y", "y"], 0, 3) == "y"
    assert scene_theme(["x", "y"], 0, 2) == "x"
    for start, n in ((1, 3), (-1, 2), (0, 0)):
        with pytest.raises(
            M2SError, match=f"a scene of {n} shots from shot {start} does not fit a film of 3"
        ):
            scene_theme(["x", "y", "y"], start, n)


def test_precision_by_hand():
    assert same_theme(PAIRS, THEMES).tolist() == [True, False, True, False]
    counts = count_same_theme(PAIRS, THEMES)
    assert counts.to_dict("records") == [
        {"film_a": "a", "film_b": "b", "n_pairs": 3, "n_same": 2},
        {"film_a": "a", "film_b": "c", "n_pairs": 1, "n_same": 0},
    ]
    assert len(same_theme(PAIRS.iloc[:0], THEMES)) == 0
    assert same_theme(PAIRS.iloc[::-1], THEMES).tolist() == [False, True, False, True]
    numbers = {film: [["war", "love", "heist"].index(t) for t in labels] for film, labels in THEMES.items()}
    assert same_theme(PAIRS, numbers).tolist() == [True, False, True, False]


def test_the_themes_of_each_pair():
    table = pair_themes(PAIRS.iloc[::-1], THEMES)
    assert table["theme_a"].tolist() == ["war", "love", "war", "love"]
    assert table["theme_b"].tolist() == ["heist", "love", "heist", "love"]
    assert table.drop(columns=["theme_a", "theme_b"]).equals(PAIRS.iloc[::-1])
    assert pair_themes(PAIRS, {})["theme_a"].eq("").all()


def test_chance_is_the_share_over_all_window_pairs():
    shares = []
    for a, b in FILM_PAIRS.itertuples(index=False):
        same = [
            by_hand(THEMES[a], i, 3) == by_hand(THEMES[b], j, 3)
            for i in range(len(THEMES[a]) - 2)
            for j in range(len(THEMES[b]) - 2)
        ]
        shares.append(np.mean(same))
    assert chance_precisions(FILM_PAIRS, THEMES, 3) == pytest.approx(shares)
    assert shares[1] == 0 < shares[0]


def test_films_too_short_for_a_scene_do_not_count():
    themes = THEMES | {"c": ["heist"]}
    first, second = chance_precisions(FILM_PAIRS, themes, 3)
    assert first == chance_precisions(FILM_PAIRS.iloc[:1], THEMES, 3)[0]
    assert np.isnan(second)
    assert np.isnan(chance_precisions(FILM_PAIRS, themes, 7)).all()


def test_random_scene_pairs_reach_chance():
    rng = np.random.default_rng(0)
    themes = {film: rng.integers(0, 3, size=60) for film in "ab"}
    picks = rng.integers(0, 52, size=(4000, 2))
    pairs = scene_pairs([("a", "b", i, j, 0.0, 1) for i, j in picks]).assign(n_shots=9)
    (chance,) = chance_precisions(pd.DataFrame({"film_a": ["a"], "film_b": ["b"]}), themes, 9)
    assert same_theme(pairs, themes).mean() == pytest.approx(chance, abs=0.03)


def test_bad_themes_are_named():
    with pytest.raises(M2SError, match="film 'b' has no themes"):
        same_theme(PAIRS, {"a": THEMES["a"]})
    with pytest.raises(M2SError, match="film 'c', shot 1: the theme is missing"):
        same_theme(PAIRS, THEMES | {"c": ["heist", None, "heist", "heist", "heist"]})
    with pytest.raises(M2SError, match="film 'b': a scene of 3 shots from shot 3 does not fit its 4 themes"):
        same_theme(PAIRS, THEMES | {"b": THEMES["b"][:4]})


def results(rng, seeds, pairs, precision, spread_seed=0.0, spread_pair=0.0, n=20):
    p_seed, p_pair = rng.normal(0, spread_seed, seeds), rng.normal(0, spread_pair, pairs)
    rows = []
    for s in range(seeds):
        for f in range(pairs):
            p = np.clip(precision + p_seed[s] + p_pair[f], 0, 1)
            rows.append((s, f"film{f}", f"film{f}x", n, rng.binomial(n, p)))
    return pd.DataFrame(rows, columns=["seed", "film_a", "film_b", "n_pairs", "n_same"])


def test_interval_holds_the_mean_and_repeats():
    table = results(np.random.default_rng(0), 4, 30, 0.6)
    interval = precision_interval(table)
    assert interval["mean"] == table["n_same"].sum() / table["n_pairs"].sum()
    assert interval["ci_low"] < interval["mean"] < interval["ci_high"]
    assert (interval["seeds"], interval["film_pairs"], interval["n_pairs"]) == (4, 30, 2400)
    assert precision_interval(table) == interval
    assert precision_interval(table.sample(frac=1, random_state=1)) == interval
    wider = precision_interval(table, level=0.99)
    assert wider["ci_low"] < interval["ci_low"]
    assert wider["ci_high"] > interval["ci_high"]


def test_interval_covers_the_truth_when_film_pairs_and_seeds_differ():
    """95 % should hold the truth in most of 60 worlds; treating scene pairs as independent would not."""
    rng = np.random.default_rng(1)
    held, naive = 0, 0
    for _ in range(60):
        table = results(rng, 8, 40, 0.5, spread_seed=0.03, spread_pair=0.15)
        interval = precision_interval(table, samples=300)
        held += interval["ci_low"] <= 0.5 <= interval["ci_high"]
        width = 1.96 * (0.25 / table["n_pairs"].sum()) ** 0.5
        naive += abs(interval["mean"] - 0.5) <= width
    assert held >= 51
    assert naive < held - 10


def test_film_pairs_are_drawn_whole():
    """Film pairs all right or all wrong: the interval is that of 10 coins, not of 1,000 scene pairs."""
    table = pd.DataFrame(
        [(0, f"f{k}", f"g{k}", 100, 100 * (k % 2)) for k in range(10)],
        columns=["seed", "film_a", "film_b", "n_pairs", "n_same"],
    )
    interval = precision_interval(table)
    assert interval["ci_low"] == pytest.approx(0.2, abs=0.1)
    assert interval["ci_high"] == pytest.approx(0.8, abs=0.1)
    with pytest.raises(M2SError, match="no scene pairs"):
        precision_interval(table.iloc[:0])


def test_seeds_are_drawn_whole():
    """The same with seeds: ten of them disagree altogether, and no number of scene pairs makes up for it."""
    table = pd.DataFrame(
        [(k, f"f{f}", f"g{f}", 100, 100 * (k % 2)) for k in range(10) for f in range(30)],
        columns=["seed", "film_a", "film_b", "n_pairs", "n_same"],
    )
    interval = precision_interval(table)
    assert interval["ci_low"] == pytest.approx(0.2, abs=0.1)
    assert interval["ci_high"] == pytest.approx(0.8, abs=0.1)


def test_precision_against_what_is_kept():
    table = precision_by_score(PAIRS, THEMES, [0.3, 0.5, 1.0])
    assert table["n_pairs"].tolist() == [2, 3, 4]  # of 3 and 1 pairs: 1 + 1, 2 + 1, 3 + 1
    assert table["n_same"].tolist() == [1, 1, 2]
    assert table["precision"].tolist() == [1 / 2, 1 / 3, 1 / 2]
    assert table["lowest_score"].tolist() == [0.6, 0.6, 0.6]
    assert precision_by_score(PAIRS, THEMES)["ratio"].tolist() == pytest.approx(np.arange(0.1, 1.05, 0.1))
    with pytest.raises(M2SError, match="ratio is 0"):
        precision_by_score(PAIRS, THEMES, [0])
    for empty in (precision_by_score(PAIRS, {}), precision_by_score(PAIRS.head(0), THEMES)):
        assert len(empty) == 0
        assert empty.dtypes.to_dict() == table.dtypes.to_dict()


def test_precision_by_theme_by_hand():
    themes = {"a": ["duel"] * 3 + ["feast"] * 3, "b": ["duel"] * 3 + ["heist"] * 3}
    pairs = pd.DataFrame(
        [("a", "b", 0, 0), ("a", "b", 0, 3), ("a", "b", 3, 3)],
        columns=["film_a", "film_b", "shot_a", "shot_b"],
    ).assign(n_shots=3)
    found = precision_by_theme({"E": pairs, "raw": pairs.iloc[[0]]}, themes)
    assert found.to_dict("list") == {
        "encoder": ["E", "E", "raw"], "theme": ["duel", "feast", "duel"], "n_pairs": [2, 1, 1],
        "n_same": [1, 0, 1], "precision": [0.5, 0.0, 1.0],
    }  # fmt: skip
    for empty in (precision_by_theme({"E": pairs[:0]}, themes), precision_by_theme({"E": pairs}, {})):
        assert len(empty) == 0
        assert empty.dtypes.to_dict() == found.dtypes.to_dict()
