"""The notebooks with E_scene over shot tokens: trained on features, searched, and compared where it can be."""

import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.io import read_json
from m2s_lib.method.weights import load_encoder
from tests.helpers.notebook_runs import SMALL, no_kernels, run, write_features, write_profile

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
S4 = "04_moco_training"
TOKENS = {
    **SMALL["04"],
    "scene_encoder": "shot_tokens",
    "scene_epochs": 6,
    "compared": ["random init", "colour"],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    profile = write_profile(folder / "tokens.yaml", SMALL, _04=TOKENS)
    with no_kernels():
        run(profile, folder / "run", "01", "02", "03", "04", "05", "08")
    return folder / "run", profile


def test_they_are_trained_on_the_features_of_01_and_searched_in_08(finished):
    run_dir, _ = finished
    encoder = load_encoder(run_dir / S4 / "scene_encoder.safetensors")
    assert type(encoder).__name__ == "ShotTokenEncoder"
    log = pd.read_parquet(run_dir / S4 / "log.parquet")
    assert log.loss.iloc[-3:].mean() < log.loss.iloc[:3].mean()
    names = list(read_json(run_dir / "08_retrieval_gallery" / "encoders.json"))
    assert names[:2] == ["E_scene", "random init"]


def test_benchmarks_measure_them_over_e_shots_features_of_the_keyframes(finished):
    results = pd.read_parquet(finished[0] / "05_lvu_evaluation" / "results.parquet")
    measured = results[results.value.notna()].encoder.unique()
    assert {"ours (random)", "random init", "E_shot mean", "colour"} <= set(measured)


def test_films_without_pictures_train_them_too_and_pictures_cannot_be_changed(tmp_path):
    films = write_features(tmp_path)
    own = {"films_dir": str(films), "source": "features", "metadata": str(films.parent / "metadata.csv")}
    changes = {
        "_01": {**own, "lvu_dir": "", "movienet_split": ""},
        "_02": {"metadata_source": "genre", "watch_log": ""},
    }
    profile = write_profile(tmp_path / "own.yaml", SMALL, _04=TOKENS, **changes)
    with no_kernels():
        run(profile, tmp_path / "run", "01", "02", "03", "04", "08")
        assert (tmp_path / "run" / S4 / "scene_encoder.safetensors").is_file()
        profile = write_profile(tmp_path / "own.yaml", SMALL, _04={**TOKENS, "scene_crop": 0.5}, **changes)
        with pytest.raises(M2SError, match="these pairs are shot features"):
            run(profile, tmp_path / "run", "04")
