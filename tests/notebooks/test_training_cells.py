"""The training loops of 01 and 04 are what trains: another loss in the cell is another encoder."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from m2s_lib.io import read_json, read_parquet
from m2s_lib.method.scene_encoder import SceneEncoder, SceneEncoderConfig
from m2s_lib.method.weights import load_encoder
from m2s_lib.runs.pipeline import kernel
from m2s_lib.runs.records.record import RECORD
from m2s_lib.runs.records.stage import PIPELINE
from tests.conftest import ROOT
from tests.helpers.notebook_runs import TINY, contents, no_kernels, run, write_profile

S1, S4 = "01_shot_encoding", "04_moco_training"
INFO_NCE = "info_nce(q, k_0, k, tau, counts=counts)"
QUICK = {"scene_epochs": 8, "checkpoint_every_s": 60.0, "compared": []}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """A run of 01 to 04 on the tiny world, 04 in one process with the notebook's own loss."""
    folder = tmp_path_factory.mktemp("mined")
    profile = write_profile(folder / "tiny.yaml", _04=QUICK)
    with no_kernels():
        run(profile, folder / "run", "01", "02", "03", "04")
    return folder / "run"


def edited(mined: Path, run_dir: Path, stage: str, values: dict, old: str, new: str) -> Path:
    """Execute a notebook in whose cell `old` was replaced by `new`, on a copy of the run."""
    shutil.copytree(mined, run_dir)
    shutil.rmtree(run_dir / stage / f"{'shot' if stage == S1 else 'scene'}_encoder.training")
    values = {"run_dir": str(run_dir), **TINY[stage[:2]], **values}
    node = kernel.parameterized(ROOT / "notebooks" / f"{stage}.ipynb", values)
    (cell,) = [c for c in node.cells if c.cell_type == "code" and old in c.source]
    cell.source = cell.source.replace(old, new)
    with no_kernels():
        kernel.execute(node, run_dir / stage, ROOT, {PIPELINE: "1"}, io.StringIO())
    return run_dir / stage


def weights(folder: Path, kind: str = "scene") -> dict[str, torch.Tensor]:
    return load_file(folder / f"{kind}_encoder.safetensors")


def test_a_loss_without_a_gradient_leaves_weight_decay_alone(mined, tmp_path):
    none = "(0 * q.sum(), torch.ones(()), None)"
    changed = edited(mined, tmp_path / "run", S4, {**QUICK, "scene_weight_decay": 40.0}, INFO_NCE, none)
    log = read_parquet(changed / "log.parquet")
    assert (log.loss == 0).all()
    left = np.prod(1 - log.lr.to_numpy() * 40.0)
    assert left < 0.95
    start = SceneEncoder(SceneEncoderConfig.preset("test", image_size=32)).state_dict()
    for name, value in weights(changed).items():
        torch.testing.assert_close(value, start[name] * left, rtol=1e-5, atol=1e-7)


def test_the_distance_of_pairs_as_the_loss_brings_them_together(mined, tmp_path):
    distance = "((q - k_0).square().sum(dim=1).mean(), torch.ones(()), None)"
    changed = edited(mined, tmp_path / "run", S4, QUICK, INFO_NCE, distance)
    log, before = read_parquet(changed / "log.parquet"), read_parquet(mined / S4 / "log.parquet")
    ends = log.dropna(subset="alignment")
    assert len(ends) == 8
    np.testing.assert_allclose(ends.loss, ends.alignment, rtol=1e-6)
    assert ends.alignment.iloc[-1] < 0.5 * before.alignment.iloc[-1]  # without negatives all become one
    assert ends.uniformity.iloc[-1] > before.uniformity.iloc[-1]
    assert not all(torch.equal(x, weights(mined / S4)[n]) for n, x in weights(changed).items())
    assert load_encoder(changed / "scene_encoder.safetensors").config.width == 32


def test_the_loop_of_01_too_and_in_two_processes(mined, tmp_path):
    old, new = "queue.negatives(), tau, exists)", "queue.negatives(), 5 * tau, exists)"
    folders = [edited(mined, tmp_path / f"run{n}", S1, {"train_workers": n}, old, new) for n in (1, 2)]
    one, two = (weights(folder, "shot") for folder in folders)
    plain = weights(mined / S1, "shot")
    assert not all(torch.equal(x, plain[n]) for n, x in one.items())
    for name, value in one.items():
        if not name.endswith("attn.qkv.bias"):
            torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)


def test_two_processes_train_the_notebooks_encoders(mined, tmp_path):
    profile = write_profile(
        tmp_path / "two.yaml", _01={"train_workers": 2}, _04={**QUICK, "compared": ["MoCo"]}
    )
    shutil.copytree(mined, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / S4)
    with no_kernels():
        said = run(profile, tmp_path / "run", "01", "02", "03", "04")
    assert "E_scene finds the partner of" in said
    log, alone = (read_parquet(folder / S4 / "log.parquet") for folder in (tmp_path / "run", mined))
    np.testing.assert_allclose(log.loss, alone.loss, rtol=1e-4)
    assert contents(tmp_path / "run" / S1, "shots") == contents(mined / S1, "shots")
    assert (tmp_path / "run" / S4 / "comparators" / "moco.safetensors").is_file()


def test_given_weights_of_e_shot_are_kept(mined, tmp_path):
    given = mined / S1 / "shot_encoder.safetensors"
    profile = write_profile(tmp_path / "given.yaml", _01={"shot_weights": str(given), "shot_seed": 7})
    with no_kernels():
        said = run(profile, tmp_path / "run", "01")
    assert "chance, among" not in said
    ours, theirs = (weights(folder / S1, "shot") for folder in (tmp_path / "run", mined))
    assert {n for n, x in ours.items() if not torch.equal(x, theirs[n])} <= {"fc.weight", "fc.bias"}, said
    assert read_json(tmp_path / "run" / S1 / RECORD)["metrics"]["final_loss"] is None
    assert not (tmp_path / "run" / S1 / "shot_encoder.training").exists()
