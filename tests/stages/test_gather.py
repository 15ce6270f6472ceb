"""What a later stage reads of a run: all settings or one, whatever is absent, empty or half written."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.compared import SHOT_MEAN
from m2s_lib.evaluation.paper.repeats import FIRST
from m2s_lib.io import read_json, read_parquet, write_json, write_parquet
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig
from m2s_lib.method.shot_encoder import ShotEncoder, ShotEncoderConfig
from m2s_lib.method.weights import save_encoder
from m2s_lib.runs.project import stage_names
from m2s_lib.stages import paths
from m2s_lib.stages.gather import (
    first_folder,
    measured_results,
    read_optional,
    run_encoders,
    run_settings,
    stage_parameters,
    stage_tables,
)
from tests.conftest import ROOT
from tests.helpers.result_rows import rows

LVU, MCD, LAST = paths.LVU, paths.MODERATION, paths.PAPER


def stage(folder, name=LAST):
    """What these functions use of an open stage."""
    return SimpleNamespace(
        run_dir=folder,
        name=name,
        root=ROOT,
        read_parquet=lambda p, columns=None: read_parquet(folder / p, columns),
        read_json=lambda p: read_json(folder / p),
    )


def plain(*values):
    return rows(*values).drop(columns=["setting", "repeat", "stage"])


def test_a_run_of_one_setting_is_the_first(tmp_path):
    for folder in (LVU, MCD, LAST):
        write_parquet(plain(0.4), tmp_path / folder / paths.RESULTS)
    open_stage = stage(tmp_path)
    settings = run_settings(open_stage)
    assert settings["stage"].tolist() == [LVU, MCD]  # not its own
    assert set(settings["status"]) == {"done"}
    found = measured_results(open_stage, settings)
    assert found["stage"].tolist() == [LVU, MCD]
    assert set(found["setting"]) == {FIRST}
    assert first_folder(tmp_path) == tmp_path


@pytest.fixture(params=["settings", "rows"])
def several(tmp_path, request):
    """A run of two settings, one of whose stages failed; returns the open stage. Older runs called them
    rows."""
    lines = [("row 1", "a", "04_x", "done"), ("row 1", "a", LVU, "failed"), ("row 10", "b", LVU, "done")]
    column = request.param.removesuffix("s")
    table = pd.DataFrame(lines, columns=[column, "folder", "stage", "status"])
    write_parquet(table.assign(repeat="", compute_s=1.0, reason=""), tmp_path / f"{request.param}.parquet")
    for row in table.itertuples():
        folder = tmp_path / request.param / row.folder / row.stage
        write_parquet(plain(0.4, 0.5), folder / paths.RESULTS)
        write_json(folder / "run.json", {"parameters": {"of": row.folder}})
    return stage(tmp_path)


def test_a_run_of_settings_gives_all_that_are_done(several):
    settings = run_settings(several)
    found = measured_results(several, settings)
    assert found[["setting", "stage"]].drop_duplicates().values.tolist() == [
        ["row 1", "04_x"],
        ["row 10", LVU],
    ]
    assert len(found) == 4
    assert stage_parameters(several, settings, "05") == {"row 10": {"of": "b"}}
    assert first_folder(several.run_dir).name == "b"  # all of b is done
    assert first_folder(several.run_dir).is_dir()


def test_nothing_measured_is_a_table_without_a_row(tmp_path):
    open_stage = stage(tmp_path)
    settings = run_settings(open_stage)
    assert settings.empty
    found = measured_results(open_stage, settings)
    assert found.empty
    assert {"setting", "repeat", "stage", "value"} <= set(found.columns)
    assert found["value"].dtype == float
    assert read_optional(open_stage, f"{LVU}/{paths.PROBES}").empty


def test_a_stage_that_has_not_finished_is_named_and_not_read(tmp_path):
    write_parquet(plain(0.4), tmp_path / LVU / paths.RESULTS)
    write_json(tmp_path / LVU / "run.json", {"stage": LVU, "status": "running"})
    settings = run_settings(stage(tmp_path))
    assert settings[["status", "reason"]].values.tolist() == [["running", f"{LVU} has not finished"]]
    assert measured_results(stage(tmp_path), settings).empty


@pytest.mark.parametrize("table", [pd.DataFrame(), plain(0.4)[:0]], ids=["no column", "no row"])
def test_tables_without_a_row_are_left_out(tmp_path, table):
    write_parquet(table, tmp_path / LVU / paths.RESULTS)
    write_parquet(plain(0.4), tmp_path / MCD / paths.RESULTS)
    found = stage_tables(stage(tmp_path), run_settings(stage(tmp_path)), "", paths.RESULTS)
    assert [about["stage"] for about, _ in found] == [MCD]


def test_results_with_other_columns_are_refused(tmp_path):
    write_parquet(pd.DataFrame({"value": [1.0]}), tmp_path / LVU / paths.RESULTS)
    with pytest.raises(M2SError, match=f"{LVU}/results.parquet lacks the columns .'benchmark', 'ci_high'"):
        measured_results(stage(tmp_path), run_settings(stage(tmp_path)))


def test_the_stages_of_the_paths_are_the_notebooks():
    texts = [v for k, v in vars(paths).items() if k.isupper() and isinstance(v, str)]
    named = [text for text in texts if text[:2].isdecimal() and "/" not in text]
    assert named == list(stage_names(ROOT / "notebooks"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A run after stage 04: files of E_shot, E_scene and no baseline."""
    run = tmp_path_factory.mktemp("run")
    scene = SceneEncoder(SceneEncoderConfig.preset("test", out_dim=16), seed=3)
    save_encoder(run / paths.SCENE_ENCODER, scene)
    save_encoder(run / paths.SHOT_ENCODER, ShotEncoder(ShotEncoderConfig.preset("test", out_dim=24), seed=4))
    (run / paths.BASELINES).mkdir()
    return run


