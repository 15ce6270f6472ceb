"""The real notebooks on a small embedded world, on this machine and on Ray: the same files."""

import os
import subprocess
import sys

import pandas as pd
import pytest

from m2s_lib.io import read_json
from tests.conftest import ROOT
from tests.helpers.notebook_runs import contents, temporaries, write_profile

ENGINES = ("local", "ray")
FILES = {
    "01_shot_encoding": ("shots", "features", "shot_encoder.safetensors"),
    "02_movie_similarity": ("film_pairs.parquet", "movie_encoder.safetensors"),
    "03_scene_mining": ("scene_pairs.parquet",),
}


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_stages_give_the_same_files_on_ray(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    profile = write_profile(tmp_path / "tiny.yaml")
    for engine in ENGINES:
        command = [
            sys.executable,
            "-m",
            "m2s_lib.runs.cli",
            "run",
            str(profile),
            "--run-dir",
            str(tmp_path / engine),
        ]
        command += [word for number in ("01", "02", "03") for word in ("--only", number)]
        done = subprocess.run(
            [*command, "-p", f"01.engine={engine}"],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},  # on more threads a product's last bits may be others
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    for stage, names in FILES.items():
        local, cluster = (contents(tmp_path / engine / stage, *names) for engine in ENGINES)
        assert local == cluster, stage
        assert len(local) >= len(names)
    tables = [pd.read_parquet(tmp_path / engine / "01_shot_encoding/films.parquet") for engine in ENGINES]
    pd.testing.assert_frame_equal(*(table.drop(columns="path") for table in tables))
    assert read_json(tmp_path / "ray/01_shot_encoding/run.json")["parameters"]["engine"] == "ray"
    assert not temporaries(tmp_path / "ray")
