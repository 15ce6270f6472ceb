"""The protocol on made-up vectors: rows, counts, windows, the search, control, baselines, what is missing."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, mean_squared_error

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.computed_features import Vectors
from m2s_lib.evaluation.encoders.weight_files import Missing
from m2s_lib.evaluation.probes.probe_search import SEARCH_GRID
from m2s_lib.evaluation.probes.probes import ProbeConfig
from m2s_lib.evaluation.protocol import (
    SEQUENCE_HEAD,
    compare,
    evaluate,
    summary,
    whitened_films,
)
from m2s_lib.evaluation.results import PREDICTION_COLUMNS, RESULT_COLUMNS
from m2s_lib.evaluation.tasks import LARGEST, RANDOM, ClassTask, NumberTask, RankingTask
from m2s_lib.evaluation.vectors import whitening

D = 12
OURS, CLIP, UNTRAINED = "ours (co-watch)", "CLIP ViT-B/16", "random init"
NAMES = ("office", "hotel", "prison", "school")
CONFIG = ProbeConfig(hidden=16, epochs=15, batch=16, dropout=0.1, lr=0.1)


def items_of(counts, per_film=3, prefix="c"):
    rows = [(s, i) for s, n in counts.items() for i in range(n)]
    table = pd.DataFrame(rows, columns=["split", "i"])
    film = table["split"] + "_" + (table["i"] // per_film).astype(str)
    return table.assign(item=prefix + table["split"] + table["i"].astype(str), film_id=film).drop(columns="i")


def class_task(name="scene", counts=None, measured=("val", "test")):
    items = items_of(counts or {"train": 120, "val": 60, "test": 120}, prefix=name)
    y = np.random.default_rng(len(name)).integers(len(NAMES), size=len(items))
    about = {"benchmark": "LVU", "name": name, "config": CONFIG, "measured": measured}
    return ClassTask(items=items.assign(label=np.array(NAMES)[y]), y=y, classes=NAMES, **about)


def number_task():
    items = items_of({"train": 90, "val": 45, "test": 60}, prefix="n")
    y = np.random.default_rng(1).standard_normal(len(items))
    config = dataclasses.replace(CONFIG, loss="mse", lr=0.02, clip=1.0)
    items = items.assign(label=[f"{v:.6g}" for v in y])
    return NumberTask(benchmark="LVU", name="like_ratio", items=items, y=y, config=config)


def ranking_task(several=False, **changes):
    items = items_of({"train": 200, "val": 80, "test": 200})
    rng = np.random.default_rng(2)
    y = rng.integers(4, size=len(items))
    labels = np.array(NAMES)[y]
    if several:
        y = np.eye(4, dtype=bool)[y] | (rng.random((len(items), 4)) < 0.2)
        labels = ["|".join(np.array(NAMES)[row]) for row in y]
        changes = {"mean_name": ("places", "mAP"), "one_task": True} | changes
    config = dataclasses.replace(CONFIG, loss="bce" if several else "cross_entropy", choose="ap")
    about = {"benchmark": "MCD", "name": "places", "config": config, "classes": NAMES}
    return RankingTask(items=items.assign(label=labels), y=y, **(about | changes))


def known(*tasks, windows=1, noise=0.7, seed=0):
    """Embeddings that know each item's class, classes or number."""
    rng = np.random.default_rng(seed)
    centres, out = 2 * np.random.default_rng(9).standard_normal((len(NAMES), D)), {}
    for task in tasks:
        hot = task.y if task.y.ndim == 2 else np.eye(len(NAMES))[task.y] if task.classes else None
        signal = hot @ centres if task.classes else task.y[:, None] * centres[:1]
        for item, x in zip(task.items["item"], signal, strict=True):
            made = x + noise * rng.standard_normal((windows, D))
            out[item] = made if windows > 1 else made[0]
    return out


def vectors(name, embeddings, items):
    return Vectors(name, np.stack([np.atleast_2d(embeddings[i])[0] for i in items]).astype(np.float32))


def on_test(results, **same):
    rows = results[results["split"] == "test"]
    for column, value in same.items():
        rows = rows[rows[column] == value]
    return rows


