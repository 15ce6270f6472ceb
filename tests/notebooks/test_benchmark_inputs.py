"""Notebooks 05 to 07 on inputs that are absent, empty or of one row: each runs to its end with a sentence."""

import os
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from m2s_lib.evaluation.lvu.files import TASKS
from m2s_lib.evaluation.results import PREDICTION_COLUMNS, RESULT_COLUMNS
from m2s_lib.io import read_json
from tests.helpers.bare_runs import bare_run, run_notebook
from tests.helpers.boundary_films import world, write_film
from tests.helpers.videos import render

LVU, MOVIENET, MCD = "05_lvu_evaluation", "06_movienet_evaluation", "07_mcd_evaluation"


@pytest.fixture(autouse=True)
def _one_thread():
    with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1"}):
        yield


@pytest.fixture
def run_dir(tmp_path):
    return bare_run(tmp_path / "run")


def written(run_dir, stage):
    """results.parquet of a finished stage, after checking what every stage leaves."""
    assert read_json(run_dir / stage / "run.json")["status"] == "done"
    results, predictions = (
        pd.read_parquet(run_dir / stage / f"{name}.parquet") for name in ("results", "predictions")
    )
    assert tuple(results.columns) == RESULT_COLUMNS
    assert tuple(predictions.columns) == PREDICTION_COLUMNS
    return results


def write_labels(folder, videos):
    """LVU's folder: every video in every task, by split."""
    for task, kind in TASKS.items():
        path = folder / "lvu_1.0" / task
        path.mkdir(parents=True)
        for split in ("train", "val", "test"):
            values = {"class_id": "0", "class_name": "a"}  # counts are 5
            label = [values.get(c, "5") for c in kind.columns[:-2]]
            rows = [" ".join([*label, v, i]) for s, v, i in videos if s == split]
            (path / f"{split}.csv").write_text("\n".join([" ".join(kind.columns), *rows]) + "\n")
    return folder / "lvu_1.0"


@pytest.mark.parametrize(
    ("stage", "given", "sentence"),
    [
        (LVU, {"lvu_clips": "", "lvu_labels": ""}, "No LVU clips: give lvu_clips and lvu_labels."),
        (LVU, {}, "No LVU clips"),  # 'embedded', of films that are not
        (MOVIENET, {"movienet_dir": "", "ovsd_dir": ""}, "No films with true scenes: give movienet_dir"),
        (MOVIENET, {}, "No films with true scenes"),
        (MCD, {"mcd_table": "", "mcd_clips": ""}, "No labelled clips: give mcd_table and mcd_clips."),
        (MCD, {}, "No labelled clips"),
    ],
)
def test_a_stage_without_data_says_so_once_and_ends(run_dir, stage, given, sentence):
    names, printed = run_notebook(stage, run_dir, **given)
    assert printed.count(sentence) == 1
    assert len(written(run_dir, stage)) == 0
    assert "encoders" not in names  # what follows was not run
    again, printed = run_notebook(stage, run_dir, **given)
    assert again["stage"].done


def test_an_ovsd_folder_beside_the_films_is_used_only_when_it_is_named(tmp_path):
    (tmp_path / "films").mkdir()
    write_film(tmp_path / "ovsd" / "01", [(0, 9), (10, 19)], [(0, 9), (10, 19)])
    run_dir = bare_run(tmp_path / "run", films_dir=str(tmp_path / "films"))
    _, printed = run_notebook(MOVIENET, run_dir, movienet_dir="")
    assert "No films with true scenes" in printed
    _, printed = run_notebook(MOVIENET, bare_run(tmp_path / "named", films_dir=str(tmp_path / "films")),
                              movienet_dir="", ovsd_dir="beside", boundary_epochs=1)  # fmt: skip
    assert "OVSD: 1 films" in printed


