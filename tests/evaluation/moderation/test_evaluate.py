"""Moderation measured: thresholds, classes without an example, what may stand beside the paper's tables."""

import numpy as np
import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.computed_features import Vectors
from m2s_lib.evaluation.encoders.weight_files import Missing
from m2s_lib.evaluation.metrics import NOT_MEASURED
from m2s_lib.evaluation.moderation.evaluate import (
    CONFIG,
    THRESHOLD_COLUMNS,
    as_in_paper,
    describe_pretrained,
    mcd_summary,
    moderation_task,
    thresholds,
)
from m2s_lib.evaluation.moderation.files import CLASSES, read_mcd
from m2s_lib.evaluation.paper.published import beside_measured, read_published
from m2s_lib.evaluation.paper.styled import DASH, side_by_side_text
from m2s_lib.evaluation.protocol import compare, evaluate, summary
from m2s_lib.evaluation.tasks import RANDOM
from tests.helpers.moderation_tables import clips

OURS = "ours (co-watch)"
D = 8
SMALL = {"hidden": 16, "epochs": 12, "batch": 32}


def vectors(table, classes=CLASSES, seed=1, noise=1.0, windows=1):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(5).standard_normal((len(classes), D))
    rows = {i: centres[list(classes).index(c)] for i, c in zip(table["item"], table["label"], strict=True)}
    made = {i: x + noise * rng.standard_normal((windows, D)) for i, x in rows.items()}
    return made if windows > 1 else {i: x[0] for i, x in made.items()}


def measured(table, known, recalls=(0.5, 0.9), classes=CLASSES, background="none", **how):
    task = moderation_task(table, classes, background)
    got = evaluate([task], known, "ours", **SMALL, **how)
    return got, thresholds(got.predictions, task, recalls)


def test_thresholds_reach_the_recall_they_promise_on_validation():
    table = read_mcd(clips(1500, 200))
    got, rows = measured(table, vectors(table))
    assert tuple(rows.columns) == THRESHOLD_COLUMNS
    assert set(rows["encoder"]) == {"ours"}
    assert rows["class"].tolist() == ["sex", "sex", "violence", "violence", "drug-use", "drug-use"]
    assert (rows["val_recall"] >= rows["recall_wanted"]).all()
    one, test = rows.iloc[2], got.predictions[got.predictions["split"] == "test"]
    scores = np.stack(test["scores"])[:, CLASSES.index("violence")].astype(float)
    flagged = scores >= one["threshold"]
    right = (test["label"] == "violence").to_numpy()
    assert one["precision"] == pytest.approx(right[flagged].mean())
    assert one["recall"] == pytest.approx(flagged[right].mean())
    assert one["recall_low"] < one["recall"] < one["recall_high"]
    assert one["flagged"] == flagged.sum()


def test_own_classes_windows_and_seeds():
    names = ("calm", "fight", "kiss")
    table = read_mcd(clips(classes=names), names)
    got, rows = measured(
        table, vectors(table, names, windows=2), classes=names, background="calm", seeds=(0, 1)
    )
    assert got.results["task"].tolist() == [*names, "average"] * 2
    assert set(rows["class"]) == {"fight", "kiss"}
    assert len(rows) == 4  # of the first seed


def test_a_class_without_a_validation_example_has_no_threshold():
    table = read_mcd(clips())
    table = table[~((table["split"] == "val") & (table["label"] != "none"))]
    _, rows = measured(table, vectors(table))
    assert not len(rows)
    assert tuple(rows.columns) == THRESHOLD_COLUMNS


def test_the_defaults_are_the_papers_shape():
    assert (CONFIG.hidden, CONFIG.layers, CONFIG.choice) == (512, 2, "ap")


def test_the_summary_says_what_is_missing_and_why():
    table = read_mcd(clips())
    table = table[~((table["split"] == "test") & (table["label"] == "sex"))]
    task, known = moderation_task(table), vectors(table)
    ours = Vectors("ours", np.stack([known[i] for i in table["item"]]).astype(np.float32))
    found = {"ours": ours, "X3D-L": Missing("X3D-L", "no weights")}
    results = compare([task], found, table["item"], **SMALL).results
    text = mcd_summary(summary(results, ["AP"]), task)
    assert text.columns.tolist() == [*CLASSES, "average"]
    assert text["sex"].tolist() == ["no example in test", "no example in test", NOT_MEASURED]
    assert float(text.loc["ours", "average"]) > 0.3
    assert (text.loc["X3D-L"] == NOT_MEASURED).all()


def test_beside_the_paper_there_is_no_control_and_no_other_average():
    table = read_mcd(clips())
    task, known = moderation_task(table), vectors(table)
    found = {OURS: Vectors(OURS, np.stack([known[i] for i in table["item"]]).astype(np.float32))}
    found["CLIP ViT-B/16"] = Missing("CLIP ViT-B/16", "no weights")
    results = compare([task], found, table["item"], control=OURS, **SMALL).results
    rows = as_in_paper(results, task)
    assert pd.unique(rows["encoder"]).tolist() == [RANDOM, OURS, "CLIP ViT-B/16"]
    assert set(rows["task"]) == {*CLASSES, "average"}
    assert "average" not in set(as_in_paper(results, moderation_task(table, (*CLASSES, "smoking")))["task"])
    assert set(as_in_paper(results, moderation_task(table, background=""))["task"]) == set(CLASSES)
    same = {OURS: "Ours", "CLIP ViT-B/16": "CLIP"}
    shown = side_by_side_text(beside_measured(read_published(["Table 5"]), rows, same=same))
    assert shown.loc["CLIP ViT-B/16", ("published", "average [AP]")] == "65.2"
    assert shown.loc["CLIP ViT-B/16", ("measured", "average [AP]")] == DASH
    assert "[" not in shown.loc[RANDOM, ("measured", "sex [AP]")]  # an expected value has no interval


def test_test_films_that_were_trained_on_are_named():
    table = read_mcd(clips())
    test, train = (table.loc[table["split"] == s, "film_id"].unique() for s in ("test", "train"))
    assert describe_pretrained(table, [*train, "other"]).startswith(f"None of the {len(test)} test films")
    warning = describe_pretrained(table, [test[1], test[0], train[0]])
    assert warning.startswith(f"WARNING: 2 of the {len(test)} test films were trained on")
    assert min(test[:2]) in warning
    few = read_mcd(clips(5, 2))
    assert set(few["split"]) == {"train"}
    assert "a split by film needs at least three" in describe_pretrained(few, [])


def test_an_unknown_background_is_named():
    with pytest.raises(M2SError, match=r"the background class is 'calm', the classes are \['none', 'sex'"):
        moderation_task(read_mcd(clips()), background="calm")
