"""Clips of a benchmark as stores: what is listed is read once, what is not there or broken has its reason."""

import numpy as np
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.films.clip_stores import NOT_THERE, clip_stores
from m2s_lib.films.decoding import ScanConfig, equal_parts, scan_film
from tests.films.videos import number_of, render


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for name in ("-a", "b", "not listed"):
        render(folder / f"{name}.mp4", shots=(30, 24))
    (folder / "broken.mp4").write_bytes(b"no video at all")
    return folder


def test_listed_clips_are_read_and_the_others_have_a_reason(clips, tmp_path):
    wanted = ["-a", "b", "broken", "gone"]
    stores, reasons = clip_stores(clips, wanted, tmp_path, ScanConfig(32), workers=1)
    assert sorted(stores) == ["-a", "b"]
    assert sorted(p.stem for p in (tmp_path / "shots").iterdir()) == ["-a", "b"]
    assert [s.n_shots for s in stores.values()] == [2, 2]
    assert reasons.keys() == {"broken", "gone"}
    assert reasons["gone"] == NOT_THERE
    assert "broken.mp4" in reasons["broken"]
    before = (tmp_path / "shots" / "b.arrow").stat().st_mtime_ns
    clip_stores(clips, wanted, tmp_path, ScanConfig(32), workers=1)
    assert (tmp_path / "shots" / "b.arrow").stat().st_mtime_ns == before


def test_a_folder_of_other_clips_says_so(clips, tmp_path):
    with pytest.raises(M2SError, match=r"holds 4 videos, none of them is among the 1 clips.*'-a'.*'x'"):
        clip_stores(clips, ["x"], tmp_path)


@pytest.mark.parametrize("n_frames", [1, 5, 9, 54, 100])
def test_equal_parts_cover_every_frame_once(n_frames):
    table = equal_parts(n_frames, 9)
    frames = [f for a, b in table.to_numpy() for f in range(a, b + 1)]
    assert frames == list(range(n_frames))
    assert len(table) == min(9, n_frames)
    lengths = table["end_frame"] - table["start_frame"] + 1
    assert lengths.max() - lengths.min() <= 1


def test_nine_frames_of_a_clip_at_equal_distances(clips):
    scanned = scan_film(clips / "b.mp4", ScanConfig(128, equal_parts=9))
    seen = [number_of(shot[0]) for shot in scanned.keyframes]
    assert seen == [3 + 6 * i for i in range(9)]  # the middles of nine parts of six frames
    assert np.allclose(np.diff(scanned.shots["start_s"]), 0.25)
