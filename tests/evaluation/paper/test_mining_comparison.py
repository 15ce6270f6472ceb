"""Who finds scenes of the same theme: shares counted by hand, chance by a loop over all windows."""

import numpy as np
import pandas as pd
import pytest

from m2s_lib.evaluation.paper.mining_comparison import compare_mining
from m2s_lib.evaluation.paper.mining_precision import scene_theme
from m2s_lib.mining.scene_mining import mine_pairs
from m2s_lib.mining.similar_scenes import MiningConfig

COLUMNS = ["encoder", "mean", "ci_low", "ci_high", "seeds", "film_pairs", "n_pairs"]


def scene_pairs(rows, n=2):
    return pd.DataFrame(rows, columns=["film_a", "film_b", "shot_a", "shot_b"]).assign(n_shots=n)


def film_pairs(*pairs):
    return pd.DataFrame(pairs, columns=["film_a", "film_b"])


THEMES = {"a": list("xxyyzz"), "b": list("yyxxzz"), "c": list("xxxx")}
AB, AC = ("a", "b"), ("a", "c")


def test_shares_by_hand():
    good = scene_pairs([(*AB, 0, 2), (*AB, 2, 0), (*AC, 0, 0), (*AC, 2, 2)])
    bad = scene_pairs([(*AB, 0, 0), (*AB, 2, 2), (*AC, 2, 0), (*AC, 0, 2)])
    found = compare_mining(
        {"E": {1: good, 2: bad}, "raw": {0: good}}, film_pairs(AB, AC), THEMES, 2
    ).set_index("encoder")
    assert list(found.reset_index().columns) == COLUMNS
    assert found["mean"].loc[["E", "raw"]].tolist() == [(3 + 1) / 8, 3 / 4]
    assert found.seeds.to_dict() == {"E": 2, "raw": 1, "chance": 1}
    assert found.n_pairs.to_dict() == {"E": 8, "raw": 4, "chance": 0}
    assert found.film_pairs.eq(2).all()
    assert (found.ci_low <= found["mean"]).all()
    assert (found["mean"] <= found.ci_high).all()
    assert found.ci_low["raw"] == 0.5  # the film pairs have 2 of 2 and 1 of 2
    assert found.ci_high["raw"] == 1.0


def test_chance_is_the_share_over_all_windows_of_each_film_pair():
    rng = np.random.default_rng(0)
    themes = {f: list(rng.choice(list("xyz"), n)) for f, n in (("a", 9), ("b", 7), ("c", 12), ("d", 2))}
    pairs = film_pairs(("a", "b"), ("b", "c"), ("a", "d"))
    n = 3
    shares = []
    for a, b in pairs.to_numpy():
        same = [
            scene_theme(themes[a], i, n) == scene_theme(themes[b], j, n)
            for i in range(len(themes[a]) - n + 1)
            for j in range(len(themes[b]) - n + 1)
        ]
        shares += [np.mean(same)] if same else []
    mined = {"E": {0: scene_pairs([("a", "b", 0, 0)], n)}}
    chance = compare_mining(mined, pairs, themes, n).iloc[-1]
    assert chance.encoder == "chance"
    assert chance["mean"] == pytest.approx(np.mean(shares))
    assert chance.film_pairs == len(shares) == 2
    assert chance.ci_low == pytest.approx(min(shares))
    assert chance.ci_high == pytest.approx(max(shares))


def test_features_that_are_the_theme_beat_features_that_are_noise():
    rng = np.random.default_rng(1)
    themes = {f"f{i}": list(np.repeat(rng.permutation(6), 4)) for i in range(6)}
    names = sorted(themes)
    pairs = film_pairs(*((a, b) for a in names for b in names if a < b))
    knows = {f: (np.eye(6)[t] + 0.1 * rng.normal(size=(24, 6))).astype(np.float32) for f, t in themes.items()}
    noise = {s: {f: rng.normal(size=(24, 6)).astype(np.float32) for f in names} for s in range(3)}
    mined = {
        "knows": {0: mine_pairs(knows, pairs, MiningConfig(4))},
        "noise": {s: mine_pairs(x, pairs, MiningConfig(4)) for s, x in noise.items()},
    }
    found = compare_mining(mined, pairs, themes, 4).set_index("encoder")
    assert found["mean"]["knows"] > 0.9
    assert found.ci_low["knows"] > found.ci_high["noise"]
    assert found.ci_low["noise"] - 0.05 < found["mean"]["chance"] < found.ci_high["noise"] + 0.05


def test_an_encoder_without_scene_pairs_is_not_measured():
    empty = scene_pairs([]).astype({"shot_a": int, "shot_b": int})
    row = compare_mining({"E": {0: empty}}, film_pairs(AB), THEMES, 2).set_index("encoder").loc["E"]
    assert np.isnan(row["mean"])
    assert row.n_pairs == 0


def test_without_themes_the_table_has_its_columns_and_no_row():
    mined = {"E": {0: scene_pairs([(*AB, 0, 0)])}}
    table, measured = (compare_mining(mined, film_pairs(AB), themes, 2) for themes in ({}, THEMES))
    assert len(table) == 0
    assert table.dtypes.to_dict() == measured.dtypes.to_dict()
    assert list(table.columns) == COLUMNS
