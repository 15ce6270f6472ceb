"""Moderation: reading tables, splitting by film, AP rows, thresholds, classes without an example."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.mcd import CLASSES, CONFIG, evaluate_mcd, read_mcd, split_by_film, split_table
from m2s_lib.evaluation.results import PREDICTION_COLUMNS, RESULT_COLUMNS

D = 8
SMALL = {"hidden": 16, "epochs": 12, "batch": 32}


def clips(n=400, films=60, seed=0, classes=CLASSES):
    """Clips of films with classes about as frequent as the paper's."""
    rng = np.random.default_rng(seed)
    shares = np.array([0.53, 0.10, 0.18, 0.19])[: len(classes)]
    return pd.DataFrame(
        {
            "clip": [f"c{i:04d}" for i in range(n)],
            "film_id": [f"f{i}" for i in rng.integers(films, size=n)],
            "label": rng.choice(classes, size=n, p=shares / shares.sum()),
        }
    )


def vectors(table, classes=CLASSES, seed=1, noise=1.0, windows=1):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(5).standard_normal((len(classes), D))
    rows = {i: centres[list(classes).index(c)] for i, c in zip(table["item"], table["label"], strict=True)}
    made = {i: x + noise * rng.standard_normal((windows, D)) for i, x in rows.items()}
    return made if windows > 1 else {i: x[0] for i, x in made.items()}


def test_a_file_and_a_table_read_alike(tmp_path):
    table = clips()
    table.to_csv(tmp_path / "clips.csv", index=False)
    a, b = read_mcd(tmp_path / "clips.csv"), read_mcd(table)
    pd.testing.assert_frame_equal(a, b, check_dtype=False)
    assert a["class_id"].tolist() == [CLASSES.index(c) for c in table["label"]]
    assert "clip" in table.columns  # the caller's table is not touched


def test_clips_that_are_files_are_items_by_their_name():
    table = read_mcd(clips(20, 9).assign(clip=[f"clips/c{i}.mp4" for i in range(20)]))
    assert table["item"].tolist()[:2] == ["c0", "c1"]
    assert table["path"].tolist()[:2] == ["clips/c0.mp4", "clips/c1.mp4"]


def test_a_tables_own_split_is_kept(tmp_path):
    table = clips(4, 4).assign(film_id=list("abcd"), split=["test", "val", "train", "train"])
    assert read_mcd(table)["split"].tolist() == ["test", "val", "train", "train"]


def test_the_split_is_70_10_20_by_film_with_classes_alike():
    table = clips(4000, 900)
    table["split"] = split_by_film(table)
    assert table.groupby("film_id")["split"].nunique().max() == 1
    shares = table["split"].value_counts(normalize=True)
    assert shares[["train", "val", "test"]].tolist() == pytest.approx([0.7, 0.1, 0.2], abs=0.01)
    by_class = pd.crosstab(table["label"], table["split"], normalize="index")
    np.testing.assert_allclose(by_class[["train", "val", "test"]], [[0.7, 0.1, 0.2]] * 4, atol=0.02)


@settings(deadline=None, max_examples=40)
@given(films=st.integers(3, 12), n=st.integers(12, 60), seed=st.integers(0, 50))
def test_no_film_is_in_two_parts_and_no_part_is_empty(films, n, seed):
    table = clips(n, films, seed)
    table.loc[: films - 1, "film_id"] = [f"f{i}" for i in range(films)]
    split = split_by_film(table, seed=seed)
    assert set(split) == {"train", "val", "test"}
    assert pd.Series(split).groupby(table["film_id"]).nunique().max() == 1
    np.testing.assert_array_equal(split, split_by_film(table, seed=seed))


def test_another_seed_gives_another_split():
    table = clips()
    assert (split_by_film(table, seed=0) != split_by_film(table, seed=1)).any()


def test_split_table_counts_classes_and_films():
    table = read_mcd(clips(4, 4).assign(film_id=list("aabc"), split=["train", "train", "val", "test"],
                                        label=["sex", "none", "none", "violence"]))  # fmt: skip
    counts = split_table(table).set_index("split")
    assert counts.loc["train", ["none", "sex", "violence", "drug-use", "n_clips", "n_films"]].tolist() == [
        1,
        1,
        0,
        0,
        2,
        1,
    ]
    assert counts.loc["test", "violence"] == 1


def test_ap_rows_follow_from_the_predictions():
    table = read_mcd(clips())
    got, _ = evaluate_mcd(table, vectors(table), "ours", **SMALL)
    assert tuple(got.results.columns) == RESULT_COLUMNS
    assert tuple(got.predictions.columns) == PREDICTION_COLUMNS
    rows = got.results.set_index("task")
    assert rows.index.tolist() == [*CLASSES, "average"]
    scores = np.stack(got.predictions["scores"])
    for c, name in enumerate(CLASSES):
        wanted = average_precision_score(got.predictions["label"] == name, scores[:, c])
        assert rows.loc[name, "value"] == pytest.approx(wanted, abs=1e-6)
        assert rows.loc[name, "ci_low"] <= wanted <= rows.loc[name, "ci_high"]
    assert rows.loc["average", "value"] == pytest.approx(rows.loc[list(CLASSES[1:]), "value"].mean())
    assert (rows["n"] == (table["split"] == "test").sum()).all()


