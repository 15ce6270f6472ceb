"""Screened cuts against the detector that scales every frame: the same cuts, from a share of the frames."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m2s_lib.films.video import frame_scaler
from m2s_lib.films.video.cut_screening import LazyPicture
from m2s_lib.films.video.decoding import ScanConfig, scan_film
from m2s_lib.films.video.frames import open_frames
from m2s_lib.films.video.keyframe_keeper import KeyframeKeeper, keyframe_positions
from m2s_lib.films.video.shot_boundaries import ShotDetector

FILMS = ["big_buck_bunny_2008", "nasa_jwst_promo", "sintel_trailer_2010", "steamboat_willie_1928_excerpt"]


def detect(frames, fps=24.0, **settings) -> list[int]:
    detector = ShotDetector(ScanConfig(**settings), fps)
    return [c for i, frame in enumerate(frames) for c in detector.feed(i, frame)] + detector.finish()


def lazily(frames) -> list[LazyPicture]:
    """Frames that show every other pixel and give the rest when asked."""
    return [LazyPicture(lambda f=f: f, np.ascontiguousarray(f[1::2, 1::2]), 10**6) for f in frames]


def made_up(lengths, seed: int, kinds) -> list[np.ndarray]:
    """Shots of 64 x 64 pixels, of moving blocks: in colour, grey, between bars, or black."""
    rng = np.random.default_rng(seed)
    frames = []
    for length, kind in zip(lengths, kinds, strict=True):
        base = rng.integers(0, 256, (8, 8, 3)).repeat(8, 0).repeat(8, 1) // (40 if kind == "black" else 1)
        if kind == "grey":
            base[:] = base[..., :1]
        if kind == "bars":
            base[:12] = base[52:] = 4
        for i in range(length):
            frame = np.roll(base, i * int(rng.integers(1, 3)), 1) + rng.integers(-4, 5, base.shape)
            frames.append(np.clip(frame, 0, 255).astype(np.uint8))
    return frames


@given(st.data(), st.integers(0, 10**6), st.sampled_from([1.5, 3.0, 6.0]), st.booleans())
def test_screened_cuts_are_those_of_every_frame(data, seed, threshold, fades):
    lengths = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=5))
    kinds = [data.draw(st.sampled_from(["colour", "grey", "bars", "black"])) for _ in lengths]
    frames = made_up(lengths, seed, kinds)
    settings = dict(threshold=threshold, fades=fades, min_shot_s=0.1)
    assert detect(lazily(frames), **settings) == detect(frames, **settings)


def test_other_detectors_see_every_frame():
    frames = made_up([1], 0, ["colour"]) * 30 + made_up([1], 1, ["colour"]) * 30
    for kind in ("content", "histogram"):
        assert detect(lazily(frames), detector=kind) == detect(frames, detector=kind) == [30]


@pytest.mark.parametrize("name", FILMS)
def test_cuts_and_keyframes_of_real_films_are_those_of_every_frame(shared_data, name, monkeypatch):
    path = shared_data / "films" / f"{name}.mp4"
    video = open_frames(path, 128)
    frames, fps = list(video), video.fps
    video.close()
    scaled, scale = [], frame_scaler.FrameScaler.small
    monkeypatch.setattr(frame_scaler, "_LARGE", 0)  # screened, however small the film's pictures are
    monkeypatch.setattr(
        frame_scaler.FrameScaler, "small", lambda self, frame: scaled.append(1) or scale(self, frame)
    )
    found = scan_film(path)
    assert found.shots["start_frame"].tolist()[1:] == detect(frames, fps)
    for shot, keyframes in zip(found.shots.itertuples(), found.keyframes, strict=True):
        (middle,) = keyframe_positions(shot.start_frame, shot.end_frame, 1)
        np.testing.assert_array_equal(keyframes[0], frames[middle])
    assert len(scaled) < 0.8 * len(frames)


def test_a_still_film_is_hardly_scaled():
    scaled = []
    still = made_up([1], 0, ["colour"])[0]
    pictures = [LazyPicture(lambda: scaled.append(1) or still, still[::2, ::2].copy(), 1) for _ in range(400)]
    assert detect(pictures) == []
    assert len(scaled) == 50  # every eighth, for the lit area


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(1, 4), st.integers(1, 40))
def test_the_keeper_has_every_keyframe_or_says_which_are_missing(lengths, k, room):
    keeper = KeyframeKeeper(k, limit=room * 12)
    starts = np.cumsum([0, *lengths])
    for i in range(starts[-1]):
        frame = np.full((1, 2, 3), i % 256, np.uint8)
        keeper.add(i, LazyPicture(lambda frame=frame: frame, None, 12))  # 6 when scaled
        assert sum(picture.nbytes for picture in keeper._open) <= room * 12
        if i + 1 in starts:
            keeper.close_shot(i + 1)
    wanted = [keyframe_positions(a, b - 1, k) for a, b in zip(starts[:-1], starts[1:], strict=True)]
    assert keeper.shots == [(a, b - 1) for a, b in zip(starts[:-1], starts[1:], strict=True)]
    frames = {i: np.full((1, 2, 3), i % 256, np.uint8) for i in keeper.missing}
    numbers = {i: LazyPicture(lambda frame=frame: frame, None, 6) for i, frame in frames.items()}
    assert keeper.pictures(numbers)[..., 0, 0, 0].tolist() == [[i % 256 for i in shot] for shot in wanted]
