"""Notebooks 08 and 09 on runs in which something optional is absent, empty, of one row, or half done."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from m2s_lib.io import read_json, write_json, write_npy, write_parquet
from m2s_lib.method.movie_encoder import MoviePairModel, Pooling, save_movie_encoder
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig
from m2s_lib.method.weights import save_encoder
from m2s_lib.runs.records.record import RECORD
from m2s_lib.stages import paths
from tests.helpers.display_stores import make_store
from tests.helpers.notebook_runs import no_kernels, run, write_profile
from tests.helpers.result_rows import rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
WIDTH, SHOTS = 6, 3  # of a feature, of a scene
MADE_WITH = {"frame_size": 32, "frames_per_shot": 1, "detector": "adaptive", "detector_threshold": 0.0,
             "min_shot_s": 0.4, "reader": "pyav", "device": "cpu", "shot_encoder": "tiny"}  # fmt: skip


@pytest.fixture(autouse=True)
def _here():
    with no_kernels():
        yield


def finished(folder: Path, parameters=(), **metrics) -> None:
    """The record of a stage that is done."""
    record = {"stage": folder.name, "status": "done", "parameters": dict(parameters), "metrics": metrics}
    write_json(folder / RECORD, record)


def execute(run_dir: Path, number: str, **changes) -> tuple[str, dict]:
    """Runs one notebook; what it printed, and its record."""
    profile = write_profile(run_dir.parent / "profile.yaml", {number: {}}, **{f"_{number}": changes})
    printed = run(profile, run_dir, number)
    record = read_json(next(run_dir.glob(f"{number}_*")) / RECORD)
    assert record["status"] == "done", printed
    return printed, record


def results_of(*values, **about) -> pd.DataFrame:
    return rows(*values, **about).drop(columns=["setting", "repeat", "stage"])


# -- 09 --


def paper(run_dir: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(run_dir / "paper" / name)


def test_09_of_a_run_that_has_measured_nothing(tmp_path):
    (tmp_path / "run").mkdir()
    printed, record = execute(tmp_path / "run", "09")
    assert "Seen: nothing, no stage of this run has measured anything yet" in printed
    assert "All 7 tables: one of this run's numbers stands beside 0 of the paper's 366" in printed
    assert "The themes of these films are not known, or nothing was mined" in printed
    assert record["metrics"]["repeats"] == 0
    tables = paper(tmp_path / "run", "table2.csv")
    assert tables["measured"].isna().all()
    assert tables["published"].notna().sum() == 111
    assert set(paper(tmp_path / "run", "primaries.csv")["verdict"]) == {"undecided"}
    assert set(paper(tmp_path / "run", "claims.csv")["verdict"]) == {"not measurable here"}


EMPTY_TABLES = {
    "no column": pd.DataFrame(),
    "no row": pd.DataFrame({"ratio": [], "lowest_score": [], "n_pairs": [], "n_same": [], "precision": []}),
}


@pytest.mark.parametrize("empty", EMPTY_TABLES)
def test_09_where_themes_are_not_known(tmp_path, empty):
    """What 03 and 08 leave for films of one's own: tables without a row, some without a column."""
    folder = tmp_path / "run"
    for name in (paths.PRECISION_BY_SHARE, paths.PRECISION_BY_THEME, paths.MINING_PRECISION):
        write_parquet(EMPTY_TABLES[empty], folder / paths.SCENE_MINING / name)
    for stage in (paths.SCENE_MINING, paths.GALLERY):
        write_parquet(results_of(0.4)[:0], folder / stage / paths.RESULTS)
        finished(folder / stage)
    write_parquet(pd.DataFrame(), folder / paths.LVU / paths.PROBES)
    write_parquet(pd.DataFrame(), folder / paths.LVU / paths.RESULTS)
    finished(folder / paths.LVU)
    printed, _ = execute(folder, "09")
    assert "No probe of our features was trained in this run" in printed
    assert paper(folder, "precision_by_share.csv").empty