def test_missing_clips_are_counted():
    table = read_mcd(clips())
    known = vectors(table)
    for item in table.loc[table["split"] == "test", "item"][:7]:
        del known[item]
    rows = evaluate_mcd(table, known, "ours", **SMALL)[0].results
    assert (rows["n_listed"] - rows["n_found"] == 7).all()


def test_a_class_without_a_test_example_is_not_measured():
    table = read_mcd(clips())
    table = table[~((table["split"] == "test") & (table["label"] == "sex"))]
    rows = evaluate_mcd(table, vectors(table), "ours", **SMALL)[0].results.set_index("task")
    assert np.isnan(rows.loc["sex", "value"])
    assert rows.loc["sex", "n"] == 0
    assert rows.loc["average", "value"] == pytest.approx(rows.loc[["violence", "drug-use"], "value"].mean())


def test_thresholds_reach_the_recall_they_promise_on_validation():
    table = read_mcd(clips(1500, 200))
    got, thresholds = evaluate_mcd(table, vectors(table), "ours", recalls=(0.5, 0.9), **SMALL)
    assert thresholds["class"].tolist() == ["sex", "sex", "violence", "violence", "drug-use", "drug-use"]
    assert (thresholds["val_recall"] >= thresholds["recall_wanted"]).all()
    one = thresholds.iloc[2]
    scores = np.stack(got.predictions["scores"])[:, CLASSES.index("violence")]
    flagged = scores >= one["threshold"]
    right = (got.predictions["label"] == "violence").to_numpy()
    assert one["precision"] == pytest.approx(right[flagged].mean())
    assert one["recall"] == pytest.approx(flagged[right].mean())
    assert one["flagged"] == flagged.sum()


def test_own_classes_windows_seeds_and_search():
    names = ("calm", "fight", "kiss")
    table = read_mcd(clips(classes=names), names)
    got, thresholds = evaluate_mcd(
        table, vectors(table, names, windows=2), "ours", classes=names, background="calm", seeds=(0, 1),
        search_grid=({"lr": 1e-6}, {"lr": 0.1}), **SMALL,
    )  # fmt: skip
    assert len(got.results) == 2 * 4
    assert got.probes.loc[got.probes["chosen"], "lr"].tolist() == [0.1, 0.1]
    assert len(got.predictions) == 2 * (table["split"] == "test").sum()
    assert set(thresholds["class"]) == {"fight", "kiss"}


def test_permuted_labels_give_chance():
    """The AP of random scores is about the share of the class."""
    table = read_mcd(clips(3000, 400))
    known = vectors(table)
    shuffled = table.assign(label=np.random.default_rng(0).permutation(table["label"]))
    shuffled["class_id"] = shuffled["label"].map({c: i for i, c in enumerate(CLASSES)})
    chance = evaluate_mcd(shuffled, known, "ours", **SMALL)[0].results.set_index("task")["value"]
    true = evaluate_mcd(table, known, "ours", **SMALL)[0].results.set_index("task")["value"]
    share = table.loc[table["split"] == "test", "label"].value_counts(normalize=True)
    for name in CLASSES:
        assert abs(chance[name] - share[name]) < 0.1
    assert true["average"] > chance["average"] + 0.3


def test_the_defaults_are_the_papers_shape():
    assert (CONFIG.hidden, CONFIG.layers, CONFIG.choice) == (512, 2, "ap")
    assert dataclasses.replace(CONFIG, choose="").choice == "top-1"


TWO = {"clip": ["a", "b"], "film_id": ["f", "g"], "label": ["sex", "none"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"label": ["sex", "gore"]},
            "1 clips have an unknown class, the first is b with 'gore'; the classes are",
        ),
        ({"clip": ["a", "a"]}, "1 rows repeat a clip, the first is a"),
        ({"film_id": ["f", ""]}, "row 2: film_id is empty"),
        ({}, "2 films cannot be split"),
        ({"split": ["train", "valid"]}, "clip b has the split 'valid'"),
        (
            {"film_id": ["f", "f"], "split": ["train", "test"]},
            r"1 films are in two parts .* f in \['test', 'train'\]",
        ),
    ],
)
def test_bad_tables_are_named(change, message):
    with pytest.raises(M2SError, match=message):
        read_mcd(pd.DataFrame(TWO | change))


def test_bad_files_and_embeddings_are_named(tmp_path):
    path = tmp_path / "clips.csv"
    pd.DataFrame(TWO).to_csv(path, index=False, sep=";")
    with pytest.raises(M2SError, match=r"clips.csv has the columns \['clip;film_id;label'\]: it needs item"):
        read_mcd(path)
    with pytest.raises(M2SError, match="cannot be read as a CSV table"):
        read_mcd(tmp_path / "absent.csv")
    table = read_mcd(clips())
    with pytest.raises(M2SError, match="none of the 1 embeddings belongs"):
        evaluate_mcd(table, {"x": np.ones(3)}, "ours")
    known = vectors(table[table["split"] != "train"])
    with pytest.raises(M2SError, match=r"no clip with an embedding in \['train'\]"):
        evaluate_mcd(table, known, "ours")
    with pytest.raises(M2SError, match="expected three above 0 that add up to 1"):
        split_by_film(table, (0.7, 0.2, 0.2))