@pytest.fixture(scope="module")
def compared():
    """Two tasks; the first test item of each is gone."""
    tasks = [class_task(), number_task()]
    gone = [t.items["item"].iloc[t.rows("test")[0]] for t in tasks]
    items = [i for t in tasks for i in t.items["item"] if i not in gone]
    rng, embeddings = np.random.default_rng(3), known(*tasks)
    noise = {i: rng.standard_normal(D) for i in items}
    found = {
        OURS: vectors(OURS, embeddings, items),
        CLIP: Missing(CLIP, "weights not found"),
        UNTRAINED: vectors(UNTRAINED, noise, items),
    }
    frames = {i: np.repeat(embeddings[i][None], 3, 0) for i in items}
    return compare(
        tasks, found, items, control=OURS, sequences=frames, sequence_epochs=2, seeds=(0, 1), epochs=20
    )


def test_rows_of_chance_ours_control_missing_and_baselines(compared):
    results = compared.results
    assert tuple(results.columns) == RESULT_COLUMNS
    assert tuple(compared.predictions.columns) == PREDICTION_COLUMNS
    control, white = f"{OURS} (permuted labels)", f"{UNTRAINED}, whitened"
    order = [LARGEST, OURS, control, CLIP, UNTRAINED, white, SEQUENCE_HEAD]
    assert pd.unique(results["encoder"]).tolist() == order
    assert set(compared.predictions["encoder"]) == set(order) - {LARGEST, CLIP}
    scene = on_test(results, task="scene").groupby("encoder")["value"].mean()
    assert scene[OURS] > 0.9
    for name in (LARGEST, control, UNTRAINED, white):
        assert scene[name] == pytest.approx(1 / 4, abs=0.15)  # 119 items: three standard errors are 0.12
    error = on_test(results, task="like_ratio").groupby("encoder")["value"].mean()
    assert error[OURS] < 0.5 * error[LARGEST]
    assert error[control] > 0.9 * error[LARGEST]


def test_missing_is_not_measured_and_counted(compared):
    rows = compared.results[compared.results["encoder"] == CLIP]
    assert rows[["task", "metric"]].to_numpy().tolist() == [["scene", "top-1"], ["like_ratio", "MSE"]]
    assert rows["value"].isna().all()
    assert rows[["n", "n_found", "n_listed"]].to_numpy().tolist() == [[0, 0, 120], [0, 0, 60]]
    rows = on_test(compared.results, task="scene", encoder=OURS)
    assert rows[["n", "n_found", "n_listed"]].to_numpy().tolist() == [[119, 119, 120]] * 2
    wide = summary(compared.results, ["top-1", "MSE"])
    assert wide.columns.tolist() == ["scene", "like_ratio"]
    assert wide.loc[CLIP].isna().all()
    assert wide.loc[OURS, "scene"] == pytest.approx(rows["value"].mean())


def test_values_follow_from_the_predictions():
    tasks = [class_task(), number_task()]
    got = evaluate(tasks, known(*tasks), "ours")
    for task in tasks:
        test = got.predictions[(got.predictions["split"] == "test") & (got.predictions["task"] == task.name)]
        assert test["item"].tolist() == task.items["item"].iloc[task.rows("test")].tolist()
        row = on_test(got.results, task=task.name).iloc[0]
        assert row["ci_low"] < row["value"] <= row["ci_high"]
        if task.classes:
            wanted = accuracy_score(test["label"], test["prediction"])
        else:
            wanted = mean_squared_error(test["label"].astype(float), test["prediction"].astype(float))
        assert row["value"] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("several", [False, True])
def test_ap_rows_follow_from_the_predictions(several):
    task = ranking_task(several)
    got = evaluate([task], known(task), "ours")
    test = got.predictions[got.predictions["split"] == "test"]
    hot = np.stack([[n in label.split("|") for n in NAMES] for label in test["label"]])
    scores = np.stack(test["scores"])
    each = [average_precision_score(hot[:, c], scores[:, c]) for c in range(4)]
    by = got.results.set_index("metric" if several else "task")["value"]
    names = [f"AP {n}" for n in NAMES] if several else list(NAMES)
    assert by[names].tolist() == pytest.approx(each, abs=1e-6)
    assert by["mAP" if several else "average"] == pytest.approx(np.mean(each))
    chance = task.chance_rows().iloc[-1]
    assert (chance["encoder"], chance["n"]) == (RANDOM, 200)
    assert hot.mean() < chance["value"] < np.mean(each)
    assert (test["label"] == test["prediction"]).mean() > 0.4


