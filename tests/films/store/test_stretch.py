"""A stretch of a file as shots: the frames that are in it, and every stretch that cannot be, by message."""

import numpy as np
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.films.store import stretch as range_scan
from m2s_lib.films.store.stretch import range_store, scan_range
from m2s_lib.films.video.decoding import ScanConfig, scan_film
from tests.helpers.videos import number_of, render


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return render(tmp_path_factory.mktemp("film") / "four shots.mp4", shots=(30, 24, 42, 24))  # 5 s at 24 fps


@pytest.mark.parametrize("k", [1, 3])
def test_the_whole_film_as_a_stretch_is_what_a_scan_of_it_finds(film, k):
    config = ScanConfig(frames_per_shot=k)
    whole, stretch = scan_film(film, config), scan_range(film, 0, 5, config)
    assert stretch.shots.values.tolist() == whole.shots.values.tolist()
    np.testing.assert_array_equal(stretch.keyframes, whole.keyframes)
    assert (stretch.aspect, stretch.fps, stretch.duration_s) == (whole.aspect, whole.fps, whole.duration_s)


def test_only_frames_of_the_stretch_are_in_it_and_times_count_from_the_files_start(film, monkeypatch):
    monkeypatch.setattr(range_scan, "_CHUNK_BYTES", 3 * 128**2 * 7)  # seven frames at a time
    found = scan_range(film, 0.5, 3.0)  # frames 12 .. 71; cuts at 30 and 54
    assert found.shots.start_frame.tolist() == [12, 30, 54]
    assert found.shots.end_frame.tolist() == [29, 53, 71]
    assert found.shots.start_s.tolist() == pytest.approx([0.5, 1.25, 2.25])
    assert found.shots.end_s.tolist() == pytest.approx([1.25, 2.25, 3.0])
    assert [number_of(frame) for frame in found.keyframes[:, 0]] == [21, 42, 63]
    assert found.duration_s == pytest.approx(2.5)


def test_a_stretch_without_a_cut_is_one_shot_and_equal_parts_are_equal(film):
    assert len(scan_range(film, 0.1, 0.5).shots) == 1
    parts = scan_range(film, 0, 2, ScanConfig(equal_parts=4))
    assert parts.shots.start_frame.tolist() == [0, 12, 24, 36]


def test_the_end_may_be_the_players_rounded_one(film):
    assert scan_range(film, 4.0, 5.4).shots.end_frame.iloc[-1] == 119


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ((9, 10), "four shots.mp4 is 5.0 s long, 9 to 10 s lies outside: give times within it"),
        ((1, 60), "four shots.mp4 is 5.0 s long, 1 to 60 s lies outside"),
        ((3, 3), "a clip from 3 s to 3 s: expected 0 <= start < end"),
        ((-1, 3), "a clip from -1 s to 3 s: expected 0 <= start < end"),
        ((0, float("nan")), "a clip from 0 s to nan s"),
        ((0, 601), "601 s were asked for, at most 600 s are read at once"),
        ((1.03, 1.035), "four shots.mp4 has no frame between 1.03 and 1.035 s: choose a longer stretch"),
    ],
)
def test_impossible_stretches_are_refused(film, times, message):
    with pytest.raises(M2SError, match=message):
        scan_range(film, *times)


def test_a_file_that_is_missing_or_no_video_is_named(tmp_path):
    with pytest.raises(M2SError, match="gone.mp4: there is no such file"):
        scan_range(tmp_path / "gone.mp4", 0, 1)
    (tmp_path / "words.mp4").write_text("not a film")
    with pytest.raises(M2SError, match="words.mp4"):
        scan_range(tmp_path / "words.mp4", 0, 1)


def test_a_stretch_is_scanned_once_and_the_oldest_leave_the_folder(tmp_path, film, monkeypatch):
    monkeypatch.setattr(range_scan, "_KEEP", 2)
    store = range_store(film, 0.5, 3.0, tmp_path)
    assert (store.n_shots, store.source, store.metadata["path"]) == (3, "video", str(film))
    np.testing.assert_array_equal(store.keyframes(), scan_range(film, 0.5, 3.0).keyframes)
    monkeypatch.setattr(range_scan, "open_frames", None)
    assert range_store(film, 0.5, 3.0, tmp_path).path == store.path
    monkeypatch.undo()
    monkeypatch.setattr(range_scan, "_KEEP", 2)
    range_store(film, 0, 1, tmp_path)
    range_store(film, 0, 2, tmp_path)
    assert not store.path.exists()
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(M2SError, match="gone.mp4: there is no such file"):
        range_store(tmp_path / "gone.mp4", 0, 1, tmp_path)
