"""Clips of scenes: the right stretch as H.264, cut once, never from outside the cache."""

import av
import pytest

from m2s_lib.display.playback import MAX_SIDE, cut_clip, scene_clip
from m2s_lib.errors import M2SError
from m2s_lib.films.store.shot_store import ShotStore, write_shots
from m2s_lib.films.video.decoding import ScanConfig, scan_film
from tests.helpers.videos import number_of, render


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return render(tmp_path_factory.mktemp("films") / "film.mp4", shots=(24, 24, 24, 24))


def frames(path):
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        return stream.codec_context.name, [f.to_ndarray(format="rgb24") for f in file.decode(stream)]


def test_a_clip_is_the_stretch_that_was_asked_for(film, tmp_path):
    path = cut_clip(film, 1.0, 2.0, tmp_path)
    codec, pictures = frames(path)
    assert codec == "h264"
    assert [number_of(p) for p in pictures] == list(range(24, 48))
    written = path.stat().st_mtime_ns
    assert cut_clip(film, 1.0, 2.0, tmp_path) == path  # cut once
    assert max(pictures[0].shape[:2]) <= MAX_SIDE
    assert path.stat().st_mtime_ns >= written > 0


def test_a_scene_plays_from_its_first_shot_to_its_last(film, tmp_path):
    scanned = scan_film(film, ScanConfig(32))
    write_shots(
        tmp_path / "film.arrow", scanned.shots, scanned.keyframes, aspect=1.5, fps=24.0, source="video"
    )
    clip = scene_clip(ShotStore(tmp_path / "film.arrow"), str(film), 1, 2, tmp_path)
    assert [number_of(p) for p in frames(clip.path)[1]] == list(range(24, 72))
    assert clip.seconds == pytest.approx(2.0)
    assert not clip.shortened
    assert clip.data() == clip.path.read_bytes()


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [(2.0, 1.0, "is empty"), (50.0, 60.0, "film.mp4"), (-1.0, 1.0, "is empty")],
)
def test_stretches_without_a_picture(film, tmp_path, start, end, message):
    with pytest.raises(M2SError, match=message):
        cut_clip(film, start, end, tmp_path)
    assert list(tmp_path.glob("*.mp4")) == []


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(M2SError, match="gone.mp4: there is no such file"):
        cut_clip(tmp_path / "gone.mp4", 0, 1, tmp_path)
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    with pytest.raises(M2SError, match="broken.mp4"):
        cut_clip(tmp_path / "broken.mp4", 0, 1, tmp_path)
