import numpy as np
import pytest
import torch

from m2s_lib.method.augmentation import augment


def scenes(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (20, 2, 1, 8, 8, 3), dtype=torch.uint8, generator=generator)


def test_off_changes_nothing():
    assert torch.equal(augment(scenes(), np.random.default_rng(0)), scenes())


def test_flip_mirrors_whole_scenes_about_half_of_the_time():
    x = scenes()
    y = augment(x, np.random.default_rng(0), flip=True)
    mirrored = [torch.equal(b, a.flip(-2)) for a, b in zip(x, y, strict=True)]
    kept = [torch.equal(b, a) for a, b in zip(x, y, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert 3 < sum(mirrored) < 17


@pytest.mark.parametrize(
    "options", [{"crop": 0.3}, {"jitter": 0.4}, {"crop": 0.5, "jitter": 0.2, "flip": True}]
)
def test_all_frames_of_a_scene_change_alike_and_the_generator_decides(options):
    x = scenes()
    x[:, 1] = x[:, 0]
    y = augment(x, np.random.default_rng(0), **options)
    assert y.dtype == torch.uint8
    assert y.shape == x.shape
    assert torch.equal(y[:, 0], y[:, 1])
    assert torch.equal(y, augment(x, np.random.default_rng(0), **options))
    assert not torch.equal(y, augment(x, np.random.default_rng(1), **options))
    assert not torch.equal(y, x)


def test_a_crop_shows_a_window_of_the_picture_enlarged():
    ramp = torch.arange(64, dtype=torch.uint8)[None, :, None] * 2
    x = ramp.expand(64, 64, 3)[None, None, None].expand(30, 1, 1, 64, 64, 3)
    y = augment(x, np.random.default_rng(0), crop=0.25).float()
    steps = (y[..., 40, 1] - y[..., 20, 1])[:, 0, 0, 30] / 40  # colour a pixel: 1 as it was
    assert 0.45 < steps.min() < 0.75 < steps.max() <= 1.05


def test_brightness_keeps_black_black():
    black = torch.zeros(4, 1, 1, 8, 8, 3, dtype=torch.uint8)
    assert torch.equal(augment(black, np.random.default_rng(0), jitter=0.5), black)