@pytest.mark.parametrize("films", [1, 4])
def test_real_films_alone(run_dir, tmp_path, films):
    labelled, embeddings, _ = world(films=films, shots=12)
    for film in labelled:
        shots = [(10 * i, 10 * i + 9) for i in range(film.n_shots)]
        starts = [0, *(10 * (i + 1) for i in np.flatnonzero(film.labels[:-1] == 1))]
        ends = [*(s - 1 for s in starts[1:]), 119]
        write_film(tmp_path / "real" / film.film_id, shots, zip(starts, ends, strict=True),
                   embeddings[film.film_id])  # fmt: skip
    given = {"movienet_dir": "", "ovsd_dir": "", "bbc_dir": str(tmp_path / "real"), "boundary_epochs": 1}
    _, printed = run_notebook(MOVIENET, run_dir, **given)
    results = written(run_dir, MOVIENET)
    assert set(results["benchmark"]) == {"BBC"}
    assert f"BBC: {films} films" in printed
    left_out = results[results["split"] == "leave one film out"].set_index("metric")["value"]
    assert left_out.isna().all() == (films == 1)
    _, printed = run_notebook(MOVIENET, run_dir, **given)  # a finished run is only read
    assert "leave one film out:" not in printed.split("\n")[0]


def test_lvu_of_one_clip_and_of_none(run_dir, tmp_path):
    labels = write_labels(tmp_path / "labels", [("test", "aaaaaaaaaaa", "tt0000001")])
    render(tmp_path / "clips" / "aaaaaaaaaaa.mp4", shots=(12, 12))
    given = {"lvu_clips": str(tmp_path / "clips"), "lvu_labels": str(labels), "lvu_epochs": 1}
    _, printed = run_notebook(LVU, run_dir, **given)
    results = written(run_dir, LVU)
    assert results["value"].isna().all()
    assert set(results.loc[results["encoder"] == "colour", "n_listed"]) == {0, 1}
    assert "were not both measured" in printed
    rendered = sorted(p.name for p in (run_dir / LVU).iterdir())
    _, printed = run_notebook(LVU, run_dir, **given)
    assert "were not both measured" in printed
    assert sorted(p.name for p in (run_dir / LVU).iterdir()) == rendered


@pytest.mark.parametrize("rows", [0, 1])
def test_moderation_of_an_empty_table_and_of_one_clip(run_dir, tmp_path, rows):
    table = tmp_path / "clips.csv"
    table.write_text("clip,film_id,label\n" + "a.mp4,f0,none\n" * rows)
    render(tmp_path / "a.mp4", shots=(12,))
    _, printed = run_notebook(MCD, run_dir, mcd_table=str(table), mcd_clips=str(tmp_path), mcd_epochs=1)
    results = written(run_dir, MCD)
    assert results["value"].isna().all()
    if_any = {0: "No labelled clips", 1: "a split by film needs at least three"}
    assert if_any[rows] in printed


def test_moderation_warns_of_test_films_that_were_trained_on(run_dir, tmp_path):
    rows = [f"{s}{i}.mp4,{f},{c},{s}" for s, f in (("train", "x"), ("val", "y"), ("test", "f0"))
            for i, c in enumerate(("none", "sex"))]  # fmt: skip
    (tmp_path / "clips.csv").write_text("clip,film_id,label,split\n" + "\n".join(rows) + "\n")
    for row in rows:
        render(tmp_path / row.split(",")[0], shots=(12,))
    given = {"mcd_table": str(tmp_path / "clips.csv"), "mcd_clips": str(tmp_path), "mcd_epochs": 1}
    _, printed = run_notebook(MCD, run_dir, **given)
    assert "WARNING: 1 of the 1 test films were trained on (without labels), the first is f0" in printed
    results = written(run_dir, MCD)
    by = results[results["task"] == "average"].set_index("encoder")["value"]
    assert by[["colour", "random init", "random init, whitened", "random scores"]].notna().all()
    assert np.isnan(by["Merlot Reserve"])
