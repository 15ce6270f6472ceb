"""Clips of a benchmark as stores: what is listed is read once, what is not there or broken has its reason."""

import numpy as np
import pandas as pd
import pytest

from m2s_lib.errors import M2SError
from m2s_lib.films.store.clip_stores import NOT_THERE, clip_stores
from m2s_lib.films.video.decoding import ScanConfig, equal_parts, scan_film
from tests.helpers.videos import number_of, render


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
    with pytest.raises(M2SError, match="the folder of the 1 clips that the labels list is not given"):
        clip_stores("", ["x"], tmp_path)


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


def test_clips_given_by_path_may_have_any_name(tmp_path):
    for name in ("a/1", "b/1", "b/two: #2"):
        render(tmp_path / f"in/{name}.mp4", shots=(12,))
    table = pd.DataFrame({"item": ["a/1", "b/1", "two: #2", "gone"]})
    table["path"] = ["a/1.mp4", "b/1.mp4", "b/two: #2.mp4", "b/gone.mp4"]
    stores, reasons = clip_stores(tmp_path / "in", table, tmp_path, ScanConfig(32, equal_parts=3), workers=1)
    assert list(stores) == ["a/1", "b/1", "two: #2"]
    assert {s.n_shots for s in stores.values()} == {3}
    assert reasons == {"gone": NOT_THERE}
    with pytest.raises(M2SError, match=r"none of the 1 clips' files is in .*, the first is 'b/gone.mp4'"):
        clip_stores(tmp_path / "in", table[3:], tmp_path)
    with pytest.raises(M2SError, match="clips 'a:1' and 'a/1' have the same name 'a_1': rename one"):
        clip_stores(tmp_path / "in", table[:2].assign(item=["a:1", "a/1"]), tmp_path)


def test_stretches_of_a_film_are_clips(clips, tmp_path):
    """Nine frames at equal distances of 1.0 .. 1.75 s, which are frames 24 .. 41; the rest is not read."""
    table = pd.DataFrame({"item": ["b 1-1.75", "b", "late"], "film_id": ["b", "x", "b"]})
    table[["start_s", "end_s"]] = [[1.0, 1.75], [np.nan, np.nan], [9.0, 12.0]]
    stores, reasons = clip_stores(clips, table, tmp_path, ScanConfig(128, equal_parts=9), workers=1)
    part = stores["b 1-1.75"]
    assert [number_of(f[0]) for f in part.scene(0, part.n_shots)] == [25 + 2 * i for i in range(9)]
    assert stores["b"].n_shots == 9
    assert reasons.keys() == {"late"}
    assert "the film has frames 0..53" in reasons["late"]
    again = table.assign(start_s=[0.0, np.nan, 0.0], end_s=[0.25, np.nan, 1.0])
    stores, reasons = clip_stores(clips, again, tmp_path, ScanConfig(128, equal_parts=9), workers=1)
    part = stores["b 1-1.75"]  # other times under the same name are read again
    assert [number_of(f[0]) for f in part.scene(0, part.n_shots)] == [0, 1, 2, 3, 4, 5]
    assert reasons == {}


def test_a_link_out_of_the_folder_says_why_it_is_not_read(clips, tmp_path):
    (tmp_path / "in").mkdir()
    render(tmp_path / "in" / "c.mp4", shots=(12,))
    (tmp_path / "in" / "b.mp4").symlink_to(clips / "b.mp4")
    _, reasons = clip_stores(tmp_path / "in", ["b", "c"], tmp_path, ScanConfig(32), workers=1)
    assert "copy the film into the folder" in reasons["b"]
