import dataclasses

import numpy as np
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.films.world.video import cut_clips, encode_film
from tests.helpers.worlds import TINY, decode, key_frames

SMALL = dataclasses.replace(TINY, width=64, height=48)
KEYS = (0, 30, 61)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A film whose frame i is a grey ramp shifted by i, with key frames asked for at KEYS."""
    path = tmp_path_factory.mktemp("video") / "film.mp4"
    ramp = np.arange(64, dtype=np.uint8) * 3
    pictures = (np.broadcast_to(np.roll(ramp, i)[None, :, None], (48, 64, 3)) for i in range(90))
    encode_film(((p, i in KEYS) for i, p in enumerate(pictures)), path, SMALL)
    return path


def test_every_frame_comes_back_and_key_frames_are_where_they_were_asked_for(film):
    frames = decode(film)
    assert len(frames) == 90
    assert np.abs(frames[45, :, :, 0].mean(0) - np.roll(np.arange(64) * 3.0, 45)).mean() < 4
    assert set(KEYS) <= set(key_frames(film))


def test_times_are_constant_and_start_at_zero(film):
    import av

    with av.open(str(film)) as container:
        times = [float(frame.time) for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(90) / SMALL.fps)


def test_the_file_does_not_say_what_wrote_it(film):
    data = film.read_bytes()
    assert b"Lavf" not in data
    assert b"Lavc" not in data
    assert data.find(b"moov") < data.find(b"mdat")  # plays while it loads


def test_clips_are_the_films_own_frames(film, tmp_path):
    spans = [(0, 29), (30, 60), (30, 35), (61, 89)]
    cut_clips(film, [(tmp_path / f"{a}_{b}.mp4", a, b) for a, b in spans])
    frames = decode(film)
    for a, b in spans:
        np.testing.assert_array_equal(decode(tmp_path / f"{a}_{b}.mp4"), frames[a : b + 1])


@pytest.mark.parametrize("span", [(5, 20), (30, 90), (61, 60)])
def test_a_clip_that_cannot_be_cut_is_refused_by_its_frames(film, tmp_path, span):
    with pytest.raises(M2SError, match=rf"frames {span[0]} to {span[1]} cannot be cut out of 90 frames"):
        cut_clips(film, [(tmp_path / "clip.mp4", *span)])
    assert list(tmp_path.iterdir()) == []