def test_the_background_and_a_class_without_a_test_item_are_left_out_of_the_mean():
    task = ranking_task(background="office")
    keep = ~((task.items["split"] == "test") & (task.items["label"] == "hotel")).to_numpy()
    task = dataclasses.replace(task, items=task.items[keep].reset_index(drop=True), y=task.y[keep])
    rows = evaluate([task], known(task), "ours").results.set_index("task")
    assert np.isnan(rows.loc["hotel", "value"])
    assert rows.loc["hotel", "n"] == 0
    assert rows.loc["average", "value"] == pytest.approx(rows.loc[["prison", "school"], "value"].mean())
    expected = task.chance_rows().set_index("task")["value"]
    assert expected["average"] == pytest.approx(expected[["prison", "school"]].mean())


@pytest.mark.parametrize("gone", ["train", "val", "test"])
def test_a_split_without_items_is_not_measured_not_zero(gone):
    tasks = [class_task(), class_task("genre"), ranking_task()]
    embeddings = known(*tasks)
    for task in (tasks[0], tasks[2]):
        for item in task.items["item"].iloc[task.rows(gone)]:
            del embeddings[item]
    results = on_test(evaluate(tasks, embeddings, "ours", epochs=2).results).set_index("task")
    assert np.isnan(results.loc["scene", "value"])
    assert results.loc["scene", ["n", "n_listed"]].tolist() == [0, 120]
    assert np.isnan(results.loc["average", "value"])
    assert results.loc["genre", "n"] == 120


def test_windows_of_an_item_are_scored_together():
    task = class_task()
    got = evaluate([task], known(task, windows=3), "ours")
    assert len(got.predictions) == 180  # one row an item of val and test
    val = got.results[got.results["split"] == "val"].iloc[0]
    assert val["value"] == pytest.approx(got.probes["val_score"].iloc[0])
    assert val["n"] == 60


def test_the_search_takes_the_best_on_validation():
    grid = ({"lr": 1e-6}, {"lr": 0.1}, {"lr": 1e-5})
    got = evaluate([class_task()], known(class_task()), "ours", seeds=(3, 4), search_grid=grid)
    assert len(got.probes) == 6
    assert got.probes[got.probes["chosen"]][["lr", "seed"]].to_numpy().tolist() == [[0.1, 3], [0.1, 4]]
    assert got.results["seed"].tolist() == [3, 3, 4, 4]
    assert len(SEARCH_GRID) == 6


def test_the_control_permutes_labels_inside_each_split():
    task = ranking_task(several=True)
    control = task.permuted()
    assert not np.array_equal(task.y, control.y)
    for split in ("train", "val", "test"):
        rows = task.rows(split)
        assert sorted(task.items["label"].iloc[rows]) == sorted(control.items["label"].iloc[rows])
        written = ["|".join(np.array(NAMES)[row]) for row in control.y[rows]]
        assert control.items["label"].iloc[rows].tolist() == written
    assert control.items["item"].equals(task.items["item"])


def test_without_encoders_there_is_chance_and_without_tasks_nothing():
    got = compare([class_task()], {}, [])
    assert got.results["encoder"].unique().tolist() == [LARGEST]
    assert tuple(got.predictions.columns) == PREDICTION_COLUMNS
    assert len(compare([], {}, []).results) == 0
    empty = class_task(counts={"test": 1})
    got = compare([empty], {OURS: Vectors(OURS, np.ones((1, 3), np.float32))}, empty.items["item"]).results
    assert got["value"].isna().all()
    nothing = Vectors(OURS, np.full((1, 3), np.nan, np.float32), ("x",))
    assert compare([empty], {OURS: nothing}, empty.items["item"]).results["value"].isna().all()


def test_whitened_training_vectors_have_unit_variance_and_no_correlation():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 5)) @ rng.standard_normal((5, 5)) + 3
    white = whitening(x)(x)
    np.testing.assert_allclose(np.cov(white.T), np.eye(white.shape[1]), atol=1e-4)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-5)
    assert whitening(x[:1])(x) is x


def test_whitening_is_fitted_on_training_films_only():
    rng = np.random.default_rng(0)
    films = {f: rng.standard_normal((50, 4)) @ rng.standard_normal((4, 4)) for f in "abc"}
    out = whitened_films({UNTRAINED: films, OURS: films, CLIP: Missing(CLIP, "")}, ["a", "b", "gone"])
    assert list(out) == [UNTRAINED, f"{UNTRAINED}, whitened", OURS, CLIP]
    both = whitening(np.concatenate([films["a"], films["b"]]))
    np.testing.assert_array_equal(out[f"{UNTRAINED}, whitened"]["c"], both(films["c"]))


def test_embeddings_of_other_items_are_refused():
    with pytest.raises(M2SError, match="ours: none of the 1 embeddings belongs"):
        evaluate([class_task()], {"other": np.ones(3)}, "ours")