def test_09_of_one_row_and_of_a_stage_that_has_not_finished(tmp_path):
    folder = tmp_path / "run"
    write_parquet(results_of(0.4, task="genre"), folder / paths.LVU / paths.RESULTS)
    finished(folder / paths.LVU)
    write_parquet(results_of(0.9, task="genre"), folder / paths.MOVIENET / paths.RESULTS)
    write_json(folder / paths.MOVIENET / RECORD, {"stage": paths.MOVIENET, "status": "failed"})
    printed, _ = execute(folder, "09")
    assert "1 number of one repeat each" in printed
    assert f"row 1 is failed: {paths.MOVIENET} has not finished." in printed
    table = paper(folder, "table2.csv")
    assert table["measured"].dropna().tolist() == [40.0]


# -- 08 --


def films(
    folder: Path, *lengths: int, pixels=True, split="train", trained=True, movie=True, asked=SHOTS
) -> Path:
    """A run as 01 to 04 leave it, with films of these numbers of shots; returns its folder."""
    names = [f"film{i}" for i in range(len(lengths))]
    first = folder / paths.SHOT_ENCODING
    (first / "shots").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, n in zip(names, lengths, strict=True):
        make_store(first / "shots", name, n, pixels=pixels)
        write_npy(folder / paths.FEATURES / f"{name}.npy", rng.normal(size=(n, WIDTH)).astype(np.float32))
    table = pd.DataFrame({"film_id": names, "title": names, "path": "x.mp4", "status": "ok", "split": split})
    write_parquet(table, folder / paths.FILMS)
    finished(first, MADE_WITH)
    if movie:
        save_movie_encoder(
            folder / paths.MOVIE_ENCODER, MoviePairModel(Pooling(8, 2, 1, 2, 2), WIDTH, 5, 0.5)
        )
    finished(folder / paths.MOVIE_SIMILARITY, source="cowatch")
    finished(folder / paths.SCENE_MINING, n_shots=asked)
    if trained:
        scene = SceneEncoder(SceneEncoderConfig.preset("test"), seed=1)
        save_encoder(folder / paths.SCENE_ENCODER, scene)
    finished(folder / paths.MOCO_TRAINING, trained=trained)
    return folder


CASES = {  # lengths of the films, what else is special, what the notebook says
    "one scene": ((3,), {}, "1 scene of 3 shots from 1 of 1 film. With one film only"),
    "one film": ((9,), {}, "3 scenes of 3 shots from 1 of 1 film. With one film only"),
    "no themes": ((9, 4), {}, "P@k is not measured: the themes of these films are not known"),
    "short films": ((2, 1), {"asked": 9}, "No film has 9 shots, so scenes are as long as the longest film."),
    "no E_scene": ((9, 6), {"trained": False}, "E_movie mean is the main encoder"),
    "no model": (
        (9, 6),
        {"trained": False, "movie": False},
        "E_shot mean is the main encoder; 1 more: colour",
    ),
    "no pictures": ((9, 6), {"trained": False, "pixels": False}, "main encoder; 1 more: E_shot mean."),
    "no training film": ((9, 6), {"split": "test"}, "Not said: whether E_scene ranks these scenes"),
}


@pytest.mark.parametrize("case", CASES)
def test_08_runs_to_the_end_and_says_what_is_missing(tmp_path, case):
    lengths, special, sentence = CASES[case]
    folder = films(tmp_path / "run", *lengths, **special)
    printed, record = execute(folder, "08", queries=2, results=4)
    assert sentence in printed
    assert record["metrics"]["precision"] == []
    one_film = len(pd.read_parquet(folder / paths.SCENES)["film_id"].unique()) == 1
    assert ("No scene of another film is left" in printed) == one_film
    assert pd.read_parquet(folder / paths.GALLERY / paths.RESULTS).empty
    assert (folder / paths.INDEX).is_file()
    execute(folder, "09")
