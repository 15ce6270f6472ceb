"""Moderation measured: AP rows, thresholds, classes without an example, the control."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.moderation.evaluate import CONFIG, THRESHOLD_COLUMNS, evaluate_mcd
from m2s_lib.evaluation.moderation.files import CLASSES, read_mcd
from m2s_lib.evaluation.results import PREDICTION_COLUMNS, RESULT_COLUMNS
from tests.evaluation.moderation.test_files import clips

D = 8
SMALL = {"hidden": 16, "epochs": 12, "batch": 32}


def vectors(table, classes=CLASSES, seed=1, noise=1.0, windows=1):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(5).standard_normal((len(classes), D))
    rows = {i: centres[list(classes).index(c)] for i, c in zip(table["item"], table["label"], strict=True)}
    made = {i: x + noise * rng.standard_normal((windows, D)) for i, x in rows.items()}
    return made if windows > 1 else {i: x[0] for i, x in made.items()}


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
    assert tuple(thresholds.columns) == THRESHOLD_COLUMNS
    assert set(thresholds["encoder"]) == {"ours"}
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
    control, _ = evaluate_mcd(table, known, "ours", permuted=True, **SMALL)
    assert set(control.results["encoder"]) == {"ours (permuted labels)"}
    assert set(control.predictions["encoder"]) == {"ours (permuted labels)"}
    chance = control.results.set_index("task")["value"]
    true = evaluate_mcd(table, known, "ours", **SMALL)[0].results.set_index("task")["value"]
    share = table.loc[table["split"] == "test", "label"].value_counts(normalize=True)
    for name in CLASSES:
        assert abs(chance[name] - share[name]) < 0.1
    assert true["average"] > chance["average"] + 0.3


def test_a_class_without_a_validation_example_has_no_threshold():
    table = read_mcd(clips())
    table = table[~((table["split"] == "val") & (table["label"] != "none"))]
    _, thresholds = evaluate_mcd(table, vectors(table), "ours", **SMALL)
    assert not len(thresholds)
    assert tuple(thresholds.columns) == THRESHOLD_COLUMNS


def test_the_defaults_are_the_papers_shape():
    assert (CONFIG.hidden, CONFIG.layers, CONFIG.choice) == (512, 2, "ap")
    assert dataclasses.replace(CONFIG, choose="").choice == "top-1"


def test_bad_embeddings_and_classes_are_named():
    table = read_mcd(clips())
    with pytest.raises(M2SError, match="none of the 1 embeddings belongs"):
        evaluate_mcd(table, {"x": np.ones(3)}, "ours")
    known = vectors(table[table["split"] != "train"])
    with pytest.raises(M2SError, match=r"no clip with an embedding in \['train'\]"):
        evaluate_mcd(table, known, "ours")
    with pytest.raises(M2SError, match=r"the background class is 'calm', the classes are \['none', 'sex'"):
        evaluate_mcd(table, known, "ours", background="calm")