class FakeStage:
    """What `run_encoders` asks of an open stage; `inputs` and `given_dirs` are what it recorded."""

    def __init__(self, run, trained=True, comparators=False):
        asked = SimpleNamespace(
            compared=["colour", "SimCLR"], weights_dir="", features_dir="f", hub=False, scene_encoder="test"
        )
        self._stages = {
            "01": (SimpleNamespace(device="cpu", frame_size=64), {}),
            "02": (SimpleNamespace(), {"source": "genre"}),
            "04": (asked, {"trained": trained, "comparators": ["SimCLR"] if comparators else []}),
        }
        names = {"01": "01_shot_encoding", "02": "02_movie_similarity", "04": "04_moco_training"}
        self.run_dir, self.names, self.inputs, self.given_dirs = run, names, [], []

    def earlier(self, number):
        parameters, metrics = self._stages[number]
        name = self.names[number]
        return SimpleNamespace(stage=name, folder=self.run_dir / name, parameters=parameters, metrics=metrics)

    def input(self, path):
        place = self.run_dir / path
        assert place.exists()
        self.inputs.append(place.relative_to(self.run_dir).as_posix())
        return place

    def given(self, value):
        self.given_dirs.append(value)
        return value


def names_of(encoders):
    return [e if isinstance(e, str) else e.name for e in encoders]


def test_a_run_gives_what_its_stages_wrote_and_records_what_it_read(weights):
    stage = FakeStage(weights, comparators=True)
    encoders, sources = run_encoders(stage)
    assert names_of(encoders) == ["ours (genre)", SHOT_MEAN, "colour", "SimCLR"]
    assert sorted(stage.inputs) == [
        "01_shot_encoding/shot_encoder.safetensors",
        "04_moco_training/comparators",
        "04_moco_training/scene_encoder.safetensors",
    ]
    assert stage.given_dirs == ["", "f"]
    assert sources.trained_dir == weights / "04_moco_training/comparators"
    assert sources.features_dir == "f"
    assert torch.device(sources.device) == torch.device("cpu")


def test_a_run_without_training_has_neither_ours_nor_e_shot(weights, tmp_path):
    stage = FakeStage(weights, trained=False)
    assert names_of(run_encoders(stage)[0]) == [SHOT_MEAN, "colour", "SimCLR"]
    assert stage.inputs == ["01_shot_encoding/shot_encoder.safetensors"]
    stage = FakeStage(tmp_path, trained=False)  # films that came as ready features: no E_shot either
    encoders, sources = run_encoders(stage)
    assert names_of(encoders) == ["colour", "SimCLR"]
    assert (stage.inputs, sources.trained_dir) == ([], "")
