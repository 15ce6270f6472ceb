import numpy as np
import pytest
import torch

from m2s_lib.errors import M2SError
from m2s_lib.evaluation.encoders.baselines import TRAINED_HERE, baseline
from m2s_lib.evaluation.encoders.trained_baselines import train_comparator
from m2s_lib.method.scene_encoder import SceneEncoderConfig
from m2s_lib.training.config import ContrastiveConfig
from tests.helpers.fake_films import LearnableStore

TINY = SceneEncoderConfig.preset("test", out_dim=16)
QUICK = ContrastiveConfig(
    epochs=3,
    batch=8,
    lr=1e-3,
    warmup_epochs=1,
    queue=16,
    momentum=0.9,
    temperature=0.2,
    checkpoint_every_s=60,
)


@pytest.fixture(scope="module")
def stores():
    return {f"f{i}": LearnableStore(i, 12) for i in range(3)}


@pytest.mark.parametrize("name", TRAINED_HERE)
def test_training_writes_what_the_registry_finds(name, stores, tmp_path):
    encoder, log = train_comparator(name, stores, TINY, QUICK, tmp_path)
    assert len(log) == 3 * (36 // 8)
    assert np.isfinite(log["loss"]).all()
    again = baseline(name, trained_dir=tmp_path)
    shots = torch.from_numpy(stores["f1"].scene(0, 4))
    with torch.inference_mode():
        a, b = (e.embed(shots[None]) for e in (encoder, again))
    torch.testing.assert_close(a, b)
    assert again.name == name
    repeated, _ = train_comparator(name, stores, TINY, QUICK, tmp_path)  # goes on from what is finished
    with torch.inference_mode():
        torch.testing.assert_close(repeated.embed(shots[None]), a)


def test_they_are_three_different_things(stores, tmp_path):
    shots = torch.from_numpy(stores["f1"].scene(0, 4))[None]
    trained = [train_comparator(n, stores, TINY, QUICK, tmp_path)[0] for n in TRAINED_HERE]
    with torch.inference_mode():
        found = [encoder.embed(shots) for encoder in trained]
    assert not torch.allclose(found[0], found[1], atol=1e-3)
    assert not torch.allclose(found[1], found[2], atol=1e-3)
    with pytest.raises(M2SError, match="comparator 'BYOL' is unknown"):
        train_comparator("BYOL", stores, TINY, QUICK, tmp_path)
