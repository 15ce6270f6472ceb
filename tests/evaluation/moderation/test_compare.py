"""All encoders on moderation: chance, control, what is missing, what the paper's tables may stand beside, and
which clips the figures show."""

import numpy as np
import pandas as pd
import pytest

from m2s_lib.evaluation.encoders.computed_features import Vectors
from m2s_lib.evaluation.encoders.weight_files import Missing
from m2s_lib.evaluation.metrics import NOT_MEASURED
from m2s_lib.evaluation.moderation.compare import CHANCE, SEQUENCE_HEAD, as_in_paper, compare_mcd, mcd_summary
from m2s_lib.evaluation.moderation.evaluate import THRESHOLD_COLUMNS
from m2s_lib.evaluation.moderation.examples import best_other, class_examples, surest_errors
from m2s_lib.evaluation.moderation.files import CLASSES, read_mcd
from m2s_lib.evaluation.paper.published import beside_measured, read_published, side_by_side
from m2s_lib.evaluation.results import RESULT_COLUMNS, prediction_table
from tests.evaluation.moderation.test_evaluate import SMALL, vectors
from tests.evaluation.moderation.test_files import clips

OURS, CONTROL = "ours (co-watch)", "ours (co-watch) (permuted labels)"


@pytest.fixture(scope="module")
def table():
    """2,000 clips, the first test clip of which is gone."""
    return read_mcd(clips(2000, 300))


@pytest.fixture(scope="module")
def items(table):
    gone = table.index[table["split"] == "test"][0]
    return table["item"].drop(gone).tolist()


@pytest.fixture(scope="module")
def compared(table, items):
    known = vectors(table)
    values = np.stack([known[i] for i in items]).astype(np.float32)
    noise = np.random.default_rng(3).standard_normal(values.shape).astype(np.float32)
    found = {
        OURS: Vectors(OURS, values, ()),
        "CLIP ViT-B/16": Missing("CLIP ViT-B/16", "no weights"),
        "noise": Vectors("noise", noise, ()),
    }
    sequences = {i: np.repeat(known[i][None], 3, axis=0).astype(np.float32) for i in items}
    return compare_mcd(
        table, found, items, permuted=OURS, sequences=sequences, sequence_epochs=1, recalls=(0.8,), **SMALL
    )


def test_rows_of_chance_control_missing_and_sequences(table, compared):
    results = compared[0].results
    assert tuple(results.columns) == RESULT_COLUMNS
    names = [CHANCE, OURS, CONTROL, "CLIP ViT-B/16", "noise", SEQUENCE_HEAD]
    assert pd.unique(results["encoder"]).tolist() == names
    average = results[results["task"] == "average"].set_index("encoder")
    share = table.loc[table["split"] == "test", "label"].value_counts(normalize=True)[list(CLASSES[1:])]
    assert average.loc[CHANCE, "value"] == pytest.approx(share.mean(), abs=0.02)
    for name in (CONTROL, "noise"):
        assert average.loc[name, "value"] == pytest.approx(share.mean(), abs=0.08)
    assert average.loc[OURS, "value"] > average.loc[CONTROL, "value"] + 0.3
    assert np.isnan(average.loc["CLIP ViT-B/16", "value"])
    n = int((table["split"] == "test").sum())
    assert average["n_listed"].tolist() == [n] * 6
    assert average["n_found"].tolist() == [n - 1, n - 1, n - 1, 0, n - 1, n - 1]


def test_thresholds_of_every_encoder_but_the_control(compared):
    thresholds = compared[1]
    assert tuple(thresholds.columns) == THRESHOLD_COLUMNS
    assert pd.unique(thresholds["encoder"]).tolist() == [OURS, "noise", SEQUENCE_HEAD]
    assert thresholds.loc[thresholds["encoder"] == OURS, "class"].tolist() == list(CLASSES[1:])


def test_without_encoders_nothing_is_measured(table):
    evaluation, thresholds = compare_mcd(table, {}, [])
    assert (len(evaluation.results), len(evaluation.predictions), len(thresholds)) == (0, 0, 0)
    assert tuple(thresholds.columns) == THRESHOLD_COLUMNS
    assert len(mcd_summary(evaluation.results, table)) == 0
    assert len(as_in_paper(evaluation.results)) == 0


