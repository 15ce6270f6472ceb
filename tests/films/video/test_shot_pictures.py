"""Previews and features made while a film is decoded: the same pictures as read afterwards."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from m2s_lib.films.store.film_table import read_film_table
from m2s_lib.films.store.ingest import ingest_films
from m2s_lib.films.store.shot_store import ShotStore
from m2s_lib.films.video import decoding
from m2s_lib.films.video.decoding import ScanConfig, scan_film
from m2s_lib.films.video.frames import open_frames
from m2s_lib.films.video.shot_pictures import preview_size
from m2s_lib.io import read_npy
from tests.helpers.videos import render


@dataclasses.dataclass(frozen=True)
class MeanColour:
    """An encoder: the mean colour of a picture."""

    size: int = 32
    identity: str = "mean colour"

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        assert pictures.shape[1:] == (self.size, self.size, 3)
        return pictures.mean((1, 2)).astype(np.float32)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("buffer_mb", [64, 1])
def test_features_are_those_of_the_keyframes_at_the_encoders_size(tmp_path, k, buffer_mb, monkeypatch):
    monkeypatch.setattr(decoding, "_BUFFER", buffer_mb << 20)
    path = render(tmp_path / "a.mp4", shots=(30, 170, 25))
    film = scan_film(path, ScanConfig(48, k), encode=MeanColour())
    frames = open_frames(path, 32)
    frames.index()
    for shot, row in enumerate(film.shots.itertuples()):
        length = row.end_frame - row.start_frame + 1
        positions = [row.start_frame + (2 * i + 1) * length // (2 * k) for i in range(k)]
        pictures = frames.fetch(positions)
        expected = np.mean([pictures[p].mean((0, 1)) for p in positions], axis=0)
        np.testing.assert_allclose(film.features[shot], expected, atol=1e-3)
    assert film.features.dtype == np.float32


def test_given_shots_and_equal_parts_have_them_too(tmp_path):
    path = render(tmp_path / "a.mp4", shots=(30, 20))
    film = scan_film(path, ScanConfig(48, equal_parts=4, preview_width=80), encode=MeanColour())
    assert film.features.shape == (4, 3)
    assert len(film.previews) == 4


def test_previews_have_the_films_shape_and_are_not_enlarged(tmp_path):
    path = render(tmp_path / "a.mp4", shots=(30, 20))  # 160 x 128
    for most, size in ((80, (80, 64)), (320, (160, 128))):
        film = scan_film(path, ScanConfig(48, preview_width=most))
        assert [Image.open(io.BytesIO(p)).size for p in film.previews] == [size, size]
    assert preview_size(720, 576, 16 / 9, 320) == (320, 180)
    assert preview_size(192, 108, 16 / 9, 320) == (192, 108)
    assert scan_film(path, ScanConfig(48)).previews is None


def test_a_film_of_one_shot_is_cut_by_time(tmp_path):
    path = render(tmp_path / "a.mp4", shots=(300,), fps=24)  # 12.5 s
    film = scan_film(path, ScanConfig(48, split_s=5.0))
    assert film.shots.start_frame.tolist() == [0, 150]
    assert film.shots.end_s.iloc[-1] == pytest.approx(12.5)
    assert len(scan_film(path, ScanConfig(48, split_s=10.0)).shots) == 1
    assert len(scan_film(render(tmp_path / "b.mp4", shots=(90, 90)), ScanConfig(48, split_s=1.0)).shots) == 2


def test_ingest_writes_features_and_previews_and_keeps_what_is_there(tmp_path):
    for name in "ab":
        render(tmp_path / "films" / f"{name}.mp4", shots=(30, 20))
    table, out = read_film_table(tmp_path / "films"), tmp_path / "out"
    how = dict(config=ScanConfig(48, preview_width=80), workers=1)
    ingest_films(table, out, encode=MeanColour(), **how)
    store = ShotStore(out / "shots" / "a.arrow")
    assert Image.open(io.BytesIO(store.preview(1))).size == (80, 64)
    assert read_npy(out / "features" / "a.npy").shape == (2, 3)
    written = {p: p.stat().st_mtime_ns for p in out.rglob("*.*")}
    render(tmp_path / "films" / "c.mp4", shots=(20, 20))
    (tmp_path / "films" / "b.mp4").unlink()
    ingest_films(read_film_table(tmp_path / "films"), out, encode=MeanColour(), **how)
    assert sorted(p.stem for p in (out / "features").iterdir()) == ["a", "c"]
    assert {p: p.stat().st_mtime_ns for p in out.rglob("a.*")} == {
        p: t for p, t in written.items() if p.stem == "a"
    }
    ingest_films(read_film_table(tmp_path / "films"), out, encode=MeanColour(identity="another"), **how)
    assert all(p.stat().st_mtime_ns > written[p] for p in out.rglob("a.*"))


def test_a_damaged_preview_is_noticed(tmp_path):
    render(tmp_path / "films" / "a.mp4", shots=(30, 20))
    ingest_films(read_film_table(tmp_path / "films"), tmp_path, ScanConfig(48, preview_width=80), workers=1)
    path = tmp_path / "shots" / "a.arrow"
    preview = ShotStore(path).preview(0)
    data = bytearray(path.read_bytes())
    data[data.index(preview) + len(preview) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="its pixels do not match their checksum"):
        ShotStore(path).verify()