def test_the_summary_says_what_is_missing_and_why(table, compared):
    text = mcd_summary(compared[0].results, table)
    assert text.columns.tolist() == [*CLASSES, "average"]
    assert (text.loc["CLIP ViT-B/16"] == NOT_MEASURED).all()
    assert float(text.loc[OURS, "sex"]) > 0.5
    without = table[~((table["split"] == "test") & (table["label"] == "sex"))]
    known = vectors(without)
    found = {
        "ours": Vectors("ours", np.stack([known[i] for i in without["item"]]).astype(np.float32), ()),
        "X3D-L": Missing("X3D-L", "no weights"),
    }
    results = compare_mcd(without, found, without["item"], **SMALL)[0].results
    text = mcd_summary(results, without)
    assert text["sex"].tolist() == ["no example in test", "no example in test", NOT_MEASURED]
    assert float(text.loc["ours", "average"]) > 0.5


def test_beside_the_paper_there_is_no_control_and_no_other_average(compared):
    results = compared[0].results
    rows = as_in_paper(results)
    assert CONTROL not in set(rows["encoder"])
    assert set(rows["task"]) == {*CLASSES, "average"}
    assert "average" not in set(as_in_paper(results, (*CLASSES, "smoking"))["task"])
    assert set(as_in_paper(results, background="")["task"]) == set(CLASSES)
    assert len(as_in_paper(results.replace({"task": {c: f"my {c}" for c in CLASSES}}), ("my none",), "")) == 0
    same = {OURS: "Ours", "CLIP ViT-B/16": "CLIP"}
    shown = side_by_side(beside_measured(read_published(["Table 5"]), rows, same=same))
    assert shown.loc["CLIP ViT-B/16", ("average [AP]", "published")] == "65.2"
    assert shown.loc["CLIP ViT-B/16", ("average [AP]", "measured")] == NOT_MEASURED
    assert shown.loc["SlowFast R50", ("sex [AP]", "measured")] == NOT_MEASURED
    assert shown.loc["noise", ("sex [AP]", "published")] == "not published"
    assert "[" not in shown.loc[CHANCE, ("sex [AP]", "measured")]  # an expected value has no interval


def test_the_best_other_encoder_is_no_control_and_not_chance(compared):
    results = compared[0].results
    rows = results[results["encoder"] != SEQUENCE_HEAD]
    assert best_other(rows, OURS) == "noise"
    assert best_other(rows[rows["encoder"] != "noise"], OURS) == ""
    assert best_other(rows, "none of them") == OURS


SAID = [  # item, label, what ours says and how sure, what the other says
    ("a", "sex", "sex", 0.9, "none"),
    ("b", "sex", "sex", 0.8, "sex"),
    ("c", "sex", "none", 0.6, "sex"),
    ("d", "none", "violence", 0.7, "none"),
    ("e", "none", "none", 0.5, None),  # the other encoder has no features of this clip
    ("gone", "none", "none", 0.99, "none"),  # has no pictures
]


@pytest.fixture
def said():
    tables = []
    for seed, encoder, column in ((1, "ours", 2), (0, "ours", 2), (0, "other", 4)):
        rows = [r for r in SAID if r[column] is not None]
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
def scenes():
    return pd.DataFrame(
        {"item": list("aabcde"), "film_id": list("aabcde"), "shot": [0, 9, 0, 0, 0, 0]}
    ).assign(n_shots=9)


def test_examples_are_right_and_wrong_in_turn_the_surest_first(said, scenes):
    rows = class_examples(said, scenes, "ours", "other", classes=("sex", "none"), n=2)
    assert rows["title"].tolist() == ["a", "c", "e", "d"]
    assert rows["score"].tolist() == pytest.approx([0.9, 0.6, 0.5, 0.7])
    assert rows["other_prediction"].tolist() == ["none", "sex", "", "none"]
    assert rows["other_score"].tolist() == pytest.approx([0.4, 0.4, np.nan, 0.4], nan_ok=True)
    assert rows["shot"].tolist() == [0, 0, 0, 0]
    alone = class_examples(said, scenes, "ours", classes=("sex",), n=9)
    assert alone["title"].tolist() == ["a", "c", "b"]
    assert "other_prediction" not in alone.columns
    assert len(class_examples(said, scenes, "unknown")) == 0


def test_errors_are_those_it_is_surest_of(said, scenes):
    rows = surest_errors(said, scenes, "ours", "other", n=5)
    assert rows["title"].tolist() == ["d", "c"]
    assert rows["prediction"].tolist() == ["violence", "none"]
